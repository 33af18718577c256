package broker

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/perchcam/perch/pkg/link"
	"github.com/perchcam/perch/pkg/peer"
	"github.com/perchcam/perch/pkg/wire"
)

// Devices and laptops on every kind of listener meet.
func TestWebSocket(t *testing.T) {
	a := newAuthority(t)
	a.server("broker.test")
	a.client("certified", "")
	store, tokens := lock(t)
	s := newShop(t, Config{
		Listen: []string{"ws://127.0.0.1:0/rsocket", "wss://127.0.0.1:0", "tcp://127.0.0.1:0"}, Access: store,
		TLS: TLS{Cert: a.path("server.pem"), Key: a.path("server.key"), ClientCA: a.path("authority.pem")},
	})
	roots := x509.NewCertPool()
	roots.AddCert(a.cert)
	pair, err := tls.LoadX509KeyPair(a.path("certified.pem"), a.path("certified.key"))
	if err != nil {
		t.Fatal(err)
	}
	d := &link.Dialer{TLS: &tls.Config{RootCAs: roots, Certificates: []tls.Certificate{pair}}}
	dial := func(i int) func(context.Context) (net.Conn, error) {
		u, err := link.ParseURL(s.URLs()[i])
		if err != nil {
			t.Fatal(err)
		}
		return func(ctx context.Context) (net.Conn, error) { return d.Dial(ctx, u) }
	}
	s.connect(deviceSetup("certified", "id", 1), echo, dial(1))
	for i := range 3 {
		laptop := laptopSetup()
		laptop.Auth = wire.Auth{Scheme: wire.AuthBearer, Secret: tokens["root"]}
		l, ended := s.connect(laptop, nil, dial(i))
		big := bytes.Repeat([]byte("picture"), 100_000)
		if _, err := l.RequestResponse(t.Context(), peer.Payload{Metadata: to("certified", "x", waitTag("5s"))}); err != nil {
			t.Fatal(s.URLs()[i], err)
		}
		v, err := l.RequestResponse(t.Context(), peer.Payload{Metadata: to("certified", "x"), Data: big})
		if err != nil || !bytes.Equal(v.Data, big) {
			t.Errorf("%s: %d bytes, %v", s.URLs()[i], len(v.Data), err)
		}
		select {
		case err := <-ended:
			t.Errorf("%s: %v", s.URLs()[i], err)
		default:
		}
	}
}

func TestWebSocketRefusals(t *testing.T) {
	s := newShop(t, Config{
		Listen: []string{"ws://127.0.0.1:0/rsocket"}, Hosts: []string{"cams.example.org"}, Origins: []string{"https://*.example.org"},
	})
	at := "http://" + s.listeners[0].Addr().String()
	for name, c := range map[string]struct {
		path, host, origin string
		status             int
	}{
		"no browser":               {"/rsocket", "", "", 101},
		"our own page":             {"/rsocket", "cams.example.org", "https://cams.example.org", 101},
		"a page that may":          {"/rsocket", "", "https://pages.example.org", 101},
		"a page that may not":      {"/rsocket", "", "https://evil.example", 403},
		"a page by a foreign name": {"/rsocket", "evil.example", "http://evil.example", 421}, // DNS rebinding
		"another path":             {"/other", "", "", 404},
		"a path below":             {"/rsocket/x", "", "", 404},
	} {
		header := http.Header{}
		if c.origin != "" {
			header.Set("Origin", c.origin)
		}
		ws, resp, err := websocket.Dial(t.Context(), at+c.path, &websocket.DialOptions{HTTPHeader: header, Host: c.host})
		if err == nil {
			ws.CloseNow()
		}
		if resp == nil || resp.StatusCode != c.status {
			t.Errorf("%s: %v, %v", name, resp, err)
		}
	}
	if n := s.counters[websRefused].Load(); n != 2 { // the page, and the host
		t.Errorf("%d were counted", n)
	}

	// A browser that comes for a page is told so.
	resp, err := http.Get(at + "/rsocket")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if text, _ := io.ReadAll(resp.Body); resp.StatusCode != http.StatusUpgradeRequired || !strings.Contains(string(text), "WebSocket") {
		t.Errorf("%d %s", resp.StatusCode, text)
	}
}

// Who asks for a page and then says, or takes, nothing more does not hold a connection for ever.
func TestWebHeldOpen(t *testing.T) {
	written := make(chan error, 1)
	large := make([]byte, 64<<20) // more than two kernels buffer
	s := newShop(t, Config{
		Listen: []string{"ws://127.0.0.1:0"}, FirstFrame: 100 * time.Millisecond,
		Page: func(string) (http.Handler, error) {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.Method == http.MethodGet {
					_, err := w.Write(large)
					written <- err
				}
			}), nil
		},
	})
	send := func(request string) net.Conn {
		nc, err := net.Dial("tcp", s.listeners[0].Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { nc.Close() })
		_ = nc.SetDeadline(time.Now().Add(10 * time.Second))
		if _, err := io.WriteString(nc, request); err != nil {
			t.Fatal(err)
		}
		return nc
	}
	send("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
	if _, err := io.Copy(io.Discard, send("POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\n")); err != nil {
		t.Errorf("a request without its body: %v", err)
	}
	select {
	case err := <-written:
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("an answer that was not taken: %v", err)
		}
	case <-time.After(10 * time.Second):
		t.Error("an answer that is not taken is waited for")
	}
}
