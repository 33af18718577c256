package peertest_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math"
	"net"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/jjeffcaii/reactor-go/scheduler"
	rsocket "github.com/rsocket/rsocket-go"
	"github.com/rsocket/rsocket-go/core"
	"github.com/rsocket/rsocket-go/core/transport"
	"github.com/rsocket/rsocket-go/logger"
	"github.com/rsocket/rsocket-go/payload"
	"github.com/rsocket/rsocket-go/rx"
	"github.com/rsocket/rsocket-go/rx/flux"
	"github.com/rsocket/rsocket-go/rx/mono"

	"github.com/perchcam/perch/pkg/peer"
	"github.com/perchcam/perch/pkg/peer/peertest"
)

// rsocketGo is rsocket-go's own engine, v0.8.16. mtu 0: whole frames.
func rsocketGo(name string, mtu int) peertest.Engine {
	faults := map[string]string{
		"asks response cancel":    "rsocket-go v0.8.16 cannot cancel a request-response: 0 CANCEL frames in 110 tries",
		"asks channel refused":    "rsocket-go v0.8.16 panics on CANCEL for a stream that it requested (duplex.go onFrameCancel, its issue #122)",
		"asks channel cancel":     "rsocket-go v0.8.16 does not tell the sending half of a channel that it has left",
		"answers channel paced":   "rsocket-go v0.8.16 loses an element of a channel that it answers with request(1) or (4), and says COMPLETE",
		"answers channel refused": "rsocket-go v0.8.16 sends no CANCEL for the half of a channel that it no longer wants",
	}
	return peertest.Engine{
		Name: name, Faults: faults,
		Client: func(t testing.TB, addr string, h peer.Handler) peertest.End {
			c, err := rsocket.Connect().Scheduler(scheduler.Elastic(), nil).Fragment(mtu).
				Acceptor(func(context.Context, rsocket.RSocket) rsocket.RSocket { return answering(h) }).
				Transport(rsocket.TCPClient().SetAddr(addr).Build()).Start(context.Background())
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = c.Close() })
			return goEnd{c}
		},
		Server: func(t testing.TB, l net.Listener, h peer.Handler) <-chan peertest.End {
			accepted := make(chan peertest.End, 1)
			started, over := make(chan struct{}), make(chan struct{})
			ctx, cancel := context.WithCancel(context.Background())
			go func() {
				defer close(over)
				_ = rsocket.Receive().Scheduler(scheduler.Elastic(), nil).Fragment(mtu).OnStart(func() { close(started) }).
					Acceptor(func(_ context.Context, _ payload.SetupPayload, s rsocket.CloseableRSocket) (rsocket.RSocket, error) {
						accepted <- goEnd{s}
						return answering(h), nil
					}).
					Transport(func(context.Context) (transport.ServerTransport, error) {
						return transport.NewTCPServerTransport(func(context.Context) (net.Listener, error) { return l, nil }), nil
					}).Serve(ctx)
			}()
			<-started
			t.Cleanup(func() {
				cancel()
				_ = l.Close()
				<-over
			})
			return accepted
		},
	}
}

func toGo(v peer.Payload) payload.Payload { return payload.New(v.Data, v.Metadata) }

func fromGo(p payload.Payload) peer.Payload {
	v := peer.Payload{Data: bytes.Clone(p.Data())}
	if md, ok := p.Metadata(); ok {
		v.Metadata = bytes.Clone(md)
	}
	return v
}

func errorFromGo(err error) error {
	if ce, ok := errors.AsType[core.CustomError](err); ok {
		return peer.Errorf(ce.ErrorCode(), "%s", ce.ErrorData())
	}
	return err
}

// goError is an error as rsocket-go sends it.
type goError struct{ e *peer.Error }

func (g goError) Error() string             { return g.e.Text }
func (g goError) ErrorCode() core.ErrorCode { return g.e.Code }
func (g goError) ErrorData() []byte         { return []byte(g.e.Text) }

func errorToGo(err error) error {
	if e, ok := errors.AsType[*peer.Error](err); ok {
		return goError{e}
	}
	return err
}

// ---- asking

type goEnd struct{ s rsocket.RSocket }

