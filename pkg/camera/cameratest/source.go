// Package cameratest has a camera made of memory, for tests of whatever looks
// at cameras, and the rules that every camera must keep.
package cameratest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"image"
	"image/jpeg"
	"iter"
	"sync"
	"time"

	"github.com/perchcam/perch/pkg/camera"
)

// Source is a camera that does what a test says. The zero value gives small
// grey JPEG pictures at 30 a second. Set the fields before the first use. It
// works inside a testing/synctest bubble.
type Source struct {
	Period        time.Duration         // between frames; 0 means 1/30 s
	Width, Height int                   // 0 means 64×48
	Format        camera.Format         // 0 means MJPEG
	Data          func(n uint64) []byte // bytes of frame n of a run; nil draws a grey picture
	Start         time.Duration         // from the start to the first frame
	Skip          func(n uint64) bool   // frames that are lost below the source

	mu      sync.Mutex
	err     error         // mu guards it: what every start and running capture ends with
	stalled bool          // likewise
	changed chan struct{} // likewise; closed at the next change of the above
	starts  int           // likewise
	running int           // likewise
	still   []byte        // likewise; the picture that is drawn once
}

// Break makes the running capture and every later start end with err, until Mend.
func (s *Source) Break(err error) { s.change(func() { s.err = err }) }

// Mend undoes Break and Stall and wakes who waits in Await.
func (s *Source) Mend() { s.change(func() { s.err, s.stalled = nil, false }) }

// Stall makes frames stop without an error, until Mend.
func (s *Source) Stall() { s.change(func() { s.stalled = true }) }

// Starts is how often the sensor was started.
func (s *Source) Starts() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.starts
}

// Running tells whether the sensor runs.
func (s *Source) Running() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.running > 0
}

func (s *Source) change(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
	if s.changed != nil {
		close(s.changed)
		s.changed = nil
	}
}

func (s *Source) now() (stalled bool, changed <-chan struct{}, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.changed == nil {
		s.changed = make(chan struct{})
	}
	return s.stalled, s.changed, s.err
}

// Describe says what the fields say.
func (s *Source) Describe(context.Context) (camera.Info, error) {
	if _, _, err := s.now(); err != nil {
		return camera.Info{}, err
	}
	w, h, format, period := s.shape()
	return camera.Info{
		Kind:  "test",
		Card:  "Camera made of memory",
		Modes: []camera.Mode{{Format: format, Width: w, Height: h, FPS: float64(time.Second) / float64(period)}},
	}, nil
}

// Await waits for Mend.
func (s *Source) Await(ctx context.Context) error {
	for {
		_, changed, err := s.now()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-changed:
		}
	}
}

// Frames gives frames at the period set.
func (s *Source) Frames(ctx context.Context, want camera.Want) iter.Seq2[camera.Frame, error] {
	return func(yield func(camera.Frame, error) bool) {
		s.mu.Lock()
		s.starts++
		s.running++
		twice := s.running > 1
		s.mu.Unlock()
		defer func() {
			s.mu.Lock()
			s.running--
			s.mu.Unlock()
		}()
		if twice {
			yield(camera.Frame{}, errors.New("the camera is started twice at a time"))
			return
		}
		w, h, format, period := s.shape()
		timer := time.NewTimer(s.Start)
		defer timer.Stop()
		for n := uint64(0); ; {
			stalled, changed, err := s.now()
			if err != nil {
				yield(camera.Frame{}, err)
				return
			}
			tick := timer.C
			if stalled {
				tick = nil
			}
			select {
			case <-ctx.Done():
				return
			case <-changed:
				continue
			case <-tick:
			}
			timer.Reset(period)
			if s.Skip == nil || !s.Skip(n) {
				f := camera.Frame{Seq: n, Mono: camera.Mono(), Format: format, Width: w, Height: h, Period: period, Data: s.data(n)}
				if !yield(f, nil) {
					return
				}
			}
			n++
		}
	}
}

func (s *Source) shape() (w, h int, format camera.Format, period time.Duration) {
	w, h, format, period = s.Width, s.Height, s.Format, s.Period
	if w == 0 {
		w, h = 64, 48
	}
	if format == 0 {
		format = camera.MJPEG
	}
	if period == 0 {
		period = time.Second / 30
	}
	return w, h, format, period
}

func (s *Source) data(n uint64) []byte {
	if s.Data != nil {
		return s.Data(n)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.still == nil {
		w, h, format, _ := s.shape()
		if format.Compressed() {
			s.still = Grey(w, h, 128)
		} else {
			s.still = bytes.Repeat([]byte{128}, 2*w*h)
		}
	}
	return s.still
}

// Grey is a JPEG of one brightness.
func Grey(w, h int, luma byte) []byte {
	img := image.NewYCbCr(image.Rect(0, 0, w, h), image.YCbCrSubsampleRatio420)
	for i := range img.Y {
		img.Y[i] = luma
	}
	for i := range img.Cb {
		img.Cb[i], img.Cr[i] = 128, 128
	}
	var b bytes.Buffer
	if err := jpeg.Encode(&b, img, nil); err != nil {
		panic(fmt.Sprintf("cannot encode a grey picture: %v", err)) // cannot happen: the writer is memory
	}
	return b.Bytes()
}
