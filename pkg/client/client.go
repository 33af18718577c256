// Package client is how a Go program on a laptop looks through the cameras of Perch's devices.
//
// Dial connects to a broker; everything else asks over that one connection, from any number of goroutines:
//
//	c, err := client.Dial(ctx, client.Config{Broker: "tcp://127.0.0.1:7878"})
//	...
//	defer c.Close()
//	pic, err := c.Snapshot(ctx, "hen-house", client.SnapshotOptions{MaxAge: time.Second})
//	...
//	for pic, err := range c.Stream(ctx, "hen-house", client.StreamOptions{FPS: 5}) { … }
//
// # What it promises
//
// A request ends with its context, and the device is told so. Leaving a range loop early tells it too.
//
// The loss of the laptop's own link is survived by the session underneath: requests and streams go on where
// they were. When the session itself is over (the broker was started anew, or the link was gone for longer
// than Config.SessionTime) or the device's own connection is replaced, questions are asked again, and streams
// from the next sequence number on. What could not be had is stated in Picture.Gap.
//
// The age of a picture is measured: the device's monotonic clock is compared with ours by the fastest of a few
// round trips, again after each resume. No two clocks have to be set right for it.
//
// Every failure is an *Error that says in a sentence what went wrong and, by errors.Is, which kind it is.
// Texts and names that come from the network are made safe for a terminal where this package puts them into
// an error. In answers they are as they came: see api.Text and api.FileName.
package client

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/perchcam/perch/pkg/link"
	"github.com/perchcam/perch/pkg/peer"
	"github.com/perchcam/perch/pkg/session"
	"github.com/perchcam/perch/pkg/wire"
)

// Config says which broker to ask. Zero values mean the defaults.
type Config struct {
	Broker string // URL, such as tcp://127.0.0.1:7878
	// Dial makes a link instead of Broker's, which then is only a name in errors. It gives up when ctx ends.
	Dial func(ctx context.Context) (net.Conn, error)
	TLS  *tls.Config // for tls:// and wss://; nil trusts the system's certificates
	Auth wire.Auth   // none
	// Dialect is what the broker understands. Perch's own understands all.
	Dialect wire.Dialect
	// Insecure lets Auth travel unencrypted to other machines.
	Insecure bool

	// Patience is how long a stream that has begun tries to go on after the broker, or the device, was lost; 2 min.
	Patience time.Duration
	// SessionTime is how long a session waits for a link, after which questions are asked anew; Patience, and no more.
	SessionTime time.Duration
	// Linked is told when the link is up, and when it is lost. It must not block. May be nil.
	Linked func(up bool)
	Log    *slog.Logger // nil discards
}

// Client asks one broker. Its methods may be called from any goroutine.
type Client struct {
	cfg  Config
	peer *peer.Peer
	born time.Time // our clock, of which ages are made, counts from here

	ctx    context.Context // of everything the client does
	cancel context.CancelFunc
	work   sync.WaitGroup

	mu     sync.Mutex    // guards the following
	conn   *conn         // the newest; nil before the first
	moved  chan struct{} // closed, and replaced, when the link is up or lost
	plain  bool          // the broker cannot resume sessions
	clocks map[string]*clock
	closed bool
}

