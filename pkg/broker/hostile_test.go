package broker

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rsocket/rsocket-go/core"

	"github.com/perchcam/perch/pkg/broker/access"
	"github.com/perchcam/perch/pkg/peer"
	"github.com/perchcam/perch/pkg/session"
	"github.com/perchcam/perch/pkg/wire"
)

// FuzzLink takes any bytes from the first on, in one piece and in two; others are served, and nothing stays.
func FuzzLink(f *testing.F) {
	said := func(say func(*tap)) []byte {
		var b bytes.Buffer
		say(&tap{nc: writerConn{w: &b}})
		return b.Bytes()
	}
	shed, md := deviceSetup("shed", "id", 1), to("cam", "x")
	f.Add(said(func(p *tap) {
		p.hello(nil)
		p.write(1, core.FrameTypeRequestResponse, core.FlagMetadata, append([]byte{0, 0, byte(len(md))}, md...)...)
		p.write(3, core.FrameTypeRequestStream, core.FlagMetadata, append([]byte{0, 0, 3, 0xe8, 0, 0, byte(len(md))}, md...)...)
		p.write(3, core.FrameTypeCancel, 0)
	}), 7)
	f.Add(said(func(p *tap) { p.hello(&shed) }), 0)
	f.Add([]byte("GET / HTTP/1.1\r\n\r\n"), 3)
	f.Add([]byte("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"), 5)
	f.Fuzz(func(t *testing.T, data []byte, at int) {
		open(t, Config{FirstFrame: time.Second}, func(h *house) {
			h.camera("cam", named("cam"))
			l := h.laptop()
			p := h.tap()
			at = max(0, min(at, len(data)))
			_, _ = p.nc.Write(data[:at])
			synctest.Wait()
			_, _ = p.nc.Write(data[at:])
			synctest.Wait()
			if got, err := l.ask(to("cam", "x")); got != "cam" || err != nil {
				t.Errorf("the other laptop got %q, %v", got, err)
			}
			_ = p.nc.Close()
			time.Sleep(5 * time.Minute) // what may be resumed has expired
			synctest.Wait()
			if n := len(h.legs); n != 2 {
				t.Errorf("%d sessions are left", n)
			}
			h.wantCalm()
		})
	})
}

// writerConn is a connection that is only written to.
type writerConn struct {
	net.Conn
	w io.Writer
}

func (c writerConn) Write(b []byte) (int, error) { return c.w.Write(b) }

// everyListener is a shop that listens in all ways, with a device on it, and a way to ask that.
func everyListener(t *testing.T, cfg Config) (s *shop, ask func() error) {
	t.Helper()
	a := newAuthority(t)
	a.server("broker.test")
	cfg.Listen = []string{"tcp://127.0.0.1:0", "tls://127.0.0.1:0", "ws://127.0.0.1:0", "wss://127.0.0.1:0"}
	cfg.TLS = TLS{Cert: a.path("server.pem"), Key: a.path("server.key")}
	s = newShop(t, cfg)
	dial := func(ctx context.Context) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "tcp", s.listeners[0].Addr().String())
	}
	s.connect(deviceSetup("cam", "id", 1), named("cam"), dial)
	l, _ := s.connect(laptopSetup(), nil, dial)
	return s, func() error {
		v, err := l.RequestResponse(t.Context(), peer.Payload{Metadata: to("cam", "x", waitTag("5s"))})
		if err == nil && string(v.Data) != "cam" {
			err = errors.New("the answer is " + string(v.Data))
		}
		return err
	}
}

