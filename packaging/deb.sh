#!/bin/bash
# deb.sh ARCH OUT [PACKAGE...]: build packages (perch-agent, perch-broker, perch; all, if none is named) for a Debian
# architecture (arm64, armhf, amd64), and put them into OUT. The programs alone are in OUT/ARCH.
# The same commit gives the same bytes: paths are trimmed, and every time stamp is the commit's.
set -euo pipefail
umask 022
cd "$(dirname "$0")/.."
arch=$1 out=$2
packages=("${@:3}")
if [ ${#packages[@]} = 0 ]; then packages=(perch-agent perch-broker perch); fi

# armhf is for every 32-bit Pi, the ARMv6 ones included. Debian's armhf toolchain links ARMv7 objects, which an ARM1176
# answers with SIGILL; its armel objects (ARMv5TE, soft-float ABI) run everywhere, and a static binary needs no libc.
case $arch in
arm64) goarch=arm64 goarm='' cc=aarch64-linux-gnu-gcc ;;
armhf) goarch=arm goarm=6 cc=arm-linux-gnueabi-gcc ;;
amd64) goarch=amd64 goarm='' cc=x86_64-linux-gnu-gcc ;;
*) echo "deb.sh: no architecture $arch" >&2; exit 2 ;;
esac
if [ "$arch" = "$(dpkg --print-architecture)" ]; then cc=gcc; fi

SOURCE_DATE_EPOCH=$(git log -1 --format=%ct)
export SOURCE_DATE_EPOCH

# compile NAME FILE: a static program. Only the agent needs C, for the kernel's structures; the others have the same tags,
# so that they share what was compiled for it. COMPILE_CACHE is a place for what is compiled other than Go's own.
compile() {
  local cgo=0 flags='-s -w'
  if [ "$1" = perch-agent ]; then cgo=1 flags+=' -linkmode external -extldflags -static'; fi
  GOCACHE=${COMPILE_CACHE:-$(go env GOCACHE)} CGO_ENABLED=$cgo GOOS=linux GOARCH=$goarch GOARM=$goarm CC=$cc \
    go build -buildvcs=true -trimpath -tags netgo,osusergo -ldflags "$flags" -o "$2" "$(source_of "$1")"
  if [ $cgo = 1 ]; then "${cc%gcc}objcopy" --remove-section=.comment "$2"; fi
}

source_of() {
  case $1 in
  perch) echo ./cmd/perch ;;
  perch-*) echo "./cmd/${1#perch-}" ;;
  esac
}

# describe NAME STAGE: manual pages and completions. All but the agent's come from the program itself.
describe() {
  mkdir -p "$2"/{man,completion}
  case $1 in
  perch-agent) cp packaging/agent/perch-agent.8 "$2/man/" ;;
  *)
    go run "$(source_of "$1")" man "$2/man"
    for shell in bash zsh fish; do go run "$(source_of "$1")" completion $shell >"$2/completion/$shell"; done
    ;;
  esac
  gzip -9n "$2"/man/*
  sed "1s/^perch /$1 /" packaging/changelog.Debian | gzip -9n >"$2/changelog.Debian.gz"
}

pack() {
  local name=$1 stage=$out/$arch/$1.stage version config=packaging/${1#perch-}/nfpm.yaml packed
  rm -rf "$stage"
  mkdir -p "$stage"
  compile "$name" "$out/$arch/$name"
  ln "$out/$arch/$name" "$stage/$name"
  describe "$name" "$stage"
  # The package's version is the one the program reports.
  version=$(go version -m "$stage/$name" | awk '$1 == "mod" {print $3}')
  VERSION=$version DEB_ARCH=$arch STAGE=$stage \
    go tool -modfile=tools/go.mod nfpm package --config "$config" --packager deb --target "$stage/" >/dev/null
  packed=("$stage"/*.deb)
  # nfpm's own xz packs a sixth larger than liblzma's.
  dpkg-deb --raw-extract "${packed[0]}" "$stage/tree"
  rm -f "$out/${name}_"*"_$arch.deb"
  dpkg-deb --root-owner-group -Zxz -z6 -Sextreme --build "$stage/tree" "$out/"
  rm -r "$stage"
}

for package in "${packages[@]}"; do pack "$package"; done
