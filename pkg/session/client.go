package session

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"net"
	"os"
	"time"

	"github.com/rsocket/rsocket-go/core"
)

// ClientConfig is what a client's session needs.
type ClientConfig struct {
	Options
	// Dial returns a new link, TLS and all, or gives up when ctx ends.
	Dial func(ctx context.Context) (net.Conn, error)
	// Setup is said in SETUP. Its KeepAlive and Lifetime default to 12 s and 30 s: with TLS 1.7 MB a day.
	Setup Setup
	// SessionTime is how long the session may be without a link; 2 min.
	SessionTime time.Duration
	// DialTimeout bounds one Dial; 10 s. While the session may still be resumed a try gets 2 s at first.
	DialTimeout time.Duration
	// Kick makes a waiting client dial at once: the kernel has a new link or address. May be nil.
	Kick <-chan struct{}
}

// NewClient returns a session that does nothing until Run.
func NewClient(cfg ClientConfig, recv Receiver) (*Client, error) {
	if cfg.Dial == nil || recv == nil {
		return nil, errors.New("session: a client needs Dial and a Receiver")
	}
	cfg.Options = cfg.Options.withDefaults()
	s := cfg.Setup
	s.KeepAlive, s.Lifetime = orElse(s.KeepAlive, 12*time.Second), orElse(s.Lifetime, 30*time.Second)
	if len(s.MetadataMIME) > math.MaxUint8 || len(s.DataMIME) > math.MaxUint8 || len(s.Metadata)+len(s.Data) > maxFirst/2 {
		return nil, fmt.Errorf("session: SETUP is too large: its MIME types may have 255 bytes, metadata and data together %d", maxFirst/2)
	}
	if s.Resume {
		s.token = newToken()
	}
	cfg.SessionTime = orElse(cfg.SessionTime, 2*time.Minute)
	cfg.DialTimeout = orElse(cfg.DialTimeout, 10*time.Second)
	c := &Client{Conn: newConn(true, &s, cfg.Options), cfg: cfg}
	c.recv = recv
	c.over, c.onEnd = context.WithCancel(context.Background())
	return c, nil
}

// Client is the end of a session that dials.
type Client struct {
	*Conn
	cfg  ClientConfig
	over context.Context // ends with the session
}

const (
	tryTimeout   = 2 * time.Second        // silence that ends a try to resume; it doubles with each
	firstBackoff = 100 * time.Millisecond // and doubles
	maxBackoff   = 5 * time.Second        // while the session may still be resumed
	lasting      = 10 * time.Second       // a link that lasted so long forgives the failures before it
	muteTries    = 3                      // so often the other end may hang up on a session that it has never answered
)

// Run dials, says SETUP, and resumes the session on new links until it is over. It returns why, after its
// last goroutine; an *Error is what the other end said. The end of ctx is goodbye, and no error.
func (c *Client) Run(ctx context.Context) error {
	goodbye := func() { c.Close(core.ErrorCodeConnectionClose, "goodbye") }
	defer context.AfterFunc(ctx, goodbye)()
	defer c.work.Wait()
	err := c.run()
	if ctx.Err() != nil { // then err is what Dial made of it
		goodbye()
	}
	if err != nil {
		c.end(err, nil)
	}
	<-c.done
	if err := c.Err(); !errors.Is(err, errGoodbye) {
		return err
	}
	return nil
}

func (c *Client) run() error {
	l, err := c.begin()
	if err != nil {
		return err
	}
	fails, mute := 0, 0
	for resumed := false; ; resumed = true {
		err := c.read(l, resumed)
		if c.Err() != nil {
			return nil
		}
		if !c.setup.Resume {
			return fmt.Errorf("link lost: %w", err)
		}
		if time.Since(l.since) >= lasting {
			fails = 0
		}
		lost := time.Now()
		for {
			if c.wait(backoff(fails), lost) != nil {
				return fmt.Errorf("%w of %v: %w", errExpired, c.cfg.SessionTime, err)
			}
			if c.Err() != nil {
				return nil
			}
			fails++
			if l, err = c.resume(fails); err == nil {
				break
			}
			if c.Err() != nil {
				return nil
			}
			if e, ok := errors.AsType[*Error](err); ok && e.Code != core.ErrorCodeConnectionError {
				return err
			}
			if errors.Is(err, errHungUp) && !c.known() {
				if mute++; mute == muteTries {
					return errMute
				}
			}
			c.log.Debug("cannot resume yet", "err", err)
		}
	}
}

