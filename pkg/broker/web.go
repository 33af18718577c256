package broker

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/coder/websocket"
	"github.com/rsocket/rsocket-go/core"

	"github.com/perchcam/perch/pkg/link"
	"github.com/perchcam/perch/pkg/session"
)

type belowKey struct{}

// serveWeb takes WebSockets as links until the listener is closed. A browser sends its page's origin, which must be one that
// is allowed, and the host it was asked for, which must be ours. Nothing is compressed: pictures are, and secrets beside what
// others choose must not be.
func (b *Broker) serveWeb(l *listener, work *sync.WaitGroup) error {
	hosts := append([]string(nil), b.cfg.Hosts...)
	for _, l := range b.listeners {
		hosts = append(hosts, l.url.Hostname())
	}
	refused := func() { b.counters.add(websRefused) }
	page := http.NotFoundHandler()
	if b.cfg.Page != nil {
		var err error
		if page, err = b.cfg.Page(l.path); err != nil {
			return err
		}
	}
	mux := http.NewServeMux()
	mux.Handle("/", page)
	mux.HandleFunc("GET "+exactly(l.path), func(w http.ResponseWriter, r *http.Request) {
		if b.cfg.Page != nil && r.Header.Get("Upgrade") == "" {
			page.ServeHTTP(w, r)
			return
		}
		b.mu.Lock()
		stopping := b.draining.Load()
		if !stopping {
			work.Add(1) // before drain has taken mu, and so before anybody waits
		}
		b.mu.Unlock()
		if stopping {
			http.Error(w, "draining", http.StatusServiceUnavailable)
			return
		}
		defer work.Done()
		ws, err := websocket.Accept(w, r, &websocket.AcceptOptions{OriginPatterns: b.cfg.Origins, CompressionMode: websocket.CompressionDisabled})
		if err != nil {
			refused()
			host, _, _ := net.SplitHostPort(r.RemoteAddr)
			if more, ok := b.refusals.may(host+err.Error(), time.Now()); ok {
				b.log.Warn("WebSocket refused", "remote", r.RemoteAddr, "err", err, "others", more)
			}
			return
		}
		below := r.Context().Value(belowKey{}).(*webConn).Conn
		if tc, ok := below.(*tls.Conn); ok {
			below = &tlsLink{Conn: tc}
		}
		b.Serve(link.NewWebSocket(ws, below, maxMessage))
	})
	var asked sync.Map // connections that have sent a request; those that have not when they end are counted here
	handler := onlyHosts(mux, hosts, refused)
	srv := &http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			asked.Store(r.Context().Value(belowKey{}), true)
			handler.ServeHTTP(w, r)
		}),
		ConnState: func(nc net.Conn, state http.ConnState) {
			if state == http.StateClosed || state == http.StateHijacked {
				if _, ok := asked.LoadAndDelete(nc); !ok {
					refused()
				}
			}
		},
		ReadTimeout:    b.cfg.FirstFrame, // not a WebSocket's, which has none of these limits
		WriteTimeout:   6 * b.cfg.FirstFrame,
		IdleTimeout:    10 * time.Second,
		MaxHeaderBytes: 16 << 10,
		ErrorLog:       slog.NewLogLogger(b.log.Handler(), slog.LevelDebug),
		ConnContext:    func(ctx context.Context, nc net.Conn) context.Context { return context.WithValue(ctx, belowKey{}, nc) },
	}
	defer srv.Close()
	var ln net.Listener = l
	if l.tls != nil {
		ln = tls.NewListener(l, l.tls)
	}
	if err := srv.Serve(webListener{ln}); !errors.Is(err, http.ErrServerClosed) && !errors.Is(err, net.ErrClosed) {
		return fmt.Errorf("cannot accept on %s: %w", l, err)
	}
	return nil
}

// webListener and webConn tell those who begin with an RSocket frame that a WebSocket is wanted: the HTTP server would wait for
// the end of a line.
type webListener struct{ net.Listener }

func (l webListener) Accept() (net.Conn, error) {
	nc, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &webConn{Conn: nc}, nil
}

type webConn struct {
	net.Conn
	begun bool // owned by Read
}

func (c *webConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if c.begun {
		return n, err
	}
	c.begun = true
	e, plain := errors.AsType[tls.RecordHeaderError](err)
	switch {
	case plain && e.Conn != nil && e.RecordHeader[0] == 0:
		session.Refuse(e.Conn, errNoWebSocket)
	case plain && e.Conn != nil:
		_, _ = io.WriteString(e.Conn, "HTTP/1.0 400 Bad Request\r\n\r\nThis port is for wss:// and https://.\n")
	case n > 0 && b[0] == 0: // of the length of a SETUP, or RESUME
		session.Refuse(c.Conn, errNoWebSocket)
		return 0, errNoWebSocket
	}
	return n, err
}

var errNoWebSocket = session.Errorf(core.ErrorCodeInvalidSetup, "this is no WebSocket, which this port is for: write ws:// or wss://")

const maxMessage = 1<<24 - 1 // all that a frame may have

// exactly makes a pattern that matches one path only.
func exactly(path string) string {
	if path[len(path)-1] == '/' {
		return path + "{$}"
	}
	return path
}
