package peer_test

import (
	"bytes"
	"context"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rsocket/rsocket-go/core"

	"github.com/perchcam/perch/pkg/peer"
	"github.com/perchcam/perch/pkg/session"
)

// When yield has returned, the element's bytes may be used for the next: on either side, whatever its size.
func TestYieldGivesTheBytesBack(t *testing.T) {
	for _, size := range []int{100, 512, 513, 100_000} {
		synctest.Test(t, func(t *testing.T) {
			reused := func(yield func(Payload, error) bool) {
				b := make([]byte, size)
				for i := range 50 {
					copy(b, bytes.Repeat([]byte{byte(i)}, size))
					if !yield(Payload{Data: b}, nil) {
						return
					}
				}
			}
			check := func(what string, elements seq) {
				n := 0
				for v, err := range elements {
					if err != nil || !bytes.Equal(v.Data, bytes.Repeat([]byte{byte(n)}, size)) {
						t.Fatalf("%s of %d B: element %d is wrong: %v", what, size, n, err)
					}
					n++
				}
				if n != 50 {
					t.Errorf("%s of %d B: %d elements", what, size, n)
				}
			}
			h := echo()
			h.Stream = func(context.Context, Payload) seq { return reused }
			h.Channel = func(_ context.Context, _ Payload, in seq) seq { return in }
			p := newPair(t, peer.Config{Handler: h}, session.Options{})
			check("stream", p.toServer.RequestStream(t.Context(), data("x"), peer.Window(64)))
			check("channel", p.toServer.RequestChannel(t.Context(), data("x"), reused, peer.Window(64)))
		})
	}
}

// An answer that comes before the request has left ends the request: its bytes are the caller's again.
func TestAnswerBeforeTheRequestHasLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, r, end, _ := against(t, peer.Config{}, session.Options{})
		go func() { (<-end.opened).say(core.FlagNext|core.FlagComplete, "at once") }()
		req := make([]byte, 8<<20)
		v, err := r.RequestResponse(t.Context(), Payload{Data: req})
		if err != nil || string(v.Data) != "at once" {
			t.Error(err, string(v.Data))
		}
		for i := range req { // a race, if the session still reads it
			req[i] = 0xff
		}
		synctest.Wait()
		if sent := r.Session().Stats().BytesSent; sent > 4<<20 {
			t.Errorf("%d bytes of the request left all the same", sent)
		}
	})
}

// CANCEL takes back what is queued, and is not answered.
func TestCancelDropsWhatIsQueued(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPair(t, peer.Config{Handler: peer.Funcs{
			Response: func(context.Context, Payload) (Payload, error) { return Payload{Data: make([]byte, 16<<20-1)}, nil },
		}}, session.Options{})
		o := request(p.toServer.Session(), session.Message{Type: core.FrameTypeRequestResponse}, 0)
		for { // until it is under way
			o.mu.Lock()
			begun := o.frames > 0
			o.mu.Unlock()
			if begun {
				break
			}
			runtime.Gosched()
		}
		o.s.Cancel()
		o.s.Session().Flush()
		synctest.Wait()
		before := p.toClient.Session().Stats()
		if before.BytesSent > 8<<20 || before.Queued != 0 || before.Streams != 0 {
			t.Errorf("after CANCEL: %+v", before)
		}
		// A stream that has nothing queued says nothing either.
		cause := make(chan error, 1)
		quiet := newPair(t, peer.Config{Handler: peer.Funcs{
			Response: func(ctx context.Context, _ Payload) (Payload, error) {
				<-ctx.Done()
				cause <- context.Cause(ctx)
				return Payload{}, nil
			},
		}}, session.Options{})
		o = request(quiet.toServer.Session(), session.Message{Type: core.FrameTypeRequestResponse}, 0)
		synctest.Wait()
		o.s.Cancel()
		o.s.Session().Flush()
		<-cause
		synctest.Wait()
		if n := quiet.toClient.Session().Stats().FramesSent; n != 0 {
			t.Errorf("CANCEL was answered with %d frames", n)
		}
	})
}

// What a payload keeps in memory is in proportion to it, whatever came before.
func TestMemoryOfAPayload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sizes := []int{3 << 20, 20_000, 40_000, 1 << 20, 17_000, 100}
		p := newPair(t, peer.Config{Handler: peer.Funcs{
			Stream: func(context.Context, Payload) seq {
				return func(yield func(Payload, error) bool) {
					for _, n := range sizes {
						yield(Payload{Data: make([]byte, n)}, nil)
					}
				}
			},
		}}, session.Options{})
		n := 0
		for v := range p.toServer.RequestStream(t.Context(), data("x")) {
			if len(v.Data) != sizes[n] || cap(v.Data) > 2*len(v.Data)+64 {
				t.Errorf("%d bytes keep %d", len(v.Data), cap(v.Data))
			}
			n++
		}
	})
}

// A sending half ends with its context, even if nobody pulls from the loop: when it waits for demand, and when its element
// is stuck half-way.
func TestSendingHalfEndsWithItsContext(t *testing.T) {
	for _, size := range []int{10, 8 << 20} {
		synctest.Test(t, func(t *testing.T) {
			_, r, end, n := against(t, peer.Config{}, session.Options{})
			ctx, cancel := context.WithCancel(t.Context())
			over := make(chan bool)
			out := func(yield func(Payload, error) bool) {
				for yield(Payload{Data: make([]byte, size)}, nil) {
				}
				close(over)
			}
			go func() {
				o := <-end.opened
				o.s.Request(1)
				o.say(core.FlagNext, "1")
				for size > 1<<20 && r.Session().Stats().BytesSent < 1<<20 {
					runtime.Gosched()
				}
				n.Down(true)
				time.Sleep(time.Second)
				cancel()
			}()
			for range r.RequestChannel(ctx, data("first"), out) {
				<-over
			}
			cancel()
		})
	}
}
