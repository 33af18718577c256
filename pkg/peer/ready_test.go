package peer_test

import (
	"context"
	"errors"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rsocket/rsocket-go/core"

	"github.com/perchcam/perch/pkg/peer"
	"github.com/perchcam/perch/pkg/session"
)

// A request-response waits for a link as well before it chooses its answer; and its context ends with the answer.
func TestReadyInAResponse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		var chosen time.Duration
		var before, after bool
		var kept context.Context
		p := newPair(t, peer.Config{Handler: peer.Funcs{
			Response: func(ctx context.Context, _ Payload) (Payload, error) {
				kept = ctx
				before = peer.Writable(ctx)
				time.Sleep(2 * time.Second) // the link goes down
				after = peer.Writable(ctx)
				if err := peer.Ready(ctx); err != nil {
					return Payload{}, err
				}
				chosen = time.Since(start)
				return data("fresh"), nil
			},
		}}, session.Options{})
		o := request(p.toServer.Session(), session.Message{Type: core.FrameTypeRequestResponse}, 0)
		time.Sleep(time.Second)
		p.net.Down(true)
		time.Sleep(9 * time.Second)
		p.net.Down(false)
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if !before || after || chosen < 10*time.Second || o.text() != "fresh" {
			t.Errorf("writable %v, then %v; chosen after %v: %q", before, after, chosen, o.text())
		}
		if kept.Err() == nil {
			t.Error("the context outlives the answer")
		}
	})
}

// The iterator is entered only when its first element may leave.
func TestIteratorIsEnteredWhenItMaySpeak(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		entered := make(chan time.Duration, 1)
		p := newPair(t, peer.Config{Handler: peer.Funcs{
			Stream: func(context.Context, Payload) seq {
				time.Sleep(2 * time.Second) // the link goes down
				return func(yield func(Payload, error) bool) {
					entered <- time.Since(start)
					yield(data("fresh"), nil)
				}
			},
		}}, session.Options{})
		o := request(p.toServer.Session(), streamOf(1), 1)
		time.Sleep(time.Second)
		p.net.Down(true)
		time.Sleep(9 * time.Second)
		p.net.Down(false)
		if at := <-entered; at < 10*time.Second {
			t.Errorf("entered after %v", at)
		}
		synctest.Wait()
		if o.got() != "N5 C" {
			t.Errorf("got %s", o.got())
		}
	})
}

// Ready heeds a context made of the handler's, and says why when nobody waits any more.
func TestReadyEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ends := make(chan error, 3)
		p := newPair(t, peer.Config{Handler: peer.Funcs{
			Stream: func(ctx context.Context, _ Payload) seq {
				return func(yield func(Payload, error) bool) {
					yield(data("1"), nil)
					short, cancel := context.WithTimeout(ctx, time.Second)
					defer cancel()
					ends <- peer.Ready(short)
					ends <- peer.Ready(ctx)
					for _, err := range peer.Fresh(ctx, func(context.Context, bool) (Payload, error) { return Payload{}, io.EOF }) {
						ends <- err
					}
				}
			},
		}}, session.Options{})
		o := request(p.toServer.Session(), streamOf(1), 1)
		if err := <-ends; !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
		o.s.Cancel()
		o.s.Session().Flush()
		for range 2 {
			if err := <-ends; !errors.Is(err, peer.ErrCanceled) {
				t.Error(err)
			}
		}
	})
}

// Outside of a handler, as in its own unit test, there is nothing to wait for.
func TestWithoutARequest(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	if peer.Ready(ctx) != nil || !peer.Writable(ctx) || peer.Conn(ctx) != nil {
		t.Error("a context of nobody is not ready")
	}
	peer.Keep(ctx, 1)
	n := 0
	for v, err := range peer.Fresh(ctx, func(context.Context, bool) (Payload, error) {
		if n++; n > 3 {
			return Payload{}, io.EOF
		}
		return data("x"), nil
	}) {
		if err != nil || string(v.Data) != "x" {
			t.Error(v, err)
		}
	}
	if n != 4 {
		t.Errorf("picked %d times", n)
	}
	cancel()
	if peer.Ready(ctx) == nil || peer.Writable(ctx) {
		t.Error("ready after its end")
	}
}
