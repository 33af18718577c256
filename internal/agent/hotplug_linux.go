package agent

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// videoDevices calls look for each video device that comes, or may be used since now: udev makes the node first, then its group and
// mode. See Search.Watch.
func videoDevices(ctx context.Context, look func()) error {
	return watchDir(ctx, "/dev", "video", look)
}

// settling is how long the kernel may go on making nodes: a webcam has two to four, and udev's links to them come last.
const settling = 300 * time.Millisecond

// watchDir calls look when it has begun, and after a file with this prefix was made in dir or its mode was changed.
func watchDir(ctx context.Context, dir, prefix string, look func()) error {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return fmt.Errorf("cannot watch for devices: %w", err)
	}
	f := os.NewFile(uintptr(fd), "inotify")
	defer f.Close()
	if _, err := unix.InotifyAddWatch(fd, dir, unix.IN_CREATE|unix.IN_MOVED_TO|unix.IN_ATTRIB|unix.IN_ONLYDIR); err != nil {
		return fmt.Errorf("cannot watch %s for devices: %w", dir, err)
	}
	stop := context.AfterFunc(ctx, func() { _ = f.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	look()
	buf := make([]byte, 4<<10)
	for {
		n, err := f.Read(buf)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			return fmt.Errorf("cannot watch for devices: %w", err)
		case !names(buf[:n], prefix):
			continue
		}
		select {
		case <-time.After(settling):
			look()
		case <-ctx.Done():
			return nil
		}
	}
}

// names reports whether one of the events is about a file with this prefix, or events were lost.
func names(events []byte, prefix string) bool {
	for len(events) >= unix.SizeofInotifyEvent {
		mask, size := binary.NativeEndian.Uint32(events[4:]), int(binary.NativeEndian.Uint32(events[12:]))
		events = events[unix.SizeofInotifyEvent:]
		if size > len(events) {
			return false
		}
		if mask&unix.IN_Q_OVERFLOW != 0 || bytes.HasPrefix(events[:size], []byte(prefix)) {
			return true
		}
		events = events[size:]
	}
	return false
}
