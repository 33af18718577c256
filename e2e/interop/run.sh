#!/bin/bash
# run.sh: what `make interop` does once our own programs are built. It has the peers' languages installed where they are
# missing, fetches rsocket-js by its lock file, and runs the tests, which fetch what is Java's and write the table of what was
# run into docs/PROTOCOL.md.
set -euo pipefail
cd "$(dirname "$0")"

command -v npm >/dev/null || ../../tools/need nodejs npm
{ command -v javac && command -v mvn; } >/dev/null || ../../tools/need default-jdk-headless maven
npm --prefix js ci --silent --no-audit --no-fund

go test -race -tags interop -count=1 -timeout 20m -table ../../docs/PROTOCOL.md . "$@"
