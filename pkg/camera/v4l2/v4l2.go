// Package v4l2 is cameras behind the kernel's Video4Linux2: USB webcams,
// capture cards, virtual cameras. It needs Linux and a build with cgo, whose
// go4vl knows the kernel's structures; other builds answer every call with a
// sentence.
//
// The calls of one capture, always in this order: open, S_FMT, G_FMT, S_PARM,
// REQBUFS, mmap, QBUF, STREAMON; then poll, DQBUF, the consumer, QBUF for each
// frame; and at the end, whatever happened, STREAMOFF, munmap, REQBUFS(0),
// close. One goroutine makes all of them. What the driver chose is what a
// frame says, not what was asked.
//
// The kernel's buffer is handed out itself, not a copy: it goes back to the
// driver when the consumer's loop body ends.
package v4l2

import (
	"errors"
	"fmt"
	"io/fs"
	"syscall"

	"github.com/perchcam/perch/pkg/camera"
)

// New gives the source for a spec of kind v4l2, whose address is a device
// path, best one below /dev/v4l/by-id or by-path. The camera is not touched.
func New(spec camera.Spec) (*Source, error) {
	if err := spec.CheckOptions(); err != nil {
		return nil, err
	}
	if err := available(); err != nil {
		return nil, fmt.Errorf("camera %s: %w", spec.Name, err)
	}
	return &Source{path: spec.Address}, nil
}

// sentence makes of a failed step an error that says what to do, and that
// errors.Is finds both by the camera's sentinel and by errno.
func sentence(step, path string, err error) error {
	is, hint := error(nil), ""
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ENODEV), errors.Is(err, syscall.ENXIO):
		is = camera.ErrAbsent
	case errors.Is(err, syscall.EBUSY):
		is, hint = camera.ErrBusy, holder(path)
	case errors.Is(err, fs.ErrPermission):
		is, hint = camera.ErrDenied, "; the user must be in group video"
	case errors.Is(err, syscall.ENOSPC):
		// USB reserves bandwidth at STREAMON; this is its way to say that there is no more.
		hint = "; the USB bus has no bandwidth left for this size and rate: use format=mjpeg, a smaller width or fps, or another USB controller"
	}
	if is == nil {
		return fmt.Errorf("cannot %s %s: %w%s", step, path, err, hint)
	}
	return fmt.Errorf("cannot %s %s: %w%s (%w)", step, path, is, hint, err)
}
