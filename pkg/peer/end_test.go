package peer_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rsocket/rsocket-go/core"

	"github.com/perchcam/perch/pkg/peer"
	"github.com/perchcam/perch/pkg/session"
	"github.com/perchcam/perch/pkg/session/sessiontest"
)

// The end of a session ends every request of either side, and their handlers.
func TestEndOfTheSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		causes := make(chan error, 8)
		wait := func(ctx context.Context) { <-ctx.Done(); causes <- context.Cause(ctx) }
		never := func(ctx context.Context) seq {
			return func(yield func(Payload, error) bool) { yield(data("1"), nil); wait(ctx) }
		}
		p := newPair(t, peer.Config{Handler: peer.Funcs{
			Response: func(ctx context.Context, _ Payload) (Payload, error) { wait(ctx); return Payload{}, nil },
			Stream:   func(ctx context.Context, _ Payload) seq { return never(ctx) },
			Channel:  func(ctx context.Context, _ Payload, _ seq) seq { return never(ctx) },
			Forget:   func(ctx context.Context, _ Payload) { wait(ctx) },
		}}, session.Options{})
		failed := make(chan error, 6)
		over := make(chan int, 2)
		for _, r := range p.both() {
			go func() {
				_, err := r.RequestResponse(t.Context(), data("x"))
				failed <- err
			}()
			go func() {
				var last error
				for _, last = range r.RequestStream(t.Context(), data("x")) {
				}
				failed <- last
			}()
			go func() {
				var last error
				for _, last = range r.RequestChannel(t.Context(), data("x"), numbers(over)) {
				}
				failed <- last
			}()
			if err := r.FireAndForget(t.Context(), data("x")); err != nil {
				t.Error(err)
			}
		}
		time.Sleep(time.Second)
		if s := p.server.Stats(); s.Requests != 4 {
			t.Errorf("%+v", s)
		}
		p.toServer.Session().Close(0x102, "goodbye")
		for range 6 {
			if err := <-failed; !errors.Is(err, peer.ErrClosed) {
				t.Errorf("a request ended with %v", err)
			}
		}
		for range 8 {
			if err := <-causes; !errors.Is(err, peer.ErrClosed) {
				t.Errorf("a handler was ended by %v", err)
			}
		}
		<-over
		<-over
		p.client.Wait()
		p.server.Wait()
		for _, r := range p.both() { // and what is asked afterwards
			if _, err := r.RequestResponse(t.Context(), data("x")); !errors.Is(err, peer.ErrClosed) {
				t.Error(err)
			}
			for _, err := range r.RequestStream(t.Context(), data("x")) {
				if !errors.Is(err, peer.ErrClosed) {
					t.Error(err)
				}
			}
			for _, err := range r.RequestChannel(t.Context(), data("x"), count(1, data("x"))) {
				if !errors.Is(err, peer.ErrClosed) {
					t.Error(err)
				}
			}
			if err := r.FireAndForget(t.Context(), data("x")); !errors.Is(err, peer.ErrClosed) {
				t.Error(err)
			}
			if err := r.MetadataPush(t.Context(), nil); !errors.Is(err, peer.ErrClosed) {
				t.Error(err)
			}
		}
	})
}

// Wait waits for handlers that do not heed their contexts.
func TestWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPair(t, peer.Config{Handler: peer.Funcs{
			Response: func(context.Context, Payload) (Payload, error) { time.Sleep(time.Minute); return Payload{}, nil },
		}}, session.Options{})
		go func() { _, _ = p.toServer.RequestResponse(t.Context(), data("x")) }()
		time.Sleep(time.Second)
		p.toServer.Session().Close(0x102, "goodbye")
		start := time.Now()
		p.server.Wait()
		if d := time.Since(start); d != 59*time.Second {
			t.Errorf("waited %v", d)
		}
	})
}

// guest answers some streams of a session that somebody else receives.
type guest struct {
	*rawEnd
	p *peer.Peer
}

func (g guest) Request(s *session.Stream, f session.Frame) session.Owner {
	if string(f.Data()) == "for the guest" {
		return g.p.Request(s, f)
	}
	return g.rawEnd.Request(s, f)
}

func TestSingleStreamsOfASession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var from *session.Conn
		p, err := peer.New(peer.Config{Handler: peer.Funcs{
			Response: func(ctx context.Context, req Payload) (Payload, error) {
				from = peer.Conn(ctx)
				return req, nil
			},
		}})
		if err != nil {
			t.Fatal(err)
		}
		asking, err := peer.New(peer.Config{})
		if err != nil {
			t.Fatal(err)
		}
		host := guest{newRawEnd(), p}
		c, s, _ := sessiontest.Pair(t, session.ClientConfig{}, asking, host)
		r := asking.Requester(c)
		if v, err := r.RequestResponse(t.Context(), data("for the guest")); err != nil || string(v.Data) != "for the guest" || from != s {
			t.Errorf("%s, %v, on %p of %p", v.Data, err, from, s)
		}
		go func() { (<-host.opened).say(core.FlagNext|core.FlagComplete, "from the host") }()
		if v, err := r.RequestResponse(t.Context(), data("for the host")); err != nil || string(v.Data) != "from the host" {
			t.Errorf("%s, %v", v.Data, err)
		}
	})
}
