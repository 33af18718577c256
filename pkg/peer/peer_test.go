package peer_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/perchcam/perch/pkg/peer"
	"github.com/perchcam/perch/pkg/session"
	"github.com/perchcam/perch/pkg/session/sessiontest"
)

type (
	Payload = peer.Payload
	seq     = iter.Seq2[Payload, error]
)

func data(s string) Payload { return Payload{Data: []byte(s)} }

// pair is two peers over a pipe.
type pair struct {
	client, server *peer.Peer
	toServer       peer.Requester // asks the server
	toClient       peer.Requester
	net            *sessiontest.Net
}

// newPair makes a session that resumes and puts a peer made of cfg on both ends. Run it in a bubble.
func newPair(t testing.TB, cfg peer.Config, opts session.Options) *pair {
	t.Helper()
	var p pair
	var err error
	if p.client, err = peer.New(cfg); err != nil {
		t.Fatal(err)
	}
	if p.server, err = peer.New(cfg); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { // after the session's own clean-up
		p.client.Wait()
		p.server.Wait()
		for side, end := range map[string]*peer.Peer{"client": p.client, "server": p.server} {
			if !empty(end) {
				t.Errorf("left over at the %s: %+v", side, end.Stats())
			}
		}
	})
	c, s, n := sessiontest.Pair(t, session.ClientConfig{Options: opts, Setup: session.Setup{Resume: true}}, p.client, p.server)
	p.toServer, p.toClient, p.net = p.client.Requester(c), p.server.Requester(s), n
	return &p
}

func (p *pair) both() map[string]peer.Requester {
	return map[string]peer.Requester{"client asks": p.toServer, "server asks": p.toClient}
}

// count yields n elements like v.
func count(n int, v Payload) seq {
	return func(yield func(Payload, error) bool) {
		for range n {
			if !yield(v, nil) {
				return
			}
		}
	}
}

// echo answers everything with what it was asked.
func echo() peer.Funcs {
	return peer.Funcs{
		Response: func(_ context.Context, req Payload) (Payload, error) { return req, nil },
		Stream:   func(_ context.Context, req Payload) seq { return count(10, req) },
		Channel: func(_ context.Context, first Payload, in seq) seq {
			return func(yield func(Payload, error) bool) {
				if !yield(first, nil) {
					return
				}
				for v, err := range in {
					if !yield(v, err) {
						return
					}
				}
			}
		},
	}
}

func same(a, b Payload) bool {
	return bytes.Equal(a.Data, b.Data) && bytes.Equal(a.Metadata, b.Metadata) && (a.Metadata == nil) == (b.Metadata == nil)
}

func TestFourModels(t *testing.T) {
	for _, mtu := range []int{64, 200, 16384} {
		big := bytes.Repeat([]byte("0123456789"), mtu)
		reqs := []Payload{{}, data("x"), {Metadata: []byte{}, Data: []byte("x")}, {Metadata: big, Data: big}, {Metadata: big}, {Data: big}}
		t.Run(fmt.Sprint(mtu), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var forgot, pushed []byte
				h := echo()
				h.Forget = func(_ context.Context, req Payload) { forgot = req.Data }
				h.Push = func(_ context.Context, md []byte) { pushed = md }
				p := newPair(t, peer.Config{Handler: h}, session.Options{MTU: mtu})
				for who, r := range p.both() {
					for i, req := range reqs {
						if got, err := r.RequestResponse(t.Context(), req); err != nil || !same(got, req) {
							t.Fatalf("%s: response to request %d: %v", who, i, err)
						}
						for _, w := range []uint32{1, 2, 3, 64} {
							n := 0
							for v, err := range r.RequestStream(t.Context(), req, peer.Window(w)) {
								if err != nil || !same(v, req) {
									t.Fatalf("%s: stream, window %d, element %d: %v", who, w, n, err)
								}
								n++
							}
							if n != 10 {
								t.Fatalf("%s: stream, window %d: %d elements", who, w, n)
							}
							n = 0
							for v, err := range r.RequestChannel(t.Context(), req, count(7, req), peer.Window(w)) {
								if err != nil || !same(v, req) {
									t.Fatalf("%s: channel, window %d, element %d: %v", who, w, n, err)
								}
								n++
							}
							if n != 8 {
								t.Fatalf("%s: channel, window %d: %d elements", who, w, n)
							}
						}
						if err := r.FireAndForget(t.Context(), req); err != nil {
							t.Fatal(err)
						}
						synctest.Wait()
						if !bytes.Equal(forgot, req.Data) {
							t.Fatalf("%s: fire-and-forget %d did not arrive", who, i)
						}
					}
					pushed = nil
					if err := r.MetadataPush(t.Context(), []byte("advert")); err != nil {
						t.Fatal(err)
					}
					synctest.Wait()
					if string(pushed) != "advert" {
						t.Fatalf("%s: pushed %q", who, pushed)
					}
				}
			})
		})
	}
}

