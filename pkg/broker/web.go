package broker

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/coder/websocket"

	"github.com/perchcam/perch/pkg/link"
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
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+exactly(l.path), func(w http.ResponseWriter, r *http.Request) {
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
			b.counters.add(websRefused)
			if more, ok := b.refusals.may(time.Now()); ok {
				b.log.Warn("WebSocket refused", "remote", r.RemoteAddr, "err", err, "others", more)
			}
			return
		}
		below := r.Context().Value(belowKey{}).(net.Conn)
		if tc, ok := below.(*tls.Conn); ok {
			below = tlsLink{tc}
		}
		b.Serve(link.NewWebSocket(ws, below, maxMessage))
	})
	srv := &http.Server{
		Handler:           onlyHosts(mux, hosts),
		ReadHeaderTimeout: 5 * time.Second,
		IdleTimeout:       10 * time.Second,
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          slog.NewLogLogger(b.log.Handler(), slog.LevelDebug),
		ConnContext:       func(ctx context.Context, nc net.Conn) context.Context { return context.WithValue(ctx, belowKey{}, nc) },
	}
	defer srv.Close()
	var ln net.Listener = l
	if l.tls != nil {
		ln = tls.NewListener(l, l.tls)
	}
	if err := srv.Serve(ln); !errors.Is(err, http.ErrServerClosed) && !errors.Is(err, net.ErrClosed) {
		return fmt.Errorf("cannot accept on %s: %w", l, err)
	}
	return nil
}

const maxMessage = 1<<24 - 1 // all that a frame may have

// exactly makes a pattern that matches one path only.
func exactly(path string) string {
	if path[len(path)-1] == '/' {
		return path + "{$}"
	}
	return path
}
