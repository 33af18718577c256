package peertest_test

import (
	"context"
	"iter"
	"net"
	"sync"
	"testing"

	"github.com/perchcam/perch/pkg/peer"
	"github.com/perchcam/perch/pkg/peer/peertest"
	"github.com/perchcam/perch/pkg/session"
)

type seq = iter.Seq2[peer.Payload, error]

// end is a Requester as peertest wants it.
type end struct{ peer.Requester }

func (e end) RequestStream(ctx context.Context, req peer.Payload, window uint32) seq {
	return e.Requester.RequestStream(ctx, req, peer.Window(window))
}

func (e end) RequestChannel(ctx context.Context, first peer.Payload, out seq, window uint32) seq {
	return e.Requester.RequestChannel(ctx, first, out, peer.Window(window))
}

// server is a peer whose end is there once its link is: a push is lost before.
type server struct {
	*peer.Peer
	c        *session.Conn
	accepted chan<- peertest.End
}

func (s server) Linked(up, _ bool) {
	if up {
		s.accepted <- end{s.Requester(s.c)}
	}
}

// perch is our engine.
func perch(name string, mtu int) peertest.Engine {
	opts := session.Options{MTU: mtu}
	newPeer := func(t testing.TB, h peer.Handler) *peer.Peer {
		p, err := peer.New(peer.Config{Handler: h})
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	return peertest.Engine{
		Name: name,
		Client: func(t testing.TB, addr string, h peer.Handler) peertest.End {
			p := newPeer(t, h)
			c, err := session.NewClient(session.ClientConfig{
				Options: opts,
				Setup:   session.Setup{MetadataMIME: "application/binary", DataMIME: "application/binary"},
				Dial:    func(ctx context.Context) (net.Conn, error) { return new(net.Dialer).DialContext(ctx, "tcp", addr) },
			}, p)
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancel(context.Background())
			var work sync.WaitGroup
			work.Go(func() { _ = c.Run(ctx) })
			t.Cleanup(func() {
				cancel()
				work.Wait()
				p.Wait()
			})
			return end{p.Requester(c.Conn)}
		},
		Server: func(t testing.TB, l net.Listener, h peer.Handler) <-chan peertest.End {
			p := newPeer(t, h)
			accepted := make(chan peertest.End, 1)
			srv, err := session.NewServer(session.ServerConfig{Options: opts, Accept: func(c *session.Conn) (session.Receiver, error) {
				return server{p, c, accepted}, nil
			}})
			if err != nil {
				t.Fatal(err)
			}
			var work sync.WaitGroup
			work.Go(func() {
				if nc, err := l.Accept(); err == nil {
					_ = srv.Serve(nc)
				}
			})
			t.Cleanup(func() {
				_ = l.Close()
				srv.Close(context.Background(), 0x102, "test is over")
				work.Wait()
				p.Wait()
			})
			return accepted
		},
	}
}

func TestPerch(t *testing.T) {
	whole, small := perch("perch", 0), perch("perch, MTU 500", 500)
	t.Run("alike", func(t *testing.T) { peertest.Conformance(t, whole, whole) })
	t.Run("small fragments", func(t *testing.T) { peertest.Conformance(t, small, whole) })
}
