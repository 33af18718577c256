//go:build linux && cgo

package v4l2

import (
	"context"
	"errors"
	"flag"
	"iter"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/perchcam/perch/pkg/camera"
	"github.com/perchcam/perch/pkg/camera/cameratest"
)

var cyclesFlag = flag.Int("cycles", 100, "starts and stops in the conformance tests")

// The capture itself keeps the rules of a source, with a fake in the kernel's place.
func TestConformanceOnAFakeNode(t *testing.T) {
	s := &faked{t: t}
	cameratest.Conformance(t, s, cameratest.Options{Cycles: *cyclesFlag, Break: func() { s.unplug(true) }, Mend: func() { s.unplug(false) }})
}

// faked is a camera whose node is a fake that fills a buffer each millisecond.
type faked struct {
	t *testing.T

	mu    sync.Mutex // guards the following
	away  bool
	inUse *fake
}

func (s *faked) unplug(away bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.away = away
	if away && s.inUse != nil {
		s.inUse.die(unix.ENODEV)
	}
}

func (s *faked) Describe(context.Context) (camera.Info, error) {
	return camera.Info{Kind: camera.KindV4L2, Card: "fake", Modes: []camera.Mode{{Format: camera.YUYV, Width: 640, Height: 480}}}, nil
}

func (s *faked) Frames(ctx context.Context, want camera.Want) iter.Seq2[camera.Frame, error] {
	return func(yield func(camera.Frame, error) bool) {
		if ctx.Err() != nil {
			return
		}
		s.mu.Lock()
		if s.away {
			s.mu.Unlock()
			yield(camera.Frame{}, sentence("open", "/dev/video9", unix.ENODEV))
			return
		}
		f := newNode(s.t)
		defer unix.Close(f.event)
		s.inUse = f
		s.mu.Unlock()
		stop, stopped := make(chan struct{}), make(chan struct{})
		go func() {
			defer close(stopped)
			select {
			case <-f.streams:
			case <-stop:
				return
			}
			b := now()
			for tick := time.NewTicker(time.Millisecond); ; b.seq++ {
				select {
				case <-stop:
					tick.Stop()
					return
				case <-tick.C:
					b.stamp = camera.Mono()
					f.offer(b)
				}
			}
		}()
		err := capture(ctx, f, "/dev/video9", want, yield)
		close(stop)
		<-stopped
		s.mu.Lock()
		s.inUse = nil
		s.mu.Unlock()
		f.ended(s.t, true)
		if err != nil && !errors.Is(err, errStopped) {
			yield(camera.Frame{}, err)
		}
	}
}
