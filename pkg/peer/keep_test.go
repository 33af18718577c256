package peer_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rsocket/rsocket-go/core"

	"github.com/perchcam/perch/pkg/peer"
	"github.com/perchcam/perch/pkg/session"
)

// ticker yields a numbered element of size bytes every second, n in all, and counts those taken from it.
func ticker(ctx context.Context, n, size int, taken *atomic.Int32) seq {
	return func(yield func(Payload, error) bool) {
		for i := range n {
			select {
			case <-time.After(time.Second):
			case <-ctx.Done():
				return
			}
			if !yield(Payload{Data: fmt.Appendf(nil, "%-*d", size, i)}, nil) {
				return
			}
			taken.Add(1)
		}
	}
}

// A stream that keeps goes on choosing elements without demand and without a link, and loses none.
func TestKeepQueuesOverAnOutage(t *testing.T) {
	for _, size := range []int{10, 50_000} {
		synctest.Test(t, func(t *testing.T) {
			var taken atomic.Int32
			p := newPair(t, peer.Config{Handler: peer.Funcs{
				Stream: func(ctx context.Context, _ Payload) seq {
					peer.Keep(ctx, 100*size)
					return ticker(ctx, 60, size, &taken)
				},
			}}, session.Options{})
			o := request(p.toServer.Session(), session.Message{Type: core.FrameTypeRequestStream}, 5)
			time.Sleep(3500 * time.Millisecond)
			p.net.Down(true)
			time.Sleep(30 * time.Second)
			if taken.Load() != 33 || o.got() != repeat(fmt.Sprint("N", size), 3) {
				t.Errorf("%d taken, got %s", taken.Load(), o.got())
			}
			// 28 wait for demand, two were asked for and wait in the session, which is what has been held.
			if held := p.server.Stats().Held; held != 30*size {
				t.Errorf("%d bytes held of %d", held, 30*size)
			}
			p.net.Down(false)
			time.Sleep(10 * time.Second)
			if o.got() != repeat(fmt.Sprint("N", size), 5) {
				t.Errorf("without further demand came %s", o.got())
			}
			o.s.Request(1000)
			o.s.Session().Flush()
			time.Sleep(time.Minute)
			if o.got() != repeat(fmt.Sprint("N", size), 60)+" C" {
				t.Errorf("in the end came %s", o.got())
			}
			for i, e := range o.elems {
				if strings.TrimSpace(e) != fmt.Sprint(i) {
					t.Fatalf("element %d is %s", i, e)
				}
			}
		})
	}
}

// Beyond its bound a stream that keeps waits; what all of them hold is bounded too.
func TestKeepIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var taken [3]atomic.Int32
		bytes := []int{5000, 100_000, 100_000}
		var next atomic.Int32
		p := newPair(t, peer.Config{MaxHeld: 20_000, Handler: peer.Funcs{
			Stream: func(ctx context.Context, _ Payload) seq {
				i := next.Add(1) - 1
				peer.Keep(ctx, bytes[i])
				return ticker(ctx, 100, 1000, &taken[i])
			},
		}}, session.Options{})
		var asked []*raw
		for i := range taken {
			asked = append(asked, request(p.toServer.Session(), session.Message{Type: core.FrameTypeRequestStream}, 1))
			synctest.Wait()
			if int(next.Load()) != i+1 {
				t.Fatal("not in order")
			}
			time.Sleep(50 * time.Second)
		}
		// One of each has left; the first holds 5, the second 15, the third what is always allowed: one.
		got := []int32{taken[0].Load(), taken[1].Load(), taken[2].Load()}
		if got[0] != 6 || got[1] != 16 || got[2] != 2 || p.server.Stats().Held != 21_000 {
			t.Errorf("taken %v, held %d", got, p.server.Stats().Held)
		}
		asked[1].s.Cancel()
		asked[1].s.Session().Flush()
		synctest.Wait()
		if h := p.server.Stats().Held; h != 6000 {
			t.Errorf("%d bytes held after CANCEL", h)
		}
		for _, o := range []*raw{asked[0], asked[2]} {
			o.s.Request(1000)
			o.s.Session().Flush()
		}
		time.Sleep(2 * time.Minute)
		for _, o := range []*raw{asked[0], asked[2]} {
			if o.got() != repeat("N1000", 100)+" C" {
				t.Errorf("got %s", o.got())
			}
		}
	})
}

// The error of a stream that keeps comes after what it kept.
func TestKeptElementsComeBeforeTheError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPair(t, peer.Config{Handler: peer.Funcs{
			Stream: func(ctx context.Context, _ Payload) seq {
				peer.Keep(ctx, 1<<20)
				return func(yield func(Payload, error) bool) {
					for range 3 {
						yield(data("x"), nil)
					}
					peer.Keep(ctx, 0) // from here on in turn, but not before what is kept
					yield(data("yy"), nil)
					yield(Payload{}, errors.New("lens cap"))
				}
			},
		}}, session.Options{})
		o := request(p.toServer.Session(), session.Message{Type: core.FrameTypeRequestStream}, 1)
		synctest.Wait()
		if o.got() != "N1" {
			t.Errorf("got %s", o.got())
		}
		o.s.Request(9)
		o.s.Session().Flush()
		synctest.Wait()
		if o.got() != "N1 N1 N1 N2 ERR201" {
			t.Errorf("got %s", o.got())
		}
	})
}

// Without Keep nothing is taken from a handler during an outage, whether it is asked for or not.
func TestNothingIsChosenWithoutALink(t *testing.T) {
	for _, size := range []int{10, 50_000} {
		synctest.Test(t, func(t *testing.T) {
			var taken atomic.Int32
			p := newPair(t, peer.Config{Handler: peer.Funcs{
				Stream: func(ctx context.Context, _ Payload) seq { return ticker(ctx, 60, size, &taken) },
			}}, session.Options{})
			o := request(p.toServer.Session(), session.Message{Type: core.FrameTypeRequestStream}, 1000)
			time.Sleep(3500 * time.Millisecond)
			p.net.Down(true)
			time.Sleep(30 * time.Second)
			if taken.Load() != 3 {
				t.Errorf("%d B: %d taken", size, taken.Load())
			}
			p.net.Down(false)
			time.Sleep(2 * time.Minute)
			if o.got() != repeat(fmt.Sprint("N", size), 60)+" C" {
				t.Errorf("in the end came %s", o.got())
			}
		})
	}
}
