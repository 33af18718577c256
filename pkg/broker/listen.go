package broker

import (
	"cmp"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"slices"
	"strings"
	"time"
)

// listener is one address that links come in on.
type listener struct {
	net.Listener // nil before open
	url          *url.URL
	tls          *tls.Config // for secure schemes
	path         string      // of WebSockets
	anywhere     bool        // it need not be a loopback address
}

var errNotLoopback = errors.New("as long as there are no credentials, the broker serves this machine only: listen on 127.0.0.1 or [::1]")

var schemes = []string{"tcp", "tls", "ws", "wss"}

// parseListener checks a URL to listen on.
func parseListener(s string, cfg *Config) (*listener, error) {
	if !strings.Contains(s, "://") {
		return nil, fmt.Errorf("cannot listen on %q: it must say how, such as tcp://127.0.0.1:7878 or tls://:7878", s)
	}
	u, err := url.Parse(s)
	if err != nil {
		return nil, fmt.Errorf("cannot listen on %q: %w", s, errors.Unwrap(err))
	}
	l := &listener{url: &url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path}, path: cmp.Or(u.Path, "/")}
	l.anywhere = cfg.Access != nil && (l.secure() || cfg.Insecure)
	switch {
	case !slices.Contains(schemes, u.Scheme):
		return nil, fmt.Errorf("cannot listen on %q: the URL must begin with tcp://, tls://, ws:// or wss://", s)
	case u.Port() == "":
		return nil, fmt.Errorf("cannot listen on %q: it has no port, such as tcp://127.0.0.1:7878", s)
	case !l.web() && u.Path != "" && u.Path != "/" || u.RawQuery != "" || u.Fragment != "" || u.User != nil:
		return nil, fmt.Errorf("cannot listen on %q: a host and a port are all it may have, and a path for WebSockets", s)
	case strings.ContainsAny(u.Path, "{} "):
		return nil, fmt.Errorf("cannot listen on %q: its path has a character that may not be there: a brace or a space", s)
	case l.anywhere || loopback(u.Hostname()):
		return l, nil
	case cfg.Access == nil:
		return nil, fmt.Errorf("cannot listen on %q: %w", s, errNotLoopback)
	}
	return nil, fmt.Errorf("cannot listen on %q: %w", s, errPlain)
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// secure reports whether links are encrypted.
func (l *listener) secure() bool { return l.url.Scheme == "tls" || l.url.Scheme == "wss" }

// web reports whether links are WebSockets.
func (l *listener) web() bool { return l.url.Scheme == "ws" || l.url.Scheme == "wss" }

// open binds the address.
func (l *listener) open() error {
	ln, err := net.Listen("tcp", l.url.Host)
	if err != nil {
		return fmt.Errorf("cannot listen on %s: %w", l.url, err)
	}
	if a, ok := ln.Addr().(*net.TCPAddr); !l.anywhere && (!ok || !a.IP.IsLoopback()) { // "localhost" is what a file says
		_ = ln.Close()
		return fmt.Errorf("cannot listen on %s: it is %s here, and %w", l.url, ln.Addr(), errNotLoopback)
	}
	l.Listener = ln
	return nil
}

func (l *listener) close() {
	if l.Listener != nil {
		_ = l.Listener.Close()
	}
}

// String returns the URL, with the port that was given once it is open.
func (l *listener) String() string {
	if l.Listener == nil {
		return l.url.String()
	}
	return l.url.Scheme + "://" + l.Addr().String() + l.url.Path
}

// accept hands over links until the listener is closed. When the system has no descriptor left, it waits.
func (l *listener) accept(log *slog.Logger, serve func(net.Conn)) error {
	var lines quiet
	for {
		nc, err := l.Accept()
		switch {
		case err == nil && l.tls != nil:
			serve(&tlsLink{Conn: tls.Server(nc, l.tls)})
		case err == nil:
			serve(nc)
		case errors.Is(err, net.ErrClosed):
			return nil
		case temporary(err):
			if more, ok := lines.may(time.Now()); ok {
				log.Warn("cannot accept", "url", l.String(), "err", err, "others", more)
			}
			time.Sleep(50 * time.Millisecond)
		default:
			return fmt.Errorf("cannot accept on %s: %w", l, err)
		}
	}
}
