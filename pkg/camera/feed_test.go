package camera_test

import (
	"context"
	"iter"

	"github.com/perchcam/perch/pkg/camera"
)

// feed is a source that gives what is sent to it.
type feed chan []byte

func (f feed) Describe(context.Context) (camera.Info, error) { return camera.Info{}, nil }

func (f feed) Frames(ctx context.Context, _ camera.Want) iter.Seq2[camera.Frame, error] {
	return func(yield func(camera.Frame, error) bool) {
		for seq := uint64(0); ; seq++ {
			select {
			case <-ctx.Done():
				return
			case b := <-f:
				if !yield(camera.Frame{Seq: seq, Mono: camera.Mono(), Format: camera.MJPEG, Data: b}, nil) {
					return
				}
			}
		}
	}
}
