//go:build !linux || !cgo

package v4l2

import (
	"context"
	"fmt"
	"iter"

	"github.com/perchcam/perch/pkg/camera"
)

// Source cannot be had in this build.
type Source struct{ path string }

func available() error {
	return fmt.Errorf("cameras of kind v4l2 need Linux and a build with cgo: %w", camera.ErrUnsupported)
}

// Describe gives the reason.
func (s *Source) Describe(context.Context) (camera.Info, error) { return camera.Info{}, available() }

// Frames gives the reason.
func (s *Source) Frames(context.Context, camera.Want) iter.Seq2[camera.Frame, error] {
	return func(yield func(camera.Frame, error) bool) { yield(camera.Frame{}, available()) }
}

// Found is a camera that Discover found.
type Found struct{ Name, Address, Node, Card string }

// Discover finds nothing.
func Discover() []Found { return nil }

// Why has nothing to tell.
func Why() []string { return nil }

// Holder knows nobody.
func Holder(string) string { return "" }