// Links that begin with nothing, or a byte at a time, are gone after the deadline on every kind of port, and hold up nobody.
func TestHalfOpenFlood(t *testing.T) {
	const deadline = 300 * time.Millisecond
	s, ask := everyListener(t, Config{FirstFrame: deadline})
	if err := ask(); err != nil {
		t.Fatal(err)
	}
	beginnings := []string{"\x00\x00\x40", "\x16\x03\x01\x00\xff", "GET /", "\x16\x03\x01\x00\xff"} // as their ports have them
	began := time.Now()
	var work sync.WaitGroup
	for i, text := range beginnings {
		for n := range 40 {
			nc, err := net.Dial("tcp", s.listeners[i].Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			work.Go(func() {
				defer nc.Close()
				for i := 0; n%2 == 0 && i < len(text); i++ {
					_, _ = nc.Write([]byte{text[i]})
					time.Sleep(deadline / 10)
				}
				_ = nc.SetReadDeadline(began.Add(10 * time.Second))
				if _, err := io.Copy(io.Discard, nc); errors.Is(err, context.DeadlineExceeded) || time.Since(began) > 10*time.Second {
					t.Errorf("a link at %s is still there", s.listeners[i])
				}
			})
		}
	}
	for time.Since(began) < deadline {
		before := time.Now()
		if err := ask(); err != nil || time.Since(before) > time.Second {
			t.Errorf("meanwhile: %v after %v", err, time.Since(before))
		}
	}
	work.Wait()
	if n := s.counters[websRefused].Load(); n != 80 {
		t.Errorf("%d of 80 were counted as no WebSockets", n)
	}
}

// Hundreds that connect in one moment are all admitted, and who is there already is served meanwhile.
func TestConnectStorm(t *testing.T) {
	s, ask := everyListener(t, Config{})
	if err := ask(); err != nil {
		t.Fatal(err)
	}
	const many = 500
	var work sync.WaitGroup
	ctx, cancel := context.WithCancel(t.Context())
	start := make(chan struct{})
	for range many {
		p, err := peer.New(peer.Config{})
		if err != nil {
			t.Fatal(err)
		}
		c, err := session.NewClient(session.ClientConfig{Setup: composed(laptopSetup(), true), Dial: func(ctx context.Context) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "tcp", s.listeners[0].Addr().String())
		}}, p)
		if err != nil {
			t.Fatal(err)
		}
		work.Go(func() {
			<-start
			if err := c.Run(ctx); err != nil {
				t.Error(err)
			}
		})
	}
	close(start)
	slowest := time.Duration(0)
	for began := time.Now(); s.counters[sessionsAccepted].Load() < many+2; {
		before := time.Now()
		if err := ask(); err != nil {
			t.Fatal(err)
		}
		slowest = max(slowest, time.Since(before))
		if time.Since(began) > 30*time.Second {
			t.Fatalf("%d sessions after 30 s", s.counters[sessionsAccepted].Load())
		}
	}
	if slowest > 5*time.Second {
		t.Errorf("meanwhile an answer took %v", slowest)
	}
	t.Logf("meanwhile an answer took %v at most", slowest)
	cancel()
	work.Wait()
}

// Fifty viewers that ask for a thousand pictures and never read hold a few each, and hold up nobody.
func TestStuckViewers(t *testing.T) {
	open(t, Config{}, func(h *house) {
		picture := peer.Payload{Data: make([]byte, 100_000)}
		h.camera("cam", peer.Funcs{
			Response: func(context.Context, peer.Payload) (peer.Payload, error) { return picture, nil },
			Stream:   soakDevice(0).RequestStream,
		})
		l := h.laptop()
		for range 50 {
			p := h.deaf()
			p.setup(nil)
			md := to("cam", "x")
			p.send(1, core.FrameTypeRequestStream, core.FlagMetadata, append([]byte{0, 0, 3, 0xe8, 0, 0, byte(len(md))}, md...)...)
		}
		before := time.Now()
		for range 20 {
			if v, err := l.RequestResponse(h.ctx, peer.Payload{Metadata: to("cam", "x")}); len(v.Data) != len(picture.Data) || err != nil {
				t.Fatalf("%d bytes, %v", len(v.Data), err)
			}
		}
		if took := time.Since(before); took > 0 {
			t.Errorf("twenty pictures took %v", took)
		}
		h.mu.Lock()
		defer h.mu.Unlock()
		for c, leg := range h.legs {
			if n := leg.queued(); n > aheadBytes+len(picture.Data) {
				t.Errorf("%d bytes wait for %v", n, c.RemoteAddr())
			}
		}
	})
}

