//go:build interop

package interop

import (
	"context"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/perchcam/perch/pkg/link"
	"github.com/perchcam/perch/pkg/peer"
	"github.com/perchcam/perch/pkg/session"
	"github.com/perchcam/perch/pkg/wire"
)

// End is our end of a conversation.
type End struct {
	*responder
	Conn *session.Conn
	Ask  asker
	Over <-chan error // why its session ended
}

// Terms are what the two ends of a conversation agree upon.
type Terms struct {
	MTU    int
	Resume bool
}

func (c Terms) options() session.Options { return session.Options{MTU: c.MTU} }

// Dial makes our end the client of what listens at url. It ends with the test.
func Dial(t testing.TB, url string, terms Terms) *End {
	t.Helper()
	u, err := link.ParseURL(url)
	if err != nil {
		t.Fatal(err)
	}
	e := &End{responder: &responder{}}
	p, err := peer.New(peer.Config{Handler: e.responder})
	if err != nil {
		t.Fatal(err)
	}
	kick := make(chan struct{})
	c, err := session.NewClient(session.ClientConfig{
		Options: terms.options(),
		Dial:    func(ctx context.Context) (net.Conn, error) { return new(link.Dialer).Dial(ctx, u) },
		Setup: session.Setup{
			KeepAlive: 500 * time.Millisecond, Lifetime: 20 * time.Second, Resume: terms.Resume,
			MetadataMIME: wire.MIMEComposite, DataMIME: wire.MIMEOctetStream,
		},
		SessionTime: 30 * time.Second,
		Kick:        kick,
	}, p)
	if err != nil {
		t.Fatal(err)
	}
	e.Conn, e.Ask = c.Conn, asker{p.Requester(c.Conn), t}
	ctx, cancel := context.WithCancel(context.Background())
	over := make(chan error, 1)
	e.Over = over
	var work sync.WaitGroup
	work.Go(func() { over <- c.Run(ctx) })
	work.Go(func() { // links are cut faster here than any back-off is made for
		for again := time.NewTicker(50 * time.Millisecond); ; {
			select {
			case <-again.C:
				select {
				case kick <- struct{}{}:
				default:
				}
			case <-ctx.Done():
				again.Stop()
				return
			}
		}
	})
	t.Cleanup(func() {
		cancel()
		work.Wait()
		p.Wait()
	})
	return e
}

// Listener is our end as a server.
type Listener struct {
	URL    string
	Server *session.Server
	t      testing.TB
	ends   chan *End
}

// Listen makes our end a server for scheme tcp or ws, until the test ends.
func Listen(t testing.TB, scheme string, terms Terms) *Listener {
	t.Helper()
	nl, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := &Listener{URL: scheme + "://" + nl.Addr().String(), t: t, ends: make(chan *End, 16)}
	var peers sync.WaitGroup
	l.Server, err = session.NewServer(session.ServerConfig{
		Options:  terms.options(),
		NoResume: !terms.Resume,
		Accept: func(c *session.Conn) (session.Receiver, error) {
			e := &End{responder: &responder{}, Conn: c}
			p, err := peer.New(peer.Config{Handler: e.responder})
			if err != nil {
				return nil, err
			}
			over := make(chan error, 1)
			e.Over, e.Ask = over, asker{p.Requester(c), t}
			peers.Go(func() {
				<-c.Done()
				over <- c.Err()
				p.Wait()
			})
			l.ends <- e
			return p, nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	var work sync.WaitGroup
	serve := func(nc net.Conn) { _ = l.Server.Serve(nc) }
	work.Go(func() {
		if scheme == link.WS {
			_ = webSockets(serve).Serve(nl)
			return
		}
		for {
			nc, err := nl.Accept()
			if err != nil {
				return
			}
			work.Go(func() { serve(nc) })
		}
	})
	t.Cleanup(func() {
		nl.Close()
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		l.Server.Close(ctx, 0x102, "the test is over")
		peers.Wait()
		work.Wait()
	})
	return l
}

type below struct{}

// webSockets serves WebSockets, dressed as links.
func webSockets(serve func(net.Conn)) *http.Server {
	return &http.Server{
		ReadHeaderTimeout: 5 * time.Second,
		ConnContext:       func(ctx context.Context, nc net.Conn) context.Context { return context.WithValue(ctx, below{}, nc) },
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			ws, err := websocket.Accept(w, r, nil)
			if err == nil {
				serve(link.NewWebSocket(ws, r.Context().Value(below{}).(net.Conn), 1<<24-1))
			}
		}),
	}
}

// End returns the next session's end.
func (l *Listener) End() *End {
	l.t.Helper()
	select {
	case e := <-l.ends:
		return e
	case <-time.After(patience):
		l.t.Fatal("nobody connects")
		return nil
	}
}