func TestErrorsCarryCodeAndSentence(t *testing.T) {
	long := bytes.Repeat([]byte("é"), 1000)
	for _, c := range []struct {
		err  error
		code peer.Code
		text string
	}{
		{peer.Errorf(peer.CodeInvalid, "no camera %q", "front"), peer.CodeInvalid, `no camera "front"`},
		{fmt.Errorf("asking again: %w", peer.Errorf(peer.CodeRejected, "device is away")), peer.CodeRejected, "asking again: device is away"},
		{errors.New("lens cap on"), peer.CodeApplicationError, "lens cap on"},
		{context.Canceled, peer.CodeCanceled, "context canceled"},
		{peer.Errorf(0x102, "code of a connection"), peer.CodeApplicationError, "code of a connection"},
		{peer.Errorf(0x301, "our own"), 0x301, "our own"},
		{errors.New(string(long)), peer.CodeApplicationError, string(long[:1024])},
	} {
		synctest.Test(t, func(t *testing.T) {
			p := newPair(t, peer.Config{Handler: peer.Funcs{
				Response: func(context.Context, Payload) (Payload, error) { return Payload{}, c.err },
				Stream: func(context.Context, Payload) seq {
					return func(yield func(Payload, error) bool) { _ = yield(data("1"), nil) && yield(Payload{}, c.err) }
				},
				Channel: func(context.Context, Payload, seq) seq { return peer.Fail(c.err) },
			}}, session.Options{})
			check := func(model string, err error) {
				t.Helper()
				if e, ok := errors.AsType[*peer.Error](err); !ok || e.Code != c.code || e.Text != c.text {
					t.Errorf("%s: %v became %#v", model, c.err, err)
				}
			}
			_, err := p.toServer.RequestResponse(t.Context(), data("x"))
			check("response", err)
			var got []string
			for v, e := range p.toServer.RequestStream(t.Context(), data("x")) {
				got, err = append(got, string(v.Data)), e
			}
			if check("stream", err); len(got) != 2 || got[0] != "1" {
				t.Errorf("the element before the error is lost: %q", got)
			}
			for _, e := range p.toServer.RequestChannel(t.Context(), data("x"), count(3, data("y"))) {
				err = e
			}
			check("channel", err)
		})
	}
}

// endless yields numbers from 1, chosen after Ready, and says when it stops and why.
func endless(sent *atomic.Int32, cause chan<- error) func(context.Context, Payload) seq {
	return func(ctx context.Context, _ Payload) seq {
		return func(yield func(Payload, error) bool) {
			defer func() { cause <- context.Cause(ctx) }()
			for peer.Ready(ctx) == nil {
				if !yield(data(fmt.Sprint(sent.Add(1))), nil) {
					return
				}
			}
		}
	}
}

func TestPullIsDemand(t *testing.T) {
	for _, w := range []uint32{1, 2, 4, 64} {
		synctest.Test(t, func(t *testing.T) {
			var chosen atomic.Int32
			cause := make(chan error, 1)
			p := newPair(t, peer.Config{Handler: peer.Funcs{Stream: endless(&chosen, cause)}}, session.Options{})
			n := int32(0)
			for v, err := range p.toServer.RequestStream(t.Context(), data("x"), peer.Window(w)) {
				if n++; err != nil || string(v.Data) != fmt.Sprint(n) {
					t.Fatal(err, string(v.Data))
				}
				time.Sleep(time.Second) // a slow consumer
				// n are taken, so at most w more may be asked for; asking comes in halves of a window.
				if c := chosen.Load(); c > n-1+int32(w) || c < n-1+int32(w+1)/2 {
					t.Fatalf("window %d: %d chosen when %d were taken", w, c, n)
				}
				if n == 200 {
					break
				}
			}
			synctest.Wait()
			if err := <-cause; !errors.Is(err, peer.ErrCanceled) {
				t.Errorf("the handler was stopped by %v", err)
			}
		})
	}
}

func TestLimitAsksForNoMore(t *testing.T) {
	for _, w := range []uint32{1, 4, 64} {
		synctest.Test(t, func(t *testing.T) {
			var chosen atomic.Int32
			cause := make(chan error, 1)
			p := newPair(t, peer.Config{Handler: peer.Funcs{Stream: endless(&chosen, cause)}}, session.Options{})
			n := 0
			for range p.toServer.RequestStream(t.Context(), data("x"), peer.Window(w), peer.Limit(10)) {
				n++
			}
			<-cause
			if n != 10 || chosen.Load() != 10 {
				t.Errorf("window %d: %d taken, %d chosen", w, n, chosen.Load())
			}
		})
	}
}

