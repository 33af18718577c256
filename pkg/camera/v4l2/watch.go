//go:build linux && cgo

package v4l2

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// watch waits for the frames of a node that streams, in the runtime's poller. A thread that sat in poll(2) would be looked at by
// the runtime 50 times and more for each frame, to see whether it has ended.
type watch struct {
	node
	file *os.File // another descriptor of the device, in the poller; nil before the first wait
	conn syscall.RawConn
	stop func() bool
	b    buffer // what try has got
	err  error
}

// next waits for a frame, until ctx ends.
func (w *watch) next(ctx context.Context) (buffer, error) {
	for w.file == nil {
		if w.try(0) || ctx.Err() != nil {
			return w.b, w.err
		}
		if err := w.open(ctx); err != nil {
			return buffer{}, err
		}
	}
	if err := w.conn.Read(w.try); err != nil && !w.try(0) {
		return buffer{}, fmt.Errorf("%w: %w", err, unix.EIO) // the kernel reports an error, and there is no frame
	}
	return w.b, w.err
}

// try takes a frame; false means that there is none.
func (w *watch) try(uintptr) bool {
	w.b, w.err = w.dequeue()
	return !errors.Is(w.err, unix.EAGAIN)
}

// open gives the device to the poller, unless it has a frame by now: a device that had one at that moment is never heard of again
// with v4l2loopback 0.12 and kernels before 5.4, which do not enter who asks then into their list of those to wake.
func (w *watch) open(ctx context.Context) error {
	fd, err := unix.FcntlInt(uintptr(w.fd()), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return os.NewSyscallError("fcntl", err)
	}
	w.file = os.NewFile(uintptr(fd), "camera")
	now := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	if _, err := unix.Poll(now, 0); err != nil || now[0].Revents&unix.POLLIN != 0 {
		w.close()
		return nil
	}
	if w.conn, err = w.file.SyscallConn(); err != nil {
		return err
	}
	file := w.file
	w.stop = context.AfterFunc(ctx, func() { _ = file.SetReadDeadline(time.Unix(1, 0)) })
	return nil
}

// close gives the descriptor back.
func (w *watch) close() {
	if w.stop != nil {
		w.stop()
	}
	if w.file != nil {
		w.file.Close() // waits until nobody uses it
	}
	w.file, w.stop = nil, nil
}
