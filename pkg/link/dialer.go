package link

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"time"
)

// Dialer makes links. The zero value trusts the system's certificates. It may be used by any number of goroutines.
type Dialer struct {
	TLS      *tls.Config // for tls:// and wss://; not changed. nil is the system's roots and TLS 1.2 at least
	Clock    *Clock      // judges certificates by its time; nil is the system's
	MaxFrame int         // bytes of one WebSocket message that is received, at most; 16777215, what a frame can be
}

// Dial connects, shakes hands, and returns a connection of length-prefixed frames, all before ctx ends. IPv4 and IPv6 addresses
// of a name are raced (RFC 8305), as net.Dialer does.
func (d *Dialer) Dial(ctx context.Context, u URL) (net.Conn, error) {
	nc, err := d.dial(ctx, u)
	if err != nil {
		return nil, fmt.Errorf("cannot connect to %s: %w", u, err)
	}
	return nc, nil
}

func (d *Dialer) dial(ctx context.Context, u URL) (net.Conn, error) {
	switch u.Scheme {
	case TCP:
		return d.tcp(ctx, u)
	case TLS:
		return d.tls(ctx, u)
	case WS, WSS:
		return d.webSocket(ctx, u)
	}
	return nil, fmt.Errorf("scheme %q is none that can be dialed", u.Scheme)
}

// keepAlive finds a dead path under a session that has nothing to say. A session's own KEEPALIVE comes first; this is for
// peers that ask for long intervals.
var keepAlive = net.KeepAliveConfig{Enable: true, Idle: 15 * time.Second, Interval: 5 * time.Second, Count: 4}

func (d *Dialer) tcp(ctx context.Context, u URL) (net.Conn, error) {
	nd := net.Dialer{KeepAliveConfig: keepAlive}
	return nd.DialContext(ctx, "tcp", u.HostPort())
}

func (d *Dialer) tls(ctx context.Context, u URL) (net.Conn, error) {
	nc, err := d.tcp(ctx, u)
	if err != nil {
		return nil, err
	}
	tc := tls.Client(nc, d.tlsConfig(u))
	if err := tc.HandshakeContext(ctx); err != nil {
		_ = nc.Close()
		if d.Clock != nil {
			err = d.Clock.explain(err)
		}
		return nil, fmt.Errorf("the TLS handshake failed: %w", err)
	}
	if d.Clock != nil {
		d.Clock.accepted(tc)
	}
	return tc, nil
}

func (d *Dialer) tlsConfig(u URL) *tls.Config {
	cfg := &tls.Config{MinVersion: tls.VersionTLS12}
	if d.TLS != nil {
		cfg = d.TLS.Clone()
	}
	if d.Clock != nil {
		cfg.Time = d.Clock.Time
	}
	if cfg.ServerName == "" {
		cfg.ServerName = u.Host
	}
	return cfg
}
