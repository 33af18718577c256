package peer_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rsocket/rsocket-go/core"

	"github.com/perchcam/perch/pkg/peer"
	"github.com/perchcam/perch/pkg/session"
)

// numbers yields 0, 1, 2 … and says on over how many were taken when it must stop.
func numbers(over chan<- int) seq {
	return func(yield func(Payload, error) bool) {
		n := 0
		for yield(data(fmt.Sprint(n)), nil) {
			n++
		}
		over <- n
	}
}

func TestResponderHearsNoMore(t *testing.T) {
	for name, handler := range map[string]func(yield func(Payload, error) bool, in seq){
		"leaves its input early": func(yield func(Payload, error) bool, in seq) {
			for range in {
				break
			}
			for i := range 3 {
				time.Sleep(time.Second)
				if !yield(data(fmt.Sprint("answer ", i)), nil) {
					return
				}
			}
		},
		"does not look at its input": func(yield func(Payload, error) bool, _ seq) {
			for i := range 3 {
				if !yield(data(fmt.Sprint("answer ", i)), nil) {
					return
				}
			}
		},
	} {
		synctest.Test(t, func(t *testing.T) {
			p := newPair(t, peer.Config{Window: 1, Handler: peer.Funcs{
				Channel: func(_ context.Context, _ Payload, in seq) seq {
					return func(yield func(Payload, error) bool) { handler(yield, in) }
				},
			}}, session.Options{})
			over := make(chan int, 1)
			n := 0
			for v, err := range p.toServer.RequestChannel(t.Context(), data("first"), numbers(over)) {
				if err != nil || string(v.Data) != fmt.Sprint("answer ", n) {
					t.Errorf("%s: %v, %s", name, err, v.Data)
				}
				n++
			}
			if n != 3 {
				t.Errorf("%s: %d answers", name, n)
			}
			if sent := <-over; sent > 1 {
				t.Errorf("%s: %d elements were sent in vain", name, sent)
			}
		})
	}
}

// What a handler does not read is refused after its COMPLETE, in this order.
func TestUnreadInputIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPair(t, peer.Config{Handler: peer.Funcs{
			Channel: func(context.Context, Payload, seq) seq { return count(2, data("x")) },
		}}, session.Options{})
		o := request(p.toServer.Session(), session.Message{Type: core.FrameTypeRequestChannel}, 9)
		synctest.Wait()
		if o.got() != "N1 N1 C CANCEL" {
			t.Errorf("got %s", o.got())
		}
	})
}

func TestChannelGoesOnAfterTheRequestersLast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPair(t, peer.Config{Handler: peer.Funcs{
			Channel: func(_ context.Context, _ Payload, in seq) seq {
				return func(yield func(Payload, error) bool) {
					heard := 1
					for range in {
						heard++
					}
					for range 5 {
						time.Sleep(time.Second)
						if !yield(data(fmt.Sprint(heard)), nil) {
							return
						}
					}
				}
			},
		}}, session.Options{})
		for sent, out := range []seq{nil, count(0, Payload{}), count(1, data("x")), count(20, data("x"))} {
			n := 0
			for v, err := range p.toServer.RequestChannel(t.Context(), data("first"), out, peer.Window(1)) {
				want := []string{"1", "1", "2", "21"}[sent]
				if n++; err != nil || string(v.Data) != want {
					t.Errorf("%d: %v, heard %s", sent, err, v.Data)
				}
			}
			if n != 5 {
				t.Errorf("%d answers", n)
			}
		}
	})
}

// The loop ends when both directions have.
func TestChannelEndsWhenBothHalvesHave(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		_, r, end, _ := against(t, peer.Config{}, session.Options{})
		go func() {
			o := <-end.opened
			o.s.Request(10)
			o.say(core.FlagNext|core.FlagComplete, "only")
		}()
		out := func(yield func(Payload, error) bool) {
			for yield(data("x"), nil) && time.Since(start) < 5*time.Second {
				time.Sleep(time.Second)
			}
		}
		for v, err := range r.RequestChannel(t.Context(), data("first"), out) {
			if err != nil || string(v.Data) != "only" {
				t.Error(err, string(v.Data))
			}
		}
		if d := time.Since(start); d != 5*time.Second {
			t.Errorf("ended after %v", d)
		}
	})
}