// A stolen resume token is of no use over mTLS with another certificate, and the session that it is of goes on.
func TestStolenResumeTokenOverMTLS(t *testing.T) {
	a := newAuthority(t)
	a.server("broker.test")
	a.client("certified", "")
	a.client("thief", "")
	store, tokens := lock(t)
	if _, err := store.Add(access.Credential{Name: "thief", Role: access.Device, Cert: true}); err != nil {
		t.Fatal(err)
	}
	s := newShop(t, Config{Listen: []string{"tls://127.0.0.1:0"}, Access: store, TLS: TLS{
		Cert: a.path("server.pem"), Key: a.path("server.key"), ClientCA: a.path("authority.pem"),
	}})
	roots := x509.NewCertPool()
	roots.AddCert(a.cert)
	dial := func(client string) (net.Conn, error) {
		cfg := &tls.Config{RootCAs: roots, ServerName: "broker.test"}
		if client != "" {
			pair, err := tls.LoadX509KeyPair(a.path(client+".pem"), a.path(client+".key"))
			if err != nil {
				return nil, err
			}
			cfg.Certificates = []tls.Certificate{pair}
		}
		return (&tls.Dialer{Config: cfg}).DialContext(t.Context(), "tcp", s.listeners[0].Addr().String())
	}
	p, err := peer.New(peer.Config{Handler: named("certified")})
	if err != nil {
		t.Fatal(err)
	}
	var spied spy // hears what the device says, as if TLS were broken
	c, err := session.NewClient(session.ClientConfig{Setup: composed(deviceSetup("certified", "id", 1), true), Dial: func(context.Context) (net.Conn, error) {
		nc, err := dial("certified")
		return spyConn{nc, &spied}, err
	}}, p)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var work sync.WaitGroup
	defer work.Wait()
	defer cancel()
	work.Go(func() { _ = c.Run(ctx) })
	root := laptopSetup()
	root.Auth = wire.Auth{Scheme: wire.AuthBearer, Secret: tokens["root"]}
	l, _ := s.connect(root, nil, func(context.Context) (net.Conn, error) { return dial("") })
	ask := func() {
		t.Helper()
		v, err := l.RequestResponse(t.Context(), peer.Payload{Metadata: to("certified", "x", waitTag("5s"))})
		if err != nil || string(v.Data) != "certified" {
			t.Fatalf("%q, %v", v.Data, err)
		}
	}
	ask()
	for _, client := range []string{"thief", ""} {
		nc, err := dial(client)
		if err != nil {
			t.Fatal(err)
		}
		thief := &tap{nc: nc}
		token := spied.token(t)
		thief.write(0, core.FrameTypeResume, 0, slices.Concat([]byte{0, 1, 0, 0, byte(len(token) >> 8), byte(len(token))}, token, make([]byte, 16))...)
		thief.read() // until the broker hangs up
		if !slices.Equal(thief.got, []string{"ERROR 0"}) || !strings.Contains(thief.text[0], "began with another certificate") {
			t.Errorf("with the certificate %q: %v %q", client, thief.got, thief.text)
		}
		nc.Close()
	}
	ask()
	if n := c.Stats().Links; n != 1 {
		t.Errorf("the device has had %d links", n)
	}
	if n, _, _ := s.server.Stats(); n.RefusedResumes != 2 {
		t.Errorf("%d were counted", n.RefusedResumes)
	}
}

// spy keeps the first frame that is written.
type spy struct {
	mu    sync.Mutex
	first []byte
}

type spyConn struct {
	net.Conn
	spy *spy
}

func (c spyConn) Write(b []byte) (int, error) {
	c.spy.mu.Lock()
	c.spy.first = append(c.spy.first, b[:min(len(b), max(0, 200-len(c.spy.first)))]...)
	c.spy.mu.Unlock()
	return c.Conn.Write(b)
}

// token returns the resume token of a SETUP.
func (s *spy) token(t *testing.T) []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	const at = 3 + 6 + 12
	n := int(s.first[at])<<8 | int(s.first[at+1])
	if n == 0 || n > 100 {
		t.Fatalf("a token of %d bytes", n)
	}
	return s.first[at+2 : at+2+n]
}
