//go:build linux && cgo

package v4l2

import (
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// await returns when the camera at path may work again: when its node appears
// and may be opened, is replaced by another, or, if it was busy, when whoever
// had it open closes it. It watches rather than polls. gone says that the last
// attempt found no node, so that one which came in the meantime is not missed.
//
// udev makes the node first, then its group and mode, then the links; the
// node is worth trying only after that, which is why attribute changes and
// the folders of links are watched too.
func await(ctx context.Context, path string, gone bool) error {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return fmt.Errorf("cannot watch for cameras: %w", os.NewSyscallError("inotify_init1", err))
	}
	watch := os.NewFile(uintptr(fd), "inotify")
	defer watch.Close()
	stop := context.AfterFunc(ctx, func() { watch.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()

	var dirs []string
	for dir := filepath.Dir(path); len(dir) > 1; dir = filepath.Dir(dir) {
		dirs = append(dirs, dir)
	}
	slices.Reverse(dirs) // from the root: of a folder that is not there yet, the one above will tell
	// follow watches what there is; folders come and go with the cameras in them.
	follow := func() {
		for _, dir := range dirs {
			unix.InotifyAddWatch(fd, dir, unix.IN_CREATE|unix.IN_MOVED_TO|unix.IN_ATTRIB|unix.IN_DELETE|unix.IN_ONLYDIR)
		}
		if node, err := filepath.EvalSymlinks(path); err == nil {
			unix.InotifyAddWatch(fd, filepath.Dir(node), unix.IN_CREATE|unix.IN_MOVED_TO|unix.IN_ATTRIB|unix.IN_ONLYDIR)
			unix.InotifyAddWatch(fd, node, unix.IN_CLOSE|unix.IN_ATTRIB)
		}
	}
	follow()
	was, there := identity(path)
	if gone && there {
		return nil
	}
	buf := make([]byte, 4096)
	for {
		n, err := watch.Read(buf)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			return fmt.Errorf("cannot watch for cameras: %w", err)
		}
		closed := closes(buf[:n])
		follow()
		is, now := identity(path)
		if now && (!there || is != was || closed) {
			return nil
		}
		there = now
	}
}

// identity tells which node path leads to, and whether it may be opened.
func identity(path string) ([2]uint64, bool) {
	var st unix.Stat_t
	if unix.Stat(path, &st) != nil || unix.Access(path, unix.R_OK|unix.W_OK) != nil {
		return [2]uint64{}, false
	}
	return [2]uint64{uint64(st.Ino), uint64(st.Rdev)}, true
}

// closes tells whether one of the events is that the node was closed.
func closes(events []byte) bool {
	for len(events) >= unix.SizeofInotifyEvent {
		mask := binary.NativeEndian.Uint32(events[4:])
		size := binary.NativeEndian.Uint32(events[12:])
		if mask&unix.IN_CLOSE != 0 {
			return true
		}
		if uint64(len(events)) < unix.SizeofInotifyEvent+uint64(size) {
			return false
		}
		events = events[unix.SizeofInotifyEvent+size:]
	}
	return false
}
