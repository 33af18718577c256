// Package v4l2 is cameras behind the kernel's Video4Linux2: USB webcams,
// capture cards, virtual cameras. It needs Linux and a build with cgo, whose
// go4vl knows the kernel's structures; other builds answer every call with a
// sentence.
//
// The calls of one capture, always in this order: open, S_FMT, G_FMT, S_PARM,
// REQBUFS, mmap, QBUF, STREAMON; then epoll, DQBUF, the consumer, QBUF for each
// frame; and at the end, whatever happened, STREAMOFF, munmap, REQBUFS(0),
// close. One goroutine makes all of them. What the driver chose is what a
// frame says, not what was asked.
//
// The kernel's buffer is handed out itself, not a copy: it goes back to the
// driver when the consumer's loop body ends.
package v4l2

import (
	"fmt"

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