func (e goEnd) RequestResponse(ctx context.Context, req peer.Payload) (peer.Payload, error) {
	type result struct {
		v   peer.Payload
		err error
	}
	answered := make(chan result, 3)
	e.s.RequestResponse(toGo(req)).Subscribe(context.Background(),
		rx.OnNext(func(p payload.Payload) error { answered <- result{fromGo(p), nil}; return nil }),
		rx.OnError(func(err error) { answered <- result{err: errorFromGo(err)} }),
		rx.OnComplete(func() { answered <- result{} }))
	select {
	case r := <-answered:
		return r.v, r.err
	case <-ctx.Done():
		return peer.Payload{}, ctx.Err()
	}
}

func (e goEnd) RequestStream(ctx context.Context, req peer.Payload, window uint32) seq {
	return func(yield func(peer.Payload, error) bool) {
		pull(ctx, e.s.RequestStream(toGo(req)), int(window), yield)
	}
}

func (e goEnd) RequestChannel(ctx context.Context, first peer.Payload, out seq, window uint32) seq {
	return func(yield func(peer.Payload, error) bool) {
		sending := newPulled(ctx, func(yield func(peer.Payload, error) bool) {
			if yield(first, nil) && out != nil {
				out(yield)
			}
		})
		pull(ctx, e.s.RequestChannel(sending), int(window), yield)
	}
}

func (e goEnd) FireAndForget(_ context.Context, req peer.Payload) error {
	e.s.FireAndForget(toGo(req))
	return nil
}

func (e goEnd) MetadataPush(_ context.Context, md []byte) error {
	e.s.MetadataPush(payload.New(nil, md))
	return nil
}

// pull takes what f gives. More is asked for inside OnNext only, after the element was taken: from another goroutine it
// stalls (9 of 10 streams).
func pull(ctx context.Context, f flux.Flux, window int, yield func(peer.Payload, error) bool) {
	type item struct {
		v   peer.Payload
		err error
	}
	items, taken := make(chan item), make(chan bool)
	left := make(chan struct{})
	defer close(left)
	var su rx.Subscription
	n := 0
	over := false
	f.Subscribe(context.Background(),
		rx.OnSubscribe(func(_ context.Context, s rx.Subscription) { su = s; s.Request(window) }),
		rx.OnNext(func(p payload.Payload) error {
			if over {
				return nil
			}
			select {
			case items <- item{fromGo(p), nil}:
			case <-left:
				return nil
			}
			if !<-taken {
				over = true
				su.Cancel()
			} else if n++; n%window == 0 {
				su.Request(window)
			}
			return nil
		}),
		rx.OnError(func(err error) {
			select {
			case items <- item{err: errorFromGo(err)}:
			case <-left:
			}
		}),
		rx.OnComplete(func() {
			select {
			case items <- item{err: io.EOF}:
			case <-left:
			}
		}))
	for {
		select {
		case it := <-items:
			switch {
			case it.err == io.EOF:
				return
			case it.err != nil:
				yield(peer.Payload{}, it.err)
				return
			}
			more := yield(it.v, nil)
			if taken <- more; !more {
				return
			}
		case <-ctx.Done():
			yield(peer.Payload{}, ctx.Err())
			return
		}
	}
}

// ---- answering

