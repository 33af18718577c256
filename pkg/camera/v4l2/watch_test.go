//go:build linux && cgo

package v4l2

import (
	"context"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// early is a node that has a frame a moment after it said that it has none.
type early struct {
	*fake
	asked int
}

func (e *early) dequeue() (buffer, error) {
	if e.asked++; e.asked == 1 {
		e.send(buffer{seq: 7})
		return buffer{}, unix.EAGAIN
	}
	return e.fake.dequeue()
}

// TestDeviceThatHasAFrameIsNotGivenToThePoller: it might never be heard of again.
func TestDeviceThatHasAFrameIsNotGivenToThePoller(t *testing.T) {
	e := &early{fake: newFake(t)}
	_ = e.queue(0)
	_ = e.queue(1)
	w := watch{node: e}
	defer w.close()
	if b, err := w.next(t.Context()); err != nil || b.seq != 7 {
		t.Fatalf("got %+v, %v", b, err)
	}
	if w.file != nil {
		t.Error("it was given to the poller though it had a frame")
	}
	time.AfterFunc(10*time.Millisecond, func() { e.send(buffer{seq: 8}) })
	if b, err := w.next(t.Context()); err != nil || b.seq != 8 {
		t.Fatalf("got %+v, %v", b, err)
	}
	if w.file == nil {
		t.Error("it is waited for without the poller")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := (&watch{node: newFake(t)}).next(ctx); err == nil {
		t.Error("a frame after the end")
	}
}
