package link

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
)

// address is the URL of a test server under another scheme.
func address(t *testing.T, scheme, server, path string) URL {
	t.Helper()
	u, err := url.Parse(server)
	if err != nil {
		t.Fatal(err)
	}
	port, err := strconv.ParseUint(u.Port(), 10, 16)
	if err != nil {
		t.Fatal(err)
	}
	return URL{Scheme: scheme, Host: u.Hostname(), Port: uint16(port), Path: path}
}

type connKey struct{}

// webSockets is a server whose WebSockets are given to serve.
func webSockets(t *testing.T, secure bool, serve func(net.Conn)) *httptest.Server {
	t.Helper()
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/moved":
			http.Redirect(w, r, "/", http.StatusFound)
			return
		case "/nothing":
			http.NotFound(w, r)
			return
		}
		ws, err := websocket.Accept(w, r, nil)
		if err != nil {
			return
		}
		nc := NewWebSocket(ws, r.Context().Value(connKey{}).(net.Conn), 1<<20)
		defer nc.Close()
		serve(nc)
	}))
	srv.Config.ConnContext = func(ctx context.Context, nc net.Conn) context.Context {
		return context.WithValue(ctx, connKey{}, nc)
	}
	srv.Config.ErrorLog = log.New(io.Discard, "", 0) // of the handshakes that are meant to fail
	if secure {
		srv.StartTLS()
	} else {
		srv.Start()
	}
	t.Cleanup(srv.Close)
	return srv
}

func frame(body []byte) []byte {
	n := len(body)
	return append([]byte{byte(n >> 16), byte(n >> 8), byte(n)}, body...)
}

// echo sends back what comes, in pieces that know nothing of frames.
func echo(nc net.Conn) {
	buf := make([]byte, 10007)
	for {
		n, err := nc.Read(buf)
		for b := buf[:n]; len(b) > 0; {
			k := min(1+rand.N(5000), len(b))
			if _, err := nc.Write(b[:k]); err != nil {
				return
			}
			b = b[k:]
		}
		if err != nil {
			return
		}
	}
}

func TestWebSocketKeepsFrames(t *testing.T) {
	for _, scheme := range []string{WS, WSS} {
		t.Run(scheme, func(t *testing.T) {
			srv := webSockets(t, scheme == WSS, echo)
			d := &Dialer{TLS: trusting(srv)}
			nc, err := d.Dial(t.Context(), address(t, scheme, srv.URL, "/"))
			if err != nil {
				t.Fatal(err)
			}
			defer nc.Close()
			if nc.RemoteAddr().Network() != "tcp" {
				t.Errorf("the remote address is %v, not the TCP connection's", nc.RemoteAddr())
			}
			var all []byte
			for _, n := range []int{6, 0, 1, 200, 16 << 10, 300_000, 7} {
				b := make([]byte, n)
				for i := range b {
					b[i] = byte(rand.Uint32())
				}
				all = append(all, frame(b)...)
			}
			go func() {
				for b := all; len(b) > 0; {
					k := min(1+rand.N(30000), len(b))
					if _, err := nc.Write(b[:k]); err != nil {
						t.Errorf("write: %v", err)
						return
					}
					b = b[k:]
				}
			}()
			got := make([]byte, len(all))
			if _, err := io.ReadFull(nc, got); err != nil || !bytes.Equal(got, all) {
				t.Errorf("what came back differs (%v)", err)
			}
		})
	}
}

func TestWebSocketLimits(t *testing.T) {
	srv := webSockets(t, false, func(nc net.Conn) {
		_, _ = nc.Write(frame(make([]byte, 2000)))
		_, _ = nc.Read(make([]byte, 1))
	})
	u := address(t, WS, srv.URL, "")
	nc, err := (&Dialer{MaxFrame: 1999}).Dial(t.Context(), u)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	if n, err := io.ReadFull(nc, make([]byte, 2003)); err == nil {
		t.Errorf("%d bytes of a message over the limit", n)
	}
}

func TestWebSocketTextIsNoFrame(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ws, err := websocket.Accept(w, r, nil)
		if err != nil {
			return
		}
		defer ws.CloseNow()
		_ = ws.Write(r.Context(), websocket.MessageText, []byte("hello"))
		_, _, _ = ws.Read(r.Context())
	}))
	defer srv.Close()
	nc, err := (&Dialer{}).Dial(t.Context(), address(t, WS, srv.URL, ""))
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	if _, err := nc.Read(make([]byte, 10)); err == nil || !strings.Contains(err.Error(), "text message") {
		t.Errorf("a text message: %v", err)
	}
}

func TestWebSocketDeadline(t *testing.T) {
	srv := webSockets(t, false, func(nc net.Conn) { _, _ = nc.Read(make([]byte, 1)) })
	nc, err := (&Dialer{}).Dial(t.Context(), address(t, WS, srv.URL, ""))
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	_ = nc.SetDeadline(time.Now().Add(time.Hour))
	_ = nc.SetDeadline(time.Time{})
	if _, err := nc.Write(frame([]byte("x"))[:2]); err != nil {
		t.Errorf("after a deadline was taken back: %v", err)
	}
	_ = nc.SetReadDeadline(time.Now().Add(time.Millisecond))
	if _, err := nc.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("a deadline that passes: %v", err)
	}
}

func TestDialSaysWhatIsWrong(t *testing.T) {
	silent, err := net.Listen("tcp", "127.0.0.1:0") // completes no handshake of any kind
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	secure := webSockets(t, true, echo)
	plain := webSockets(t, false, echo)
	cases := []struct {
		u    URL
		says string
	}{
		{address(t, WS, plain.URL, "/nothing"), "404 Not Found, not a WebSocket"},
		{address(t, WS, plain.URL, "/moved"), "302 Found, not a WebSocket"},
		{address(t, WSS, secure.URL, "/"), "certificate"},
		{address(t, TLS, secure.URL, ""), "the TLS handshake failed"},
		{address(t, TLS, plain.URL, ""), "the TLS handshake failed"},
		{address(t, TLS, "http://"+silent.Addr().String(), ""), "deadline exceeded"},
		{address(t, WS, "http://"+silent.Addr().String(), ""), "deadline exceeded"},
		{URL{Scheme: "x", Host: "h", Port: 1}, `scheme "x"`},
	}
	for _, c := range cases {
		patience := 10 * time.Second
		if c.says == "deadline exceeded" {
			patience = 50 * time.Millisecond
		}
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		nc, err := (&Dialer{}).Dial(ctx, c.u)
		cancel()
		if err == nil {
			nc.Close()
			t.Errorf("%v: it connected", c.u)
			continue
		}
		if !strings.Contains(err.Error(), "cannot connect to "+c.u.String()) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%v: %v, want %q in it", c.u, err, c.says)
		}
	}
}

func TestDialTLS(t *testing.T) {
	srv := webSockets(t, true, echo)
	nc, err := (&Dialer{TLS: trusting(srv)}).Dial(t.Context(), address(t, TLS, srv.URL, ""))
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	if s := nc.(*tls.Conn).ConnectionState(); s.ServerName != "127.0.0.1" && s.ServerName != "" || s.Version < tls.VersionTLS12 {
		t.Errorf("state %+v", s)
	}
}

// trusting returns a configuration that trusts a test server's certificate; nil without one.
func trusting(srv *httptest.Server) *tls.Config {
	if srv.Certificate() == nil {
		return nil
	}
	roots := x509.NewCertPool()
	roots.AddCert(srv.Certificate())
	return &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}
}
