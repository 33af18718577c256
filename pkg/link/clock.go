package link

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"sync"
	"time"
)

// Clock judges certificates on a machine whose clock may be wrong: a Raspberry Pi without a battery starts in the past, at 1970 or
// where it was switched off.
//
// The time is never taken to be before Floor, so a chain that is valid now is accepted before the clock is set. One that was
// accepted then is judged again when the clock is set, and its link ended if it does not stand (Recheck). A clock that is ahead
// cannot be told from an expired chain: that is refused with a sentence that names both, and tried again when the clock is set.
type Clock struct {
	Floor  func() time.Time // it is later than this; the build date at least
	Synced func() bool      // whether the clock follows a time source
	Now    func() time.Time // for tests; nil is time.Now

	mu     sync.Mutex // guards the following
	conn   *tls.Conn  // the last one that was judged by a clock nobody had set; nil: none
	chains [][]*x509.Certificate
}

func (c *Clock) now() time.Time {
	if c.Now != nil {
		return c.Now()
	}
	return time.Now()
}

// Time is what certificates are judged by.
func (c *Clock) Time() time.Time {
	now, floor := c.now(), c.Floor()
	if now.Before(floor) {
		return floor
	}
	return now
}

// accepted notes a connection whose chains were judged by this clock.
func (c *Clock) accepted(conn *tls.Conn) {
	chains := conn.ConnectionState().VerifiedChains
	c.mu.Lock()
	defer c.mu.Unlock()
	c.conn, c.chains = nil, nil
	if len(chains) > 0 && !c.Synced() { // a pinned connection has no chains
		c.conn, c.chains = conn, chains
	}
}

// Recheck judges anew what was accepted while nobody had set the clock, and closes the connection whose chains do not stand. It is
// to be called when the clock was set. It reports whether a connection was closed.
func (c *Clock) Recheck() (closed bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.conn == nil {
		return false
	}
	stands := false
	for _, chain := range c.chains {
		stands = stands || validAt(chain, c.Time())
	}
	if !stands {
		_ = c.conn.NetConn().Close() // not the TLS goodbye, which may wait
		closed = true
	}
	if closed || c.Synced() {
		c.conn, c.chains = nil, nil
	}
	return closed
}

func validAt(chain []*x509.Certificate, t time.Time) bool {
	for _, cert := range chain {
		if t.Before(cert.NotBefore) || t.After(cert.NotAfter) {
			return false
		}
	}
	return true
}

// explain adds to an error about dates what this machine takes the time to be.
func (c *Clock) explain(err error) error {
	invalid, ok := errors.AsType[x509.CertificateInvalidError](err)
	if !ok || invalid.Reason != x509.Expired || c.Synced() {
		return err
	}
	const form = "2006-01-02 15:04 MST"
	return fmt.Errorf("the certificate counts from %s to %s, and by this machine's clock, which no time source has set, it is %s: %w",
		invalid.Cert.NotBefore.UTC().Format(form), invalid.Cert.NotAfter.UTC().Format(form), c.Time().UTC().Format(form), err)
}
