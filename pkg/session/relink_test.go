package session_test

import (
	"context"
	"errors"
	"net"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rsocket/rsocket-go/core"

	"github.com/perchcam/perch/internal/simlink"
	"github.com/perchcam/perch/pkg/session"
)

// TestResumeWaitsForTheOldReader: the sender has noticed that the link is lost while the reader is still handing over
// what came in on it. The next link must not overtake.
func TestResumeWaitsForTheOldReader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, simlink.Path{Latency: time.Millisecond}, session.ServerConfig{})
		hold, inside := make(chan struct{}), atomic.Int32{}
		w.remote.onFrame = func(_ *session.Stream, f session.Frame) {
			if n := inside.Add(1); n > 1 {
				t.Errorf("%d frames of one session are handed over at once", n)
			}
			if string(f.Data()) == "1" {
				<-hold
			}
			inside.Add(-1)
		}
		local := &end{}
		c, _ := w.client(resumable, local)
		s := c.Open(&half{local, nil})
		s.Send(request(core.FrameTypeRequestChannel, 10, "0"))
		s.Send(next("1"))
		c.Flush()
		time.Sleep(10 * time.Millisecond)
		w.link().Reset()
		far := w.remote.stream(0)
		far.Send(next("the server's sender notices"))
		far.Session().Flush()
		time.Sleep(time.Millisecond)
		if far.Session().Up() {
			t.Fatal("the server has not noticed")
		}
		s.Send(next("2"))
		c.Flush()
		time.Sleep(500 * time.Millisecond) // the client is back, and waits
		close(hold)
		time.Sleep(5 * time.Second)
		var data []string
		for _, f := range w.remote.seen() {
			data = append(data, f.data)
		}
		if !slices.Equal(data, []string{"0", "1", "2"}) {
			t.Errorf("arrived: %q", data)
		}
		if !slices.Equal(w.remote.linked, []string{"up", "lost", "resumed"}) {
			t.Errorf("the receiver heard %q", w.remote.linked)
		}
	})
}

// TestSessionEndsWhileItIsAccepted: what Accept has made known may be closed before Accept returns.
func TestSessionEndsWhileItIsAccepted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		remote := &end{}
		w := newWorld(t, simlink.Path{}, session.ServerConfig{Accept: func(c *session.Conn) (session.Receiver, error) {
			c.Close(core.ErrorCodeConnectionError, "there is another like you")
			return remote, nil
		}})
		local := &end{}
		_, stop := w.client(resumable, local)
		if remote.ended() == nil {
			t.Error("the receiver was not told that its session is over")
		}
		if err := stop(); err == nil {
			t.Error("the client was not told")
		}
		if _, n, _ := w.server.Stats(); n != 0 {
			t.Error("the session is remembered for ever")
		}
	})
}

// TestContextEndsWhileDialing: the end of the context is goodbye, and no error, whatever Dial makes of it.
func TestContextEndsWhileDialing(t *testing.T) {
	for range 200 {
		ctx, cancel := context.WithCancel(t.Context())
		dialing := make(chan struct{})
		c, err := session.NewClient(session.ClientConfig{Dial: func(ctx context.Context) (net.Conn, error) {
			close(dialing)
			<-ctx.Done()
			return nil, ctx.Err()
		}}, &end{})
		if err != nil {
			t.Fatal(err)
		}
		go func() { <-dialing; cancel() }()
		if err := c.Run(ctx); err != nil {
			t.Fatal("Run says", err)
		}
	}
}

// TestCloseWhileDialing: a client that is looking for a new link does not go on looking after Close.
func TestCloseWhileDialing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, simlink.Path{}, session.ServerConfig{})
		first := true
		cfg := session.ClientConfig{Setup: session.Setup{Resume: true}, Dial: func(ctx context.Context) (net.Conn, error) {
			if first {
				first = false
				return w.dial(ctx)
			}
			<-ctx.Done()
			return nil, ctx.Err()
		}}
		c, err := session.NewClient(cfg, &end{})
		if err != nil {
			t.Fatal(err)
		}
		ran := make(chan error, 1)
		go func() { ran <- c.Run(t.Context()) }()
		synctest.Wait()
		w.link().Reset()
		time.Sleep(time.Second)
		begin := time.Now()
		c.Close(core.ErrorCodeConnectionClose, "goodbye")
		if err := <-ran; err != nil || time.Since(begin) > 0 {
			t.Errorf("Run says %v after %v", err, time.Since(begin))
		}
	})
}

