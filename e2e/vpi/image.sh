#!/bin/bash
# The virtual Pi's disk, kernel and initrd, made from Debian's arm64 packages.
#
#   image.sh kernel WORK       print the kernel's version, as linux-image-arm64 names it today
#   image.sh build  WORK OUT   make OUT/vmlinuz, OUT/initrd.gz and OUT/root.img
#
# WORK keeps the apt lists for a day, and the kernel's part as long as this script stays the same. Everything comes
# through a private apt root, so the host's own apt and dpkg state stays as it is. Needs root, an amd64 Debian, and the
# packages the Makefile names for e2e.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
verb=$1 work=$(realpath -m "$2")

packages=(base-files base-passwd bash coreutils dash debianutils diffutils dpkg findutils grep gzip hostname
  init-system-helpers libc-bin login mawk mount ncurses-base passwd perl-base sed sysvinit-utils tar util-linux
  systemd systemd-sysv udev kmod iproute2 netbase adduser gpiod v4l-utils)

step() { printf '%s +%ds %s\n' "$(date +%T)" "$SECONDS" "$*"; }

# --- a private apt root; its sources are the host's --------------------------------------------------------------

prepare_apt() {
  mkdir -p "$work"/apt/{lists/partial,archives/partial,state} "$work/debs"
  : >"$work/apt/state/status"
  # amd64 beside arm64: kbuild's host programs must run on the machine that builds.
  cat >"$work/apt/apt.conf" <<CONF
Dir::State "$work/apt/state";
Dir::State::status "$work/apt/state/status";
Dir::State::lists "$work/apt/lists";
Dir::Cache "$work/apt";
Dir::Cache::archives "$work/apt/archives";
APT::Architecture "arm64";
APT::Architectures { "arm64"; "amd64"; };
APT::Install-Recommends "false";
APT::Sandbox::User "root";
APT::Keep-Downloaded-Packages "true";
Acquire::Languages "none";
Acquire::Retries "3";
CONF
  export APT_CONFIG=$work/apt/apt.conf
  if [ -z "$(find "$work/apt/fetched" -mmin -1440 2>/dev/null)" ]; then
    apt-get -qq update >&2
    touch "$work/apt/fetched"
  fi
}

# depends PACKAGE PREFIX: the first dependency of PACKAGE whose name begins with PREFIX
depends() { apt-cache depends "$1" | awk -v p="$2" '$1 ~ /Depends:/ && index($2, p) == 1 {print $2; exit}'; }

kernel_version() {
  local image
  image=$(depends linux-image-arm64 linux-image-)
  [ -n "$image" ] || { echo "image.sh: apt knows no linux-image-arm64" >&2; return 1; }
  echo "${image#linux-image-}"
}

# --- kernel and the two modules Debian does not build -------------------------------------------------------------

download_root() {
  step "download the guest's packages"
  rm -f "$work"/apt/archives/*.deb # an older version would be unpacked as well
  apt-get -qq install -y --download-only "${packages[@]}" >/dev/null
}

download_kernel() {
  step "download the kernel"
  local headers=linux-headers-$version common kbuild source
  common=$(depends "$headers" linux-headers-)
  kbuild=$(depends "$headers" linux-kbuild-)
  source=$(depends linux-source linux-source-)
  (cd "$work/debs" && apt-get -qq download "linux-image-$version" "$headers" "$common" "${kbuild%:*}:amd64" "$source" v4l2loopback-dkms)
}

unpack_kernel() {
  step "unpack the kernel"
  rm -rf "$work/x" "$work/src" && mkdir -p "$work/x" "$work/src"
  local f
  for f in "$work"/debs/linux-{image,headers,kbuild}-*.deb "$work"/debs/v4l2loopback*.deb; do dpkg-deb -x "$f" "$work/x"; done
  dpkg-deb --fsys-tarfile "$work"/debs/linux-source-*.deb | tar -xO --wildcards './usr/src/linux-source-*.tar.xz' |
    tar -xJ -C "$work/src" --strip-components=1 --wildcards '*/drivers/gpio/gpiolib*.h' '*/drivers/gpio/gpio-sim.c' '*/kernel/irq/irq_sim.c'
}

# Debian's arm64 kernels set neither CONFIG_GPIO_SIM nor CONFIG_IRQ_SIM; both are linked into one module here.
# irq_to_desc() is not exported to modules; generic_handle_irq_safe() looks the descriptor up itself.
build_modules() {
  step "build gpio-sim and v4l2loopback"
  local headers=$work/x/usr/src/linux-headers-$version mod=$work/mod
  rm -rf "$mod" && mkdir -p "$mod"
  sed -i "s#include /usr/src#include $work/x/usr/src#" "$headers/Makefile"
  cp "$work"/src/drivers/gpio/*.h "$work/src/kernel/irq/irq_sim.c" "$work"/x/usr/src/v4l2loopback*/v4l2loopback*.[ch] "$mod/"
  cp "$work/src/drivers/gpio/gpio-sim.c" "$mod/gpio-sim-core.c"
  sed -i 's/handle_simple_irq(irq_to_desc(irqnum));/generic_handle_irq_safe(irqnum);/' "$mod/irq_sim.c"
  printf 'obj-m := gpio-sim.o v4l2loopback.o\ngpio-sim-y := gpio-sim-core.o irq_sim.o\n' >"$mod/Makefile"
  make -s -C "$headers" M="$mod" ARCH=arm64 CROSS_COMPILE=aarch64-linux-gnu- modules >"$work/modules.log" 2>&1 ||
    { tail -30 "$work/modules.log" >&2; return 1; }
  install -D -t "$work/x/lib/modules/$version/extra" "$mod"/{gpio-sim,v4l2loopback}.ko
  depmod -b "$work/x" "$version"
}

