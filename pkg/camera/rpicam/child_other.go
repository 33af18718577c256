//go:build !linux

package rpicam

import (
	"context"
	"fmt"
	"io"

	"github.com/perchcam/perch/pkg/camera"
)

// child cannot be had in this build.
type child struct{ out io.Reader }

func start(context.Context, string, ...string) (*child, error) {
	return nil, fmt.Errorf("cameras of kind rpicam need a Raspberry Pi: %w", camera.ErrUnsupported)
}

func (c *child) end(cause error) error { return cause }

func (c *child) ok() bool { return false }