func answering(h peer.Handler) rsocket.RSocket {
	return rsocket.NewAbstractSocket(
		rsocket.RequestResponse(func(p payload.Payload) mono.Mono {
			req := fromGo(p)
			ctx, cancel := context.WithCancel(context.Background())
			return mono.Create(func(_ context.Context, s mono.Sink) {
				v, err := h.RequestResponse(ctx, req)
				if err != nil {
					s.Error(errorToGo(err))
					return
				}
				s.Success(toGo(v))
			}).SubscribeOn(scheduler.Elastic()).DoFinally(func(rx.SignalType) { cancel() })
		}),
		rsocket.RequestStream(func(p payload.Payload) flux.Flux {
			req := fromGo(p)
			ctx, cancel := context.WithCancelCause(context.Background())
			f := newPulled(ctx, h.RequestStream(ctx, req))
			f.cancel = cancel
			return f
		}),
		rsocket.RequestChannel(func(in flux.Flux) flux.Flux {
			ctx, cancel := context.WithCancelCause(context.Background())
			f := newPulled(ctx, func(yield func(peer.Payload, error) bool) {
				// OnNext runs where REQUEST_N and CANCEL are dispatched, so it must not wait for the handler.
				heard := make(chan peer.Payload, 1<<10)
				var unwanted atomic.Bool
				var su rx.Subscription
				n := 0
				in.Subscribe(context.Background(),
					rx.OnSubscribe(func(_ context.Context, s rx.Subscription) { su = s; s.Request(64) }),
					rx.OnNext(func(p payload.Payload) error {
						if unwanted.Load() {
							su.Cancel()
							return nil
						}
						heard <- fromGo(p)
						if n++; n%64 == 0 {
							su.Request(64)
						}
						return nil
					}),
					rx.OnError(func(error) { close(heard) }),
					rx.OnComplete(func() { close(heard) }))
				defer unwanted.Store(true)
				h.RequestChannel(ctx, <-heard, func(yield func(peer.Payload, error) bool) {
					for {
						select {
						case v, ok := <-heard:
							if !ok {
								return
							}
							if !yield(v, nil) {
								unwanted.Store(true)
								return
							}
						case <-ctx.Done():
							return
						}
					}
				})(yield)
			})
			f.cancel = cancel
			return f
		}),
		rsocket.FireAndForget(func(p payload.Payload) { h.FireAndForget(context.Background(), fromGo(p)) }),
		rsocket.MetadataPush(func(p payload.Payload) {
			md, _ := p.Metadata()
			h.MetadataPush(context.Background(), bytes.Clone(md))
		}),
	)
}

// pulled is a publisher that heeds demand and CANCEL, which flux.Create does not: it sends 260 elements of 4, and a CANCEL
// meanwhile ends the process.
type pulled struct {
	flux.Flux
	ctx    context.Context
	cancel context.CancelCauseFunc
	seq    seq

	mu       sync.Mutex // guards the following
	change   *sync.Cond
	demand   int64
	canceled bool
}

func newPulled(ctx context.Context, s seq) *pulled {
	f := &pulled{Flux: flux.Empty(), ctx: ctx, cancel: func(error) {}, seq: s}
	f.change = sync.NewCond(&f.mu)
	return f
}

func (f *pulled) SubscribeOn(scheduler.Scheduler) flux.Flux { return f }

func (f *pulled) Subscribe(ctx context.Context, o ...rx.SubscriberOption) {
	f.SubscribeWith(ctx, rx.NewSubscriber(o...))
}

func (f *pulled) SubscribeWith(ctx context.Context, s rx.Subscriber) {
	s.OnSubscribe(ctx, (*subscription)(f))
	go func() {
		for v, err := range f.seq {
			if err != nil {
				s.OnError(errorToGo(err))
				return
			}
			if !f.await() {
				break
			}
			s.OnNext(toGo(v))
		}
		s.OnComplete() // after CANCEL too: nothing else makes v0.8.16 forget the stream
	}()
}

func (f *pulled) await() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	for f.demand == 0 && !f.canceled {
		f.change.Wait()
	}
	f.demand--
	return !f.canceled
}

type subscription pulled

func (s *subscription) Request(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.demand = min(s.demand+int64(n), math.MaxInt32)
	s.change.Broadcast()
}

func (s *subscription) Cancel() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.canceled = true
	s.cancel(errors.New("canceled"))
	s.change.Broadcast()
}

func TestRSocketGo(t *testing.T) {
	if raceDetector {
		t.Skip("rsocket-go v0.8.16 has data races of its own: SETUP is flushed beside its write loop, Close beside OnComplete. Run without -race")
	}
	logger.SetLevel(logger.LevelError + 1)
	for _, ours := range []peertest.Engine{perch("perch", 0), perch("perch, MTU 500", 500)} {
		for _, theirs := range []peertest.Engine{rsocketGo("rsocket-go", 0), rsocketGo("rsocket-go, MTU 1024", 1024)} {
			t.Run(ours.Name+" to "+theirs.Name, func(t *testing.T) { peertest.Conformance(t, ours, theirs) })
			t.Run(theirs.Name+" to "+ours.Name, func(t *testing.T) { peertest.Conformance(t, theirs, ours) })
		}
	}
}