# --- root file system ---------------------------------------------------------------------------------------------

# debootstrap's second stage takes minutes under qemu-user, because dpkg and xz run emulated. Here the host's own
# dpkg does the work on the guest's root, and only maintainer scripts are emulated.
build_root() {
  step "root file system"
  local root=$work/root debs=("$work"/apt/archives/*.deb) f dir
  rm -rf "$root" && mkdir -p "$root"/{usr/{bin,sbin,lib,lib64},var/lib/dpkg/{info,updates,triggers},dev,proc,sys}
  for dir in bin sbin lib lib64; do ln -s "usr/$dir" "$root/$dir"; done
  : >"$root/var/lib/dpkg/status"
  : >"$root/var/lib/dpkg/available"
  mknod -m 666 "$root/dev/null" c 1 3
  for f in "${debs[@]}"; do dpkg-deb --fsys-tarfile "$f" | tar -x -C "$root" --keep-directory-symlink; done
  cp "$root/usr/share/base-passwd/passwd.master" "$root/etc/passwd"
  cp "$root/usr/share/base-passwd/group.master" "$root/etc/group"

  export DEBIAN_FRONTEND=noninteractive DEBCONF_NONINTERACTIVE_SEEN=true LC_ALL=C
  local dpkg=(dpkg --root="$root" --force-depends --force-architecture --force-unsafe-io --force-confnew --force-not-root --log=/dev/null)
  step "  unpack ${#debs[@]} packages"
  "$here/binfmt.sh" "${dpkg[@]}" --unpack "${debs[@]}" >"$work/unpack.log" 2>&1 || { tail -20 "$work/unpack.log" >&2; return 1; }
  step "  configure"
  # Configured out of dependency order, a package may need a second round.
  "$here/binfmt.sh" "${dpkg[@]}" --configure -a >"$work/configure.log" 2>&1 ||
    "$here/binfmt.sh" "${dpkg[@]}" --configure -a >>"$work/configure.log" 2>&1 || { tail -20 "$work/configure.log" >&2; return 1; }

  "$here/guest.sh" "$root"
  install -D "$work/guest/ctl" "$root/usr/local/sbin/vpi-ctl"
  local modules=$work/x/lib/modules/$version
  for f in $(module_files virtio_net virtio_console 9p 9pnet_virtio virtio-rng autofs4 vivid v4l2loopback gpio-sim i2c-dev); do
    install -D -m 644 "$f" "$root/lib/modules/$version/${f#"$modules"/}"
  done
  cp "$modules"/modules.{builtin,builtin.modinfo,order} "$root/lib/modules/$version/"
  depmod -b "$root" "$version"
  truncate -s 640M "$out/root.img"
  # A journal, since the tests cut the power.
  mke2fs -q -t ext4 -J size=8 -d "$root" "$out/root.img"
}

# module_files NAME...: the files of the modules and of all they depend on, each once, in the order to load them
module_files() {
  local m
  for m in "$@"; do modprobe -d "$work/x" -S "$version" --show-depends "$m"; done | awk '$1 == "insmod" && !seen[$2]++ {print $2}'
}

build_guest_programs() {
  step "the guest's own programs"
  local name
  for name in init ctl; do
    (cd "$here/guest/$name" && CGO_ENABLED=0 GOOS=linux GOARCH=arm64 go build -trimpath -ldflags='-s -w' -o "$work/guest/$name" .)
  done
}

# virtio_blk, virtio_pci and ext4 are modules in Debian's kernel.
build_initrd() {
  step "initrd"
  local initrd=$work/initrd f
  rm -rf "$initrd" && mkdir -p "$initrd/modules"
  install "$work/guest/init" "$initrd/init"
  for f in $(module_files virtio_pci virtio_blk ext4); do
    cp "$f" "$initrd/modules/"
    basename "$f" >>"$initrd/modules.list"
  done
  (cd "$initrd" && find . | cpio -o -H newc --quiet | gzip -1) >"$out/initrd.gz"
  cp "$work/x/boot/vmlinuz-$version" "$out/vmlinuz"
}

prepare_apt
version=$(kernel_version)
case $verb in
kernel) echo "$version" ;;
build)
  out=$(realpath -m "$3")
  mkdir -p "$out"
  built="$version $(sha256sum <"$here/image.sh")"
  if [ "$(cat "$work/kernel-built" 2>/dev/null)" != "$built" ]; then
    rm -rf "$work"/{debs,kernel-built} && mkdir "$work/debs"
    download_kernel
    unpack_kernel
    build_modules
    echo "$built" >"$work/kernel-built"
  fi
  download_root
  build_guest_programs
  build_root
  build_initrd
  rm -rf "$work"/{debs,src,mod,root,initrd}
  step "done"
  ;;
*) echo "image.sh: kernel or build, not $verb" >&2; exit 2 ;;
esac
