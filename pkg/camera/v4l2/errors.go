//go:build linux && cgo

package v4l2

import (
	"errors"
	"fmt"
	"io/fs"
	"syscall"

	"github.com/perchcam/perch/pkg/camera"
)

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