// stuck is a link like TLS: Close says something first, and waits five seconds for a connection that takes nothing.
type stuck struct {
	net.Conn
	below chan struct{}
}

func (s *stuck) Close() error {
	select {
	case <-s.below:
	case <-time.After(5 * time.Second):
	}
	return s.Conn.Close()
}

func (s *stuck) NetConn() net.Conn { return &below{s.Conn, s.below} }

type below struct {
	net.Conn
	closed chan struct{}
}

func (b *below) Close() error {
	select {
	case <-b.closed:
	default:
		close(b.closed)
	}
	return b.Conn.Close()
}

// TestLinkThatClosesSlowly: what TLS says when it is closed holds up neither the notice of a lost link nor its successor.
func TestLinkThatClosesSlowly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, simlink.Path{}, session.ServerConfig{})
		cfg := resumable
		cfg.Dial = func(context.Context) (net.Conn, error) {
			l := w.net.Link()
			w.mu.Lock()
			w.links = append(w.links, l)
			w.mu.Unlock()
			w.work.Go(func() { _ = w.server.Serve(&stuck{l.B, make(chan struct{})}) })
			return &stuck{l.A, make(chan struct{})}, nil
		}
		local := &end{}
		c, _ := w.client(cfg, local)
		s := c.Open(&half{local, nil})
		s.Send(request(core.FrameTypeRequestChannel, 10, "0"))
		c.Flush()
		time.Sleep(10 * time.Second)
		begin := time.Now()
		w.link().Silence()
		for c.Stats().Links < 2 {
			if time.Sleep(10 * time.Millisecond); time.Since(begin) > time.Minute {
				t.Fatal("no new link")
			}
		}
		if d := time.Since(begin); d > 3*time.Second+200*time.Millisecond {
			t.Errorf("a new link after %v", d)
		}
	})
}

// TestGoodbyeOnASilentLink: nobody waits long for a peer that does not take our last words.
func TestGoodbyeOnASilentLink(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, simlink.Path{Buffer: 1000}, session.ServerConfig{})
		local := &end{}
		c, _ := w.client(resumable, local)
		s := c.Open(&half{local, nil})
		s.Send(request(core.FrameTypeRequestStream, 10, "0"))
		c.Flush()
		synctest.Wait()
		w.setDown(errDown)
		w.link().Silence()
		far := w.remote.stream(0)
		far.Send(next(string(make([]byte, 10_000)))) // its sender is stuck
		far.Session().Flush()
		synctest.Wait()
		begin := time.Now()
		w.server.Close(context.Background(), core.ErrorCodeConnectionClose, "goodbye")
		if d := time.Since(begin); d > time.Second {
			t.Errorf("Close took %v", d)
		}
		if _, n, kept := w.server.Stats(); n != 0 || kept != 0 {
			t.Errorf("%d sessions and %d bytes are left", n, kept)
		}
	})
}

// TestStreamIDsUsedUp: ids are not used twice; with the last one the session is over.
func TestStreamIDsUsedUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, simlink.Path{}, session.ServerConfig{})
		local := &end{}
		c, stop := w.client(resumable, local)
		session.UseStreamIDs(c, 1<<31-3)
		for range 2 {
			c.Open(&half{local, nil}).Send(request(core.FrameTypeRequestStream, 1, ""))
			c.Flush()
			synctest.Wait()
			if (c.Err() != nil) != (len(w.remote.streams) != 1) {
				t.Errorf("after %d requests: %v", len(w.remote.streams), c.Err())
			}
		}
		if err := stop(); !errors.Is(err, session.ErrClosed) || w.conn().Err() == nil {
			t.Errorf("Run says %v, the server %v", err, w.conn().Err())
		}
	})
}
