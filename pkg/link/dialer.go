package link

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// Dialer makes links. The zero value trusts the system's certificates. It may be used by any number of goroutines.
type Dialer struct {
	TLS      *tls.Config // for tls:// and wss://; not changed. nil is the system's roots and TLS 1.2 at least
	Clock    *Clock      // judges certificates by its time; nil is the system's
	MaxFrame int         // bytes of one WebSocket message that is received, at most; 16777215, what a frame can be

	// Proxy returns the HTTP proxy that tls:// and wss:// go through, or nil, as http.ProxyFromEnvironment does. May be nil.
	Proxy func(*http.Request) (*url.URL, error)

	names *net.Resolver // for tests; nil is the system's
}

// Dial connects, shakes hands, and returns a connection of length-prefixed frames, all before ctx ends. IPv4 and IPv6 addresses
// of a name are raced (RFC 8305).
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
	if d.Proxy != nil && u.Secure() {
		proxy, err := d.Proxy(&http.Request{URL: &url.URL{Scheme: "https", Host: u.HostPort()}})
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrProxy, err)
		}
		if proxy != nil {
			return d.tunnel(ctx, u, proxy)
		}
	}
	return d.direct(ctx, u.Host, strconv.Itoa(int(u.Port)))
}

func (d *Dialer) tls(ctx context.Context, u URL) (net.Conn, error) {
	nc, err := d.tcp(ctx, u)
	if err != nil {
		return nil, err
	}
	tc := tls.Client(nc, d.tlsConfig(u))
	if err := tc.HandshakeContext(ctx); err != nil {
		_ = nc.Close()
		if _, ok := errors.AsType[tls.RecordHeaderError](err); ok {
			return nil, fmt.Errorf("the TLS handshake failed: what answers is not TLS; should the address begin with %s://?", plainOf(u.Scheme))
		}
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

// plainOf returns the scheme that is the same but for TLS.
func plainOf(scheme string) string {
	if scheme == WSS {
		return WS
	}
	return TCP
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
