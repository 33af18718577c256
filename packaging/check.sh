#!/bin/bash
# check.sh DIR: what must hold of the packages in DIR, as packaging/deb.sh has left them. All checks run, whichever fails.
# shellcheck disable=SC2317 # functions are called through check
set -uo pipefail
cd "$(dirname "$0")/.." || exit
dir=$1
failed=0

check() {
  echo "$1"
  "${@:2}" || { echo "check.sh: $1 failed"; failed=1; }
}

archs=(arm64 armhf amd64)
programs=(perch-agent perch-broker perch)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# complete: one package for each program and architecture.
complete() {
  local arch program found
  for arch in "${archs[@]}"; do
    for program in "${programs[@]}"; do
      found=("$dir/${program}_"*"_$arch.deb")
      if [ ! -f "${found[0]}" ] || [ ${#found[@]} != 1 ]; then
        echo "$program for $arch: ${found[*]}"
        return 1
      fi
    done
  done
}

# sizes: at most 3.5 MB for the agent, 6 MB for the others.
sizes() {
  local deb size most=0 bad=0
  for deb in "$dir"/*.deb; do
    size=$(stat -c %s "$deb") most=6000000
    case $deb in */perch-agent_*) most=3500000 ;; esac
    printf '  %9d  %s\n' "$size" "${deb##*/}"
    [ "$size" -le "$most" ] || { echo "${deb##*/} has more than $most bytes"; bad=1; }
  done
  return "$bad"
}

# no_tags: nothing to say, not even in passing, but what a package overrides with a reason. Words that are spelt wrong in a Go
# program are others', or texts that the linker has put side by side.
no_tags() {
  local out
  out=$(lintian --suppress-tags spelling-error-in-binary --display-info --pedantic --fail-on error,warning,info,pedantic "$dir"/*.deb 2>&1) || { echo "$out"; return 1; }
}

# exposure: at most 1.5 of 10 for each unit, as the package has it.
exposure() {
  local unit program bad=0
  for program in perch-agent perch-broker; do
    dpkg-deb -x "$dir/${program}_"*_amd64.deb "$work/$program"
    install -D /dev/null "$work/$program/bin/sh" # verify looks whether it is there
    unit=$work/$program/lib/systemd/system/$program.service
    systemd-analyze verify --recursive-errors=no --man=no --root="$work/$program" "$program.service" || bad=1
    systemd-analyze security --offline=true --threshold=15 "$unit" >"$work/security" || { cat "$work/security"; bad=1; }
    tail -n 1 "$work/security"
  done
  return "$bad"
}

# starts: every program on the processors of the Pis. Code for ARMv7 ends on the ARM1176 with SIGILL.
starts() {
  local arch emulator cpu program bad=0
  while read -r arch emulator cpu; do
    for program in "${programs[@]}"; do
      if ! "$emulator" -cpu "$cpu" "$dir/$arch/$program" --version >"$work/said" 2>&1; then
        echo "$program for $arch on a $cpu: $(cat "$work/said")"
        bad=1
      fi
    done
  done <<'CPUS'
armhf qemu-arm-static arm1176
armhf qemu-arm-static cortex-a7
arm64 qemu-aarch64-static cortex-a53
arm64 qemu-aarch64-static cortex-a72
CPUS
  return "$bad"
}

# again: the same bytes from a copy of the sources in a folder of another name, at another time. For arm64 everything is compiled
# anew; for the others what was compiled before is linked and packed again.
again() {
  local copy=$work/a-folder-of-another-name arch deb bad=0 running=() pid
  git clone --quiet --no-checkout . "$copy" || return 1
  git ls-files -z --cached --others --exclude-standard |
    tar --create --null --ignore-failed-read --files-from=- | tar --extract --touch --directory="$copy"
  git -C "$copy" reset --quiet
  for arch in "${archs[@]}"; do
    if [ "$arch" = arm64 ]; then export COMPILE_CACHE=$work/cache; else unset COMPILE_CACHE; fi
    "$copy/packaging/deb.sh" "$arch" "$work/again" >/dev/null &
    running+=($!)
  done
  for pid in "${running[@]}"; do wait "$pid" || bad=1; done
  for deb in "$dir"/*.deb; do
    cmp "$deb" "$work/again/${deb##*/}" || bad=1
  done
  return "$bad"
}

check "one package each" complete
check "sizes" sizes
check lintian no_tags
check "exposure of the units" exposure
check "starts on every Pi" starts
check "the same bytes when built again" again
exit $failed