func TestCancelReachesTheHandler(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cause := make(chan error, 1)
		wait := func(ctx context.Context) error {
			<-ctx.Done()
			cause <- context.Cause(ctx)
			return ctx.Err()
		}
		p := newPair(t, peer.Config{Handler: peer.Funcs{
			Response: func(ctx context.Context, _ Payload) (Payload, error) { return Payload{}, wait(ctx) },
			Stream: func(ctx context.Context, _ Payload) seq {
				return func(yield func(Payload, error) bool) { yield(Payload{}, wait(ctx)) }
			},
			Channel: func(ctx context.Context, _ Payload, in seq) seq {
				return func(yield func(Payload, error) bool) {
					for _, err := range in { // blocks: nothing comes
						cause <- err
					}
				}
			},
		}}, session.Options{})
		mine := errors.New("enough")
		for model, ask := range map[string]func(ctx context.Context, r peer.Requester) error{
			"response": func(ctx context.Context, r peer.Requester) error {
				_, err := r.RequestResponse(ctx, data("x"))
				return err
			},
			"stream": func(ctx context.Context, r peer.Requester) (err error) {
				for _, err = range r.RequestStream(ctx, data("x")) {
				}
				return err
			},
			"channel": func(ctx context.Context, r peer.Requester) (err error) {
				quiet := func(func(Payload, error) bool) { <-ctx.Done() }
				for _, err = range r.RequestChannel(ctx, data("x"), quiet) {
				}
				return err
			},
		} {
			for who, r := range p.both() {
				ctx, cancel := context.WithCancelCause(t.Context())
				time.AfterFunc(time.Second, func() { cancel(mine) })
				if err := ask(ctx, r); err != mine {
					t.Errorf("%s, %s: %v", who, model, err)
				}
				if err := <-cause; !errors.Is(err, peer.ErrCanceled) {
					t.Errorf("%s, %s: the handler met %v", who, model, err)
				}
			}
		}
	})
}

// A requester that asks for exactly n gets n elements and COMPLETE, with no credit left.
func TestExactlyNCompletes(t *testing.T) {
	for _, size := range []int{10, 100_000} {
		synctest.Test(t, func(t *testing.T) {
			h := peer.Funcs{Stream: func(context.Context, Payload) seq { return count(3, Payload{Data: make([]byte, size)}) }}
			p := newPair(t, peer.Config{Handler: h}, session.Options{})
			o := request(p.toServer.Session(), streamOf(3), 3)
			synctest.Wait()
			if got := o.got(); got != fmt.Sprintf("N%[1]d N%[1]d N%[1]d C", size) {
				t.Errorf("got %s", got)
			}
		})
	}
}

// yield returns when its element has left, and the next element is chosen only when it is asked for.
func TestFreshChoosesWhenTheElementMayLeave(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		var dropped []int
		h := peer.Funcs{Stream: func(ctx context.Context, _ Payload) seq {
			return peer.Fresh(ctx, func(ctx context.Context, again bool) (Payload, error) {
				at := int(time.Since(start) / time.Second)
				if again {
					dropped = append(dropped, at)
				}
				if at >= 100 {
					return Payload{}, io.EOF
				}
				time.Sleep(100 * time.Millisecond)
				return data(fmt.Sprint(at)), nil
			})
		}}
		p := newPair(t, peer.Config{Handler: h}, session.Options{})
		o := request(p.toServer.Session(), streamOf(1), 1)
		for _, at := range []int{10, 20, 30} {
			time.Sleep(time.Duration(at)*time.Second - time.Since(start))
			o.s.Request(1)
			p.toServer.Session().Flush()
		}
		time.Sleep(time.Second)
		if got := o.text(); got != "0 10 20 30" {
			t.Errorf("chosen at %s", got)
		}
		// The link goes away while an element is being chosen: another is chosen after the outage.
		time.Sleep(40*time.Second - time.Since(start))
		o.s.Request(2)
		p.toServer.Session().Flush()
		time.Sleep(50 * time.Millisecond)
		p.net.Down(true)
		time.Sleep(50*time.Second - time.Since(start))
		p.net.Down(false)
		time.Sleep(10 * time.Second)
		var first, second int
		if n, err := fmt.Sscanf(o.text(), "0 10 20 30 %d %d", &first, &second); n != 2 || len(dropped) != 1 || dropped[0] < 50 || first != dropped[0] || second > first+1 {
			t.Errorf("chosen at %s, dropped before %v: %v", o.text(), dropped, err)
		}
		time.Sleep(100*time.Second - time.Since(start))
		o.s.Request(1)
		p.toServer.Session().Flush()
		synctest.Wait()
		if got := o.got(); got[len(got)-1] != 'C' {
			t.Errorf("io.EOF did not complete the stream: %s", got)
		}
	})
}
