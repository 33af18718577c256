#!/bin/bash
# deb.sh ARCH OUT: build cmd/agent for a Debian architecture (arm64, armhf, amd64) and pack it into OUT.
# The same commit gives the same bytes: paths are trimmed, and every time stamp is the commit's.
set -euo pipefail
umask 022
cd "$(dirname "$0")/.."
arch=$1 out=$2
host=$(dpkg --print-architecture)

# armhf is for every 32-bit Pi, the ARMv6 ones included. Debian's armhf toolchain links ARMv7 objects, which an ARM1176
# answers with SIGILL; its armel objects (ARMv5TE, soft-float ABI) run everywhere, and a static binary needs no libc.
case $arch in
arm64) export GOARCH=arm64 CC=aarch64-linux-gnu-gcc ;;
armhf) export GOARCH=arm GOARM=6 CC=arm-linux-gnueabi-gcc ;;
amd64) export GOARCH=amd64 CC=x86_64-linux-gnu-gcc ;;
*) echo "deb.sh: no architecture $arch" >&2; exit 2 ;;
esac
if [ "$arch" = "$host" ]; then CC=gcc; fi

stage=$out/$arch
rm -rf "$stage/tree" "$stage"/*.deb
mkdir -p "$stage"
binary=$stage/perch-agent
CGO_ENABLED=1 GOOS=linux go build -buildvcs=true -trimpath -tags netgo,osusergo \
  -ldflags '-s -w -linkmode external -extldflags -static' -o "$binary" ./cmd/agent
unset GOARCH GOARM CC

# The package's version is the one the binary reports.
VERSION=$(go version -m "$binary" | awk '$1 == "mod" {print $3}')
SOURCE_DATE_EPOCH=$(git log -1 --format=%ct)
DEB_ARCH=$arch BINARY=$binary STAGE=$stage
export VERSION SOURCE_DATE_EPOCH DEB_ARCH BINARY STAGE
gzip -9nc packaging/agent/perch-agent.8 >"$stage/perch-agent.8.gz"
gzip -9nc packaging/agent/changelog.Debian >"$stage/changelog.Debian.gz"
rm -f "$out"/perch-agent_*_"$arch".deb
go tool -modfile=tools/go.mod nfpm package --config packaging/agent/nfpm.yaml --packager deb --target "$stage/" >/dev/null
packed=("$stage"/perch-agent_*.deb)

# nfpm's own xz packs a sixth larger than liblzma's.
dpkg-deb --raw-extract "${packed[0]}" "$stage/tree"
dpkg-deb --root-owner-group -Zxz -z6 -Sextreme --build "$stage/tree" "$out/"
rm -r "${packed[0]}" "$stage/tree"
