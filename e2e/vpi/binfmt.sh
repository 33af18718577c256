#!/bin/bash
# binfmt.sh COMMAND...: run COMMAND as root where arm64 programs run under qemu-user.
#
# binfmt_misc is per user namespace since Linux 6.7: a private user, mount, pid and net namespace gets the entry and
# the host's own table stays as it is. On an older kernel the host must have registered qemu-aarch64 (Debian's
# qemu-user-static does, with binfmt-support).
set -euo pipefail
if [ -e /proc/sys/fs/binfmt_misc/qemu-aarch64 ]; then exec "$@"; fi

register='
set -e
mount -t binfmt_misc none /proc/sys/fs/binfmt_misc
printf %s ":qemu-aarch64:M::\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00:\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff:/usr/bin/qemu-aarch64-static:F" >/proc/sys/fs/binfmt_misc/register
exec "$@"'

# The uid map of a user namespace is written from outside, so the inner shell waits for a word on a fifo.
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
mkfifo "$dir/go"
# shellcheck disable=SC2016 # the inner shell expands them
unshare --user bash -c 'read -r _ <"$0"; exec unshare --mount --pid --net --uts --ipc --fork --kill-child sh -c "$@"' "$dir/go" "$register" sh "$@" &
pid=$!
while kill -0 $pid && [ "$(readlink /proc/$pid/ns/user)" = "$(readlink /proc/self/ns/user)" ]; do sleep 0.02; done
echo '0 0 65536' >/proc/$pid/uid_map
echo '0 0 65536' >/proc/$pid/gid_map
echo >"$dir/go"
wait $pid
