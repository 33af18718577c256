// Package sessiontest makes sessions for tests: over net.Pipe, so that they run in a testing/synctest bubble.
package sessiontest

import (
	"context"
	"net"
	"sync"
	"testing"

	"github.com/perchcam/perch/pkg/session"
)

// Net is a network of one client and one server. Each Dial makes a pipe; Cut breaks the newest.
type Net struct {
	Server *session.Server

	mu    sync.Mutex
	links []net.Conn // both ends of the newest
	down  bool
	work  sync.WaitGroup
}

// Dial gives the server one end of a new link and returns the other.
func (n *Net) Dial(context.Context) (net.Conn, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.down {
		return nil, net.ErrClosed
	}
	a, b := net.Pipe()
	n.links = []net.Conn{a, b}
	n.work.Go(func() { _ = n.Server.Serve(b) })
	return a, nil
}

// Cut breaks the newest link at both ends.
func (n *Net) Cut() {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, l := range n.links {
		_ = l.Close()
	}
	n.links = nil
}

// Down makes dialing fail, and Cuts; or makes it succeed again.
func (n *Net) Down(down bool) {
	n.mu.Lock()
	n.down = down
	n.mu.Unlock()
	if down {
		n.Cut()
	}
}

// Pair returns the two ends of a new session with client and server on them. Setup, limits and times come from
// cfg; both ends are closed, and all their goroutines over, when the test ends.
func Pair(t testing.TB, cfg session.ClientConfig, client, server session.Receiver) (c, s *session.Conn, n *Net) {
	t.Helper()
	n = &Net{}
	accepted := make(chan *session.Conn, 1)
	srv, err := session.NewServer(session.ServerConfig{
		Options: cfg.Options, SessionTime: cfg.SessionTime,
		Accept: func(c *session.Conn) (session.Receiver, error) {
			accepted <- c
			return server, nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	n.Server = srv
	cfg.Dial = n.Dial
	cl, err := session.NewClient(cfg, client)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ran := make(chan struct{})
	go func() {
		_ = cl.Run(ctx)
		close(ran)
	}()
	s = <-accepted
	t.Cleanup(func() {
		cancel()
		<-ran
		srv.Close(context.Background(), 0x102, "test is over")
		n.work.Wait()
	})
	return cl.Conn, s, n
}
