package cameratest_test

import (
	"context"
	"errors"
	"flag"
	"iter"
	"testing"
	"time"

	"github.com/perchcam/perch/pkg/camera"
	"github.com/perchcam/perch/pkg/camera/cameratest"
)

var cyclesFlag = flag.Int("cycles", 1000, "starts and stops in the conformance test")

func TestConformanceOfTheFake(t *testing.T) {
	src := &cameratest.Source{Period: time.Millisecond}
	cameratest.Conformance(t, src, cameratest.Options{
		Cycles: *cyclesFlag,
		Break:  func() { src.Break(errors.New("broken")) },
		Mend:   src.Mend,
	})
}

// leaky keeps a goroutine for each run, and says nothing of it.
type leaky struct {
	cameratest.Source
	never chan struct{}
}

func (l *leaky) Frames(ctx context.Context, want camera.Want) iter.Seq2[camera.Frame, error] {
	go func() { <-l.never }()
	return l.Source.Frames(ctx, want)
}

// The leak check is worth nothing if it cannot fail.
func TestConformanceSeesALeak(t *testing.T) {
	l := &leaky{Source: cameratest.Source{Period: time.Millisecond}, never: make(chan struct{})}
	defer close(l.never)
	if cameratest.KeepsNothing(l, 3) {
		t.Error("a source that keeps a goroutine for each run passes")
	}
}
