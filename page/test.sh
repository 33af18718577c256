#!/bin/bash
# test.sh: what `make page` does once our own programs are built. It fetches by the lock file, checks the page's types, makes the
# page anew and compares it with what is embedded, and looks at it in a real browser. Pictures of it are in build/page then.
set -euo pipefail
cd "$(dirname "$0")"

command -v npm >/dev/null || ../tools/need nodejs npm
../tools/need chromium fonts-dejavu-core
npm ci --silent --no-audit --no-fund
npm run --silent check

made=$(mktemp -d)
trap 'rm -rf "$made"' EXIT
node build.mjs "$made/dist"
diff -qr "$made/dist" ../internal/page/dist || {
  echo "internal/page/dist is not what page/src makes: run npm run build in page, and commit both" >&2
  exit 1
}

go build -o ../build/bin/page-agent ../e2e/page/agent
npm test --silent
