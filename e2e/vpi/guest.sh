#!/bin/bash
# guest.sh ROOT: make a quick test guest of a generic Debian root: static address, /host from the host, a control
# program on a virtio port, no login, nothing that only costs time at boot.
set -euo pipefail
root=$1
units=$root/etc/systemd/system
mkdir -p "$units"/{multi-user.target.wants,sysinit.target.wants} "$root"/etc/{modules-load.d,systemd/network,systemd/journald.conf.d} "$root/host"

echo vpi >"$root/etc/hostname"
echo '127.0.0.1 localhost vpi' >"$root/etc/hosts"
: >"$root/etc/fstab"
: >"$root/etc/machine-id"
printf '%s\n' virtio_console virtio_net 9pnet_virtio 9p >"$root/etc/modules-load.d/vpi.conf"
printf '[Journal]\nStorage=volatile\n' >"$root/etc/systemd/journald.conf.d/vpi.conf"

cat >"$root/etc/systemd/network/10-vpi.network" <<'UNIT'
[Match]
Driver=virtio_net
[Network]
Address=10.0.2.15/24
Gateway=10.0.2.2
LinkLocalAddressing=no
IPv6AcceptRA=no
UNIT

cat >"$units/host.mount" <<'UNIT'
[Unit]
Description=Directory shared with the host (9p)
DefaultDependencies=no
After=systemd-modules-load.service
[Mount]
What=host
Where=/host
Type=9p
Options=trans=virtio,version=9p2000.L,msize=131072
UNIT

cat >"$units/vpi-ctl.service" <<'UNIT'
[Unit]
Description=Runs the test's commands, read from a virtio port
After=host.mount multi-user.target
Wants=host.mount
[Service]
ExecStart=/usr/local/sbin/vpi-ctl /dev/virtio-ports/ctl
Environment=HOME=/root PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin TERM=dumb LC_ALL=C DEBIAN_FRONTEND=noninteractive
WorkingDirectory=/root
Restart=always
KillMode=process
UNIT
# Every event costs a tenth of a second of emulation: only those of the devices that somebody here waits for.
mkdir -p "$units/systemd-udev-trigger.service.d"
cat >"$units/systemd-udev-trigger.service.d/vpi.conf" <<'UNIT'
[Service]
ExecStart=
ExecStart=udevadm trigger --type=devices --action=add --subsystem-match=net --subsystem-match=virtio-ports --subsystem-match=block --subsystem-match=gpio --subsystem-match=i2c-dev --subsystem-match=video4linux
UNIT

ln -sf ../vpi-ctl.service "$units/multi-user.target.wants/"
ln -sf /lib/systemd/system/systemd-networkd.service "$units/multi-user.target.wants/"

for unit in apt-daily.timer apt-daily-upgrade.timer dev-hugepages.mount dev-mqueue.mount dpkg-db-backup.timer e2scrub_all.timer \
  e2scrub_reap.service fstrim.timer getty.target getty@tty1.service kmod-static-nodes.service modprobe@dm_mod.service \
  modprobe@drm.service modprobe@efi_pstore.service modprobe@fuse.service modprobe@loop.service \
  proc-sys-fs-binfmt_misc.automount serial-getty@hvc0.service serial-getty@ttyAMA0.service sys-fs-fuse-connections.mount \
  sys-kernel-debug.mount sys-kernel-tracing.mount systemd-ask-password-console.path systemd-ask-password-wall.path \
  systemd-binfmt.service systemd-journal-flush.service systemd-logind.service systemd-networkd-wait-online.service \
  systemd-pstore.service systemd-random-seed.service systemd-tmpfiles-clean.timer systemd-update-utmp-runlevel.service \
  systemd-update-utmp.service systemd-user-sessions.service; do
  ln -sf /dev/null "$units/$unit"
done

rm -rf "$root"/usr/share/{doc,man,locale,info,lintian,bug} "$root"/var/cache/apt "$root"/var/lib/apt "$root"/var/log/*
rm -f "$root/dev/null"