// Dial connects to the broker and returns when it has answered. Close ends what it started.
func Dial(ctx context.Context, cfg Config) (*Client, error) {
	if cfg.Dial == nil {
		dial, err := dialer(cfg)
		if err != nil {
			return nil, err
		}
		cfg.Dial = dial
	}
	if cfg.Broker == "" {
		cfg.Broker = "the broker"
	}
	if cfg.Patience <= 0 {
		cfg.Patience = 2 * time.Minute
	}
	if cfg.SessionTime <= 0 || cfg.SessionTime > cfg.Patience {
		cfg.SessionTime = cfg.Patience
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	p, err := peer.New(peer.Config{Log: cfg.Log})
	if err != nil {
		return nil, err
	}
	c := &Client{cfg: cfg, peer: p, born: time.Now(), clocks: map[string]*clock{}, moved: make(chan struct{})}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	if _, err := c.connect(ctx); err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

// Close says goodbye to the broker and ends what is under way. It returns when all goroutines have ended.
func (c *Client) Close() error {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	c.cancel()
	c.work.Wait()
	c.peer.Wait()
	return nil
}

// spawn runs f in a goroutine that Close waits for. It is false when the client is closed.
func (c *Client) spawn(f func()) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.closed {
		c.work.Go(f)
	}
	return !c.closed
}

// now is our clock, in nanoseconds from an arbitrary start.
func (c *Client) now() int64 { return int64(time.Since(c.born)) }

// conn is one session with the broker, and its session.Receiver.
type conn struct {
	*peer.Peer
	*session.Client
	c      *Client
	origin wire.UUID     // our route id on it
	up     chan struct{} // closed when the broker has answered

	mu     sync.Mutex // guards the following
	linked bool
	since  time.Time // of linked
	epoch  int       // rises with every link: what was measured on an older one says nothing
}

// connect returns the session to ask over: the present one, or a new one when that is over. It waits until the
// broker has answered once.
func (c *Client) connect(ctx context.Context) (*conn, error) {
	for {
		n, err := c.present()
		if err != nil {
			return nil, err
		}
		select {
		case <-n.up:
			return n, nil
		case <-n.Done():
			if !c.without(n) {
				return nil, c.lost(n.Err())
			}
		case <-ctx.Done():
			if errors.Is(ctx.Err(), context.DeadlineExceeded) {
				return nil, c.lost(ctx.Err())
			}
			return nil, context.Cause(ctx)
		}
	}
}

// present returns the newest session, which it starts where there is none.
func (c *Client) present() (*conn, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil, &Error{Kind: ErrClosed, Text: "the client is closed"}
	}
	if c.conn == nil || c.conn.Err() != nil {
		n, err := c.start()
		if err != nil {
			return nil, err
		}
		c.conn = n
	}
	return c.conn, nil
}

// without reports whether n is over because the broker cannot resume sessions, and has the next ones do without: then the
// loss of a link ends the session, and what was asked for is asked again.
func (c *Client) without(n *conn) bool {
	said, ok := errors.AsType[*session.Error](n.Err())
	if !ok || !n.Setup().Resume || !link.RefusesResume(said) {
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.plain = true
	return true
}

// start begins a session. mu is held.
func (c *Client) start() (*conn, error) {
	n := &conn{Peer: c.peer, c: c, origin: wire.NewUUID(), up: make(chan struct{})}
	setup, err := wire.Setup{Dialect: c.cfg.Dialect, ID: n.origin.String(), Service: "laptop", Auth: c.cfg.Auth}.Append(nil)
	if err != nil {
		return nil, fmt.Errorf("cannot say who we are: %w", err)
	}
	n.Client, err = session.NewClient(session.ClientConfig{
		Options: session.Options{Log: c.cfg.Log},
		Dial:    c.cfg.Dial,
		Setup: session.Setup{
			Resume: !c.plain, MetadataMIME: wire.MIMEComposite, DataMIME: wire.MIMEJSON, Metadata: setup,
		},
		SessionTime: c.cfg.SessionTime,
	}, n)
	if err != nil {
		return nil, err
	}
	c.work.Go(func() { _ = n.Run(c.ctx) })
	return n, nil
}

// Linked takes note of a link and of its loss (session.Receiver).
func (n *conn) Linked(up, _ bool) {
	n.mu.Lock()
	changed := n.linked != up
	if n.linked = up; changed {
		n.since = time.Now()
	}
	if up {
		if n.epoch++; n.epoch == 1 {
			close(n.up)
		}
	}
	n.mu.Unlock()
	if !changed {
		return
	}
	n.c.mu.Lock()
	close(n.c.moved)
	n.c.moved = make(chan struct{})
	n.c.mu.Unlock()
	if n.c.cfg.Linked != nil {
		n.c.cfg.Linked(up)
	}
}

// Ended is the session's last word (session.Receiver).
func (n *conn) Ended(err error) { n.Linked(false, false) }

// isLinked reports what Linked was told last.
func (n *conn) isLinked() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.linked
}

// lost returns since when there is no link: now, while there is one.
func (n *conn) lost() time.Time {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.linked {
		return time.Now()
	}
	return n.since
}

// links returns how many links the session has been on.
func (n *conn) links() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.epoch
}

func (n *conn) requester() peer.Requester { return n.Requester(n.Conn) }

// over reports whether err says that a session is over.
func over(err error) bool { return errors.Is(err, session.ErrClosed) }

// Up reports whether there is a link to the broker now. The channel is closed when that may have changed.
func (c *Client) Up() (up bool, moved <-chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.conn != nil && c.conn.isLinked(), c.moved
}