func TestLeavingAChannelStopsItsSendingHalf(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cause := make(chan error, 1)
		h := echo()
		h.Channel = func(ctx context.Context, first Payload, in seq) seq {
			return func(yield func(Payload, error) bool) {
				for v := range in {
					if !yield(v, nil) {
						break
					}
				}
				cause <- context.Cause(ctx)
			}
		}
		p := newPair(t, peer.Config{Handler: h}, session.Options{})
		over := make(chan int, 1)
		n := 0
		for range p.toServer.RequestChannel(t.Context(), data("first"), numbers(over)) {
			if n++; n == 10 {
				break
			}
		}
		<-over
		if err := <-cause; !errors.Is(err, peer.ErrCanceled) {
			t.Errorf("the handler met %v", err)
		}
	})
}

func TestSendingHalfOfAChannelFails(t *testing.T) {
	for _, c := range []struct {
		size int
		ctx  bool
	}{{10, false}, {100_000, false}, {10, true}, {100_000, true}} {
		synctest.Test(t, func(t *testing.T) {
			_, r, end, _ := against(t, peer.Config{}, session.Options{})
			ctx, cancel := context.WithCancel(t.Context())
			out := func(yield func(Payload, error) bool) {
				for range 3 {
					yield(Payload{Data: make([]byte, c.size)}, nil)
				}
				if c.ctx {
					cancel()
					yield(Payload{}, ctx.Err())
				} else {
					yield(Payload{}, peer.Errorf(peer.CodeInvalid, "no more film"))
				}
			}
			failed := make(chan error, 1)
			go func() {
				for _, err := range r.RequestChannel(ctx, data("first"), out) {
					failed <- err
				}
			}()
			o := <-end.opened
			o.s.Request(9)
			o.s.Session().Flush()
			err := <-failed
			synctest.Wait()
			switch got := o.got(); {
			case c.ctx && (!errors.Is(err, context.Canceled) || !strings.HasSuffix(got, "CANCEL")):
				t.Errorf("%+v: the loop met %v, the other end %s", c, err, got)
			case !c.ctx && (err.Error() != "no more film" || got != repeat(fmt.Sprint("N", c.size), 3)+" ERR204"):
				t.Errorf("%+v: the loop met %v, the other end %s", c, err, got)
			}
			cancel()
		})
	}
}

// CANCEL of the responder ends our half only, also when it comes while a large element is leaving.
func TestCancelOfOurHalf(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, r, end, _ := against(t, peer.Config{}, session.Options{MTU: 64})
		over := make(chan bool, 1)
		out := func(yield func(Payload, error) bool) {
			for yield(Payload{Data: make([]byte, 1<<20)}, nil) {
			}
			over <- true
		}
		go func() {
			o := <-end.opened
			o.s.Request(1)
			o.s.Session().Flush()
			o.s.Refuse()
			o.s.Session().Flush()
			<-over
			o.say(core.FlagNext, "1")
			o.say(core.FlagNext|core.FlagComplete, "2")
		}()
		n := 0
		for _, err := range r.RequestChannel(t.Context(), data("first"), out) {
			if n++; err != nil {
				t.Error(err)
			}
		}
		if n != 2 {
			t.Errorf("%d elements", n)
		}
	})
}

// The error of a requester's half reaches the handler after the elements before it.
func TestHandlerHearsTheError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		heard, failed := make(chan int, 1), make(chan error, 2)
		p := newPair(t, peer.Config{Handler: peer.Funcs{
			Channel: func(ctx context.Context, _ Payload, in seq) seq {
				return func(func(Payload, error) bool) {
					n := 0
					for _, err := range in {
						if err != nil {
							failed <- err
							failed <- context.Cause(ctx)
							break
						}
						n++
					}
					heard <- n
				}
			},
		}}, session.Options{})
		out := func(yield func(Payload, error) bool) {
			_ = yield(data("1"), nil) && yield(data("2"), nil) && yield(Payload{}, peer.Errorf(peer.CodeInvalid, "no more film"))
		}
		for _, err := range p.toServer.RequestChannel(t.Context(), data("first"), out) {
			if err == nil || err.Error() != "no more film" {
				t.Errorf("the loop met %v", err)
			}
		}
		for range 2 {
			if err := <-failed; code(err) != peer.CodeInvalid || err.Error() != "no more film" {
				t.Errorf("the handler met %v", err)
			}
		}
		if n := <-heard; n != 2 {
			t.Errorf("%d elements heard", n)
		}
	})
}