// known reports whether the other end has ever answered.
func (c *Client) known() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.met
}

// begin makes the first link and says SETUP.
func (c *Client) begin() (*link, error) {
	ctx, cancel := context.WithTimeout(c.over, c.cfg.DialTimeout)
	defer cancel()
	nc, err := c.cfg.Dial(ctx)
	if err != nil {
		return nil, err
	}
	l := newLink(nc, c.notSent, c.maxFrame)
	// The KEEPALIVE asks for the only sign there is that a SETUP was accepted.
	if err := c.attach(l, false, c.setup.frame(), keepaliveFrame(0, true, nil)); err != nil {
		l.close()
		return nil, err
	}
	return l, nil
}

// resume makes a new link and says RESUME. An *Error is the other end's answer.
func (c *Client) resume(try int) (*link, error) {
	patience := min(tryTimeout<<min(try-1, 4), c.cfg.DialTimeout)
	ctx, cancel := context.WithTimeout(c.over, patience)
	defer cancel()
	nc, err := c.cfg.Dial(ctx)
	if err != nil {
		return nil, err
	}
	l := newLink(nc, c.notSent, c.maxFrame)
	defer context.AfterFunc(c.over, l.close)()
	if err := c.shake(l, patience); err != nil {
		l.close()
		if _, said := errors.AsType[*Error](err); !said && !errors.Is(err, os.ErrDeadlineExceeded) {
			err = fmt.Errorf("%w: %w", errHungUp, err)
		}
		return nil, err
	}
	return l, nil
}

// shake says RESUME on l and takes the answer.
func (c *Client) shake(l *link, patience time.Duration) error {
	c.mu.Lock()
	r := resume{token: c.setup.token, received: c.led.received, first: c.led.acked}
	c.mu.Unlock()
	_ = l.nc.SetDeadline(time.Now().Add(patience))
	if _, err := l.nc.Write(r.frame().b); err != nil {
		return err
	}
	f, err := l.in.firstFrame()
	if err != nil {
		return err
	}
	_ = l.nc.SetDeadline(time.Time{})
	switch {
	case f.StreamID() == 0 && f.Type() == core.FrameTypeResumeOK && len(f.body()) >= 8:
		pos := binary.BigEndian.Uint64(f.body()) & math.MaxInt64
		c.mu.Lock()
		err := c.trim(func() error { return c.led.rewind(pos) })
		c.mu.Unlock()
		if err != nil {
			return Errorf(core.ErrorCodeRejectedResume, "the other end resumes where we cannot: %v", err)
		}
		return c.attach(l, true, keepaliveFrame(r.received, true, nil))
	case f.StreamID() == 0 && f.Type() == core.FrameTypeError && len(f.body()) >= 4:
		return &Error{core.ErrorCode(f.N()), string(f.Data())}
	}
	return Errorf(core.ErrorCodeRejectedResume, "RESUME was answered with a %v frame", f.Type())
}

// backoff returns how long to wait before try n, ± 50 %.
func backoff(n int) time.Duration {
	d := min(firstBackoff<<min(n, 10), maxBackoff)
	return d/2 + rand.N(d)
}

// wait waits for d, a kick, or the end of the session; or for the end of the session time that began when
// the link was lost, which is an error.
func (c *Client) wait(d time.Duration, lost time.Time) error {
	left := c.cfg.SessionTime - time.Since(lost)
	if left <= 0 {
		return errExpired
	}
	t := time.NewTimer(min(d, left))
	defer t.Stop()
	select {
	case <-t.C:
		if d > left {
			return errExpired
		}
	case <-c.cfg.Kick:
	case <-c.done:
	}
	return nil
}
