// Command init is the virtual Pi's initramfs: it loads the modules listed in /modules.list, mounts the disk and hands
// over to the guest's own init. Debian's kernel has the virtio disk and ext4 as modules, and initramfs-tools would
// take longer to run under emulation than the whole boot.
package main

import (
	"fmt"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

func main() {
	if err := run(); err != nil {
		fmt.Println("vpi-init:", err)
		time.Sleep(time.Second) // let the console drain: the kernel panics when init ends
		os.Exit(1)
	}
}

// run returns only when it failed.
func run() error {
	for _, dir := range []string{"/proc", "/dev", "/newroot"} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	if err := unix.Mount("proc", "/proc", "proc", 0, ""); err != nil {
		return fmt.Errorf("cannot mount /proc: %w", err)
	}
	if err := unix.Mount("dev", "/dev", "devtmpfs", 0, ""); err != nil {
		return fmt.Errorf("cannot mount /dev: %w", err)
	}
	list, err := os.ReadFile("/modules.list")
	if err != nil {
		return err
	}
	for name := range strings.FieldsSeq(string(list)) {
		if err := load("/modules/" + name); err != nil {
			return err
		}
	}
	if err := waitFor("/dev/vda", 10*time.Second); err != nil {
		return err
	}
	if err := unix.Mount("/dev/vda", "/newroot", "ext4", unix.MS_NOATIME, ""); err != nil {
		return fmt.Errorf("cannot mount the root: %w", err)
	}
	for _, dir := range []string{"/dev", "/proc"} {
		if err := unix.Mount(dir, "/newroot"+dir, "", unix.MS_MOVE, ""); err != nil {
			return fmt.Errorf("cannot move %s: %w", dir, err)
		}
	}
	if err := unix.Chdir("/newroot"); err != nil {
		return err
	}
	if err := unix.Mount(".", "/", "", unix.MS_MOVE, ""); err != nil {
		return fmt.Errorf("cannot move the root: %w", err)
	}
	if err := unix.Chroot("."); err != nil {
		return err
	}
	if err := unix.Chdir("/"); err != nil {
		return err
	}
	fmt.Println("vpi-init: the disk is mounted, starting /sbin/init")
	return fmt.Errorf("cannot start /sbin/init: %w", unix.Exec("/sbin/init", []string{"/sbin/init"}, os.Environ()))
}

// load puts one module into the kernel; one that is there already is fine.
func load(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := unix.FinitModule(int(f.Fd()), "", 0); err != nil && err != unix.EEXIST {
		return fmt.Errorf("cannot load %s: %w", path, err)
	}
	return nil
}

// waitFor polls for a device node: devtmpfs offers no notice, and there is no udev yet.
func waitFor(path string, limit time.Duration) error {
	deadline := time.Now().Add(limit)
	for {
		if _, err := os.Stat(path); err == nil {
			return nil
		} else if time.Now().After(deadline) {
			return fmt.Errorf("no disk after %s: %w", limit, err)
		}
		time.Sleep(10 * time.Millisecond)
	}
}
