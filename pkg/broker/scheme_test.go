package broker

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/perchcam/perch/pkg/link"
	"github.com/perchcam/perch/pkg/peer"
	"github.com/perchcam/perch/pkg/session"
)

// Who comes by another scheme than the port is for learns so within seconds, and is counted.
func TestWrongScheme(t *testing.T) {
	a := newAuthority(t)
	a.server("broker.test")
	store, _ := lock(t)
	s := newShop(t, Config{
		Listen: []string{"tcp://127.0.0.1:0", "tls://127.0.0.1:0", "ws://127.0.0.1:0", "wss://127.0.0.1:0"}, Access: store,
		TLS: TLS{Cert: a.path("server.pem"), Key: a.path("server.key")},
	})
	roots := x509.NewCertPool()
	roots.AddCert(a.cert)
	d := &link.Dialer{TLS: &tls.Config{RootCAs: roots}}
	refused := func() uint64 { return s.counters[sessionsRefused].Load() + s.counters[websRefused].Load() }
	const noTLS, noWebSocket, wantsOne = "what answers is not TLS; should the address begin with ", "does not answer as a WebSocket does: should the address begin with ", "this is no WebSocket, which this port is for: write ws:// or wss://"
	for i, texts := range []map[string]string{ // by listener, then by the scheme that is dialed
		{"tls": noTLS + "tcp://?", "ws": noWebSocket + "tcp://?", "wss": noTLS + "ws://?"},
		{"tcp": "this is not TLS, which this port is for: write tls://", "ws": noWebSocket + "tcp://?", "wss": noWebSocket + "tls://?"},
		{"tcp": wantsOne, "tls": noTLS + "tcp://?", "wss": noTLS + "ws://?"},
		{"tcp": wantsOne, "tls": wantsOne, "ws": "the answer is 400 Bad Request, not a WebSocket"},
	} {
		for scheme, text := range texts {
			t.Run(fmt.Sprintf("%s at %s", scheme, s.listeners[i].url.Scheme), func(t *testing.T) {
				u, err := link.ParseURL(scheme + "://" + s.listeners[i].Addr().String())
				if err != nil {
					t.Fatal(err)
				}
				p, err := peer.New(peer.Config{})
				if err != nil {
					t.Fatal(err)
				}
				before := refused()
				c, err := session.NewClient(session.ClientConfig{Setup: composed(laptopSetup(), true), Dial: func(ctx context.Context) (net.Conn, error) { return d.Dial(ctx, u) }}, p)
				if err != nil {
					t.Fatal(err)
				}
				began := time.Now()
				if err := c.Run(t.Context()); err == nil || !strings.Contains(err.Error(), text) {
					t.Errorf("it ends with %v", err)
				}
				if took := time.Since(began); took > 5*time.Second {
					t.Errorf("it took %v", took)
				}
				for refused() == before && time.Since(began) < 5*time.Second {
					time.Sleep(time.Millisecond)
				}
				if refused() == before {
					t.Error("it was not counted")
				}
			})
		}
	}
}
