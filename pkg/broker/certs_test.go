package broker

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rsocket/rsocket-go/core"

	"github.com/perchcam/perch/pkg/broker/access"
	"github.com/perchcam/perch/pkg/peer"
	"github.com/perchcam/perch/pkg/session"
	"github.com/perchcam/perch/pkg/wire"
)

// authority signs certificates for a test.
type authority struct {
	t    *testing.T
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	n    int64
}

func newAuthority(t *testing.T) *authority {
	a := &authority{t: t, dir: t.TempDir()}
	a.key, a.cert = a.make("authority", func(c *x509.Certificate) {
		c.IsCA, c.BasicConstraintsValid, c.KeyUsage = true, true, x509.KeyUsageCertSign|x509.KeyUsageCRLSign
	})
	return a
}

// make writes NAME.pem and NAME.key.
func (a *authority) make(name string, shape func(*x509.Certificate)) (*ecdsa.PrivateKey, *x509.Certificate) {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	a.n++
	c := &x509.Certificate{
		SerialNumber: big.NewInt(a.n), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	shape(c)
	parent, signer := a.cert, a.key
	if parent == nil {
		parent, signer = c, key
	}
	der, err := x509.CreateCertificate(rand.Reader, c, parent, key.Public(), signer)
	if err != nil {
		a.t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		a.t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		a.t.Fatal(err)
	}
	a.write(name+".pem", "CERTIFICATE", der)
	a.write(name+".key", "PRIVATE KEY", pkcs8)
	return key, cert
}

func (a *authority) write(name, kind string, der []byte) {
	a.t.Helper()
	if err := os.WriteFile(a.path(name), pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		a.t.Fatal(err)
	}
}

func (a *authority) path(name string) string { return filepath.Join(a.dir, name) }

func (a *authority) server(names ...string) *x509.Certificate {
	_, c := a.make("server", func(c *x509.Certificate) {
		c.DNSNames, c.IPAddresses = names, []net.IP{net.IPv4(127, 0, 0, 1)}
		c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	})
	return c
}

func (a *authority) client(dns string, uri string) *x509.Certificate {
	name := dns + uri
	_, c := a.make(filepath.Base(name), func(c *x509.Certificate) {
		c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
		if dns != "" {
			c.DNSNames = []string{dns}
		}
		if uri != "" {
			u, _ := url.Parse(uri)
			c.URIs = []*url.URL{u}
		}
	})
	return c
}

func (a *authority) revoke(certs ...*x509.Certificate) {
	a.t.Helper()
	list := &x509.RevocationList{Number: big.NewInt(time.Now().UnixNano()), ThisUpdate: time.Now(), NextUpdate: time.Now().Add(time.Hour)}
	for _, c := range certs {
		list.RevokedCertificateEntries = append(list.RevokedCertificateEntries, x509.RevocationListEntry{SerialNumber: c.SerialNumber, RevocationTime: time.Now()})
	}
	der, err := x509.CreateRevocationList(rand.Reader, list, a.cert, a.key)
	if err != nil {
		a.t.Fatal(err)
	}
	a.write("crl.pem", "X509 CRL", der)
}

// shop is a broker on real sockets.
type shop struct {
	t *testing.T
	*Broker
	work sync.WaitGroup
	stop context.CancelFunc
}

func newShop(t *testing.T, cfg Config) *shop {
	t.Helper()
	b, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Listen(); err != nil {
		t.Fatal(err)
	}
	s := &shop{t: t, Broker: b}
	b.cfg.Grace = 1
	var ctx context.Context
	ctx, s.stop = context.WithCancel(context.Background())
	s.work.Go(func() {
		if err := b.Run(ctx, ctx); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() {
		s.stop()
		s.work.Wait()
	})
	return s
}

// connect runs a client over dial; how it ends is sent.
func (s *shop) connect(setup wire.Setup, h peer.Handler, dial func(context.Context) (net.Conn, error)) (peer.Requester, chan error) {
	s.t.Helper()
	p, err := peer.New(peer.Config{Handler: h})
	if err != nil {
		s.t.Fatal(err)
	}
	c, err := session.NewClient(session.ClientConfig{Setup: composed(setup, false), Dial: dial}, p)
	if err != nil {
		s.t.Fatal(err)
	}
	ended := make(chan error, 1)
	s.work.Go(func() { ended <- c.Run(context.Background()) })
	return p.Requester(c.Conn), ended
}

func (s *shop) tls(i int, cfg *tls.Config) func(context.Context) (net.Conn, error) {
	return func(ctx context.Context) (net.Conn, error) {
		return (&tls.Dialer{Config: cfg}).DialContext(ctx, "tcp", s.listeners[i].Addr().String())
	}
}

func TestTLS(t *testing.T) {
	a := newAuthority(t)
	a.server("broker.test")
	a.client("certified", "")
	a.client("", "spiffe://house/garden")
	gone := a.client("gone", "")
	a.revoke(gone)
	store, tokens := lock(t)
	if _, err := store.Add(access.Credential{Name: "gone", Role: access.Device, Cert: true}); err != nil {
		t.Fatal(err)
	}
	var out logged
	s := newShop(t, Config{
		Listen: []string{"tls://127.0.0.1:0"}, Access: store, Log: slog.New(slog.NewTextHandler(&out, nil)),
		TLS: TLS{Cert: a.path("server.pem"), Key: a.path("server.key"), ClientCA: a.path("authority.pem"), ClientCRL: a.path("crl.pem")},
	})
	roots := x509.NewCertPool()
	roots.AddCert(a.cert)
	trust := func(client string) *tls.Config {
		cfg := &tls.Config{RootCAs: roots, ServerName: "broker.test"}
		if client != "" {
			pair, err := tls.LoadX509KeyPair(a.path(client+".pem"), a.path(client+".key"))
			if err != nil {
				t.Fatal(err)
			}
			cfg.Certificates = []tls.Certificate{pair}
		}
		return cfg
	}

	s.connect(deviceSetup("certified", "id", 1), named("by certificate"), s.tls(0, trust("certified")))
	laptop := laptopSetup()
	laptop.Auth = wire.Auth{Scheme: wire.AuthBearer, Secret: tokens["root"]}
	l, _ := s.connect(laptop, nil, s.tls(0, trust("")))
	v, err := l.RequestResponse(t.Context(), peer.Payload{Metadata: to("certified", "x", waitTag("5s"))})
	if err != nil || string(v.Data) != "by certificate" {
		t.Fatalf("%q, %v", v.Data, err)
	}

	for name, c := range map[string]struct {
		client string
		setup  wire.Setup
		text   string
	}{
		"a certificate nobody knows": {"garden", deviceSetup("garden", "id", 1), "not known here"},
		"another's certificate":      {"certified", deviceSetup("front-door", "id", 1), `not for device "front-door"`},
		"no certificate":             {"", deviceSetup("certified", "id", 1), "credentials are needed"},
		"a revoked one":              {"gone", deviceSetup("gone", "id", 1), "tls"},
	} {
		_, ended := s.connect(c.setup, nil, s.tls(0, trust(c.client)))
		err := <-ended
		if err == nil || !strings.Contains(err.Error(), c.text) {
			t.Errorf("%s: %v", name, err)
		}
		if e, ok := errors.AsType[*session.Error](err); ok && e.Code != core.ErrorCodeRejectedSetup {
			t.Errorf("%s: %v", name, e.Code)
		}
	}

	// Neither old TLS nor none.
	old := trust("")
	old.MinVersion, old.MaxVersion = tls.VersionTLS11, tls.VersionTLS11
	if nc, err := s.tls(0, old)(t.Context()); err == nil {
		nc.Close()
		t.Error("TLS 1.1 was spoken")
	}
	nc, err := net.Dial("tcp", s.listeners[0].Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	_, _ = nc.Write([]byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n"))
	_ = nc.SetReadDeadline(time.Now().Add(5 * time.Second))
	if _, err := nc.Read(make([]byte, 100)); errors.Is(err, os.ErrDeadlineExceeded) {
		t.Error("plain text was not answered")
	}
}

// logged is a log that may be written and read at once.
type logged struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logged) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(b)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func TestCertificatesAreReadAgain(t *testing.T) {
	a := newAuthority(t)
	first := a.server("one.test")
	cert := a.client("laptop", "")
	a.revoke()
	var out logged
	c, err := newCerts(TLS{Cert: a.path("server.pem"), Key: a.path("server.key"), ClientCA: a.path("authority.pem"), ClientCRL: a.path("crl.pem")}, slog.New(slog.NewTextHandler(&out, nil)))
	if err != nil {
		t.Fatal(err)
	}
	shown := func() []byte {
		c.mu.Lock()
		c.looked = time.Time{} // a second is over
		c.mu.Unlock()
		return c.current().Certificates[0].Certificate[0]
	}
	state := tls.ConnectionState{VerifiedChains: [][]*x509.Certificate{{cert, a.cert}}}
	if !bytes.Equal(shown(), first.Raw) || c.current().VerifyConnection(state) != nil {
		t.Error("at first")
	}
	second := a.server("two.test")
	a.revoke(cert)
	if !bytes.Equal(shown(), second.Raw) || c.current().VerifyConnection(state) == nil {
		t.Error("after both have changed")
	}
	if err := os.WriteFile(a.path("server.pem"), []byte("half a file"), 0o600); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(shown(), second.Raw) || !strings.Contains(out.String(), "going on with the old ones") {
		t.Errorf("after a broken file:\n%s", out.String())
	}
	third := a.server("three.test")
	if !bytes.Equal(shown(), third.Raw) {
		t.Error("after it was mended")
	}

	// What cannot be used is said at the start.
	other := newAuthority(t)
	other.revoke()
	for name, files := range map[string]TLS{
		"no key":      {Cert: a.path("server.pem"), Key: a.path("nothing")},
		"wrong key":   {Cert: a.path("server.pem"), Key: a.path("laptop.key")},
		"no CA":       {Cert: a.path("server.pem"), Key: a.path("server.key"), ClientCA: a.path("server.key")},
		"foreign CRL": {Cert: a.path("server.pem"), Key: a.path("server.key"), ClientCA: a.path("authority.pem"), ClientCRL: other.path("crl.pem")},
	} {
		if _, err := newCerts(files, nil); err == nil {
			t.Errorf("%s: it was taken", name)
		}
	}
}

// With credentials the broker may be reached from elsewhere, but not in plain text.
func TestListenWithCredentials(t *testing.T) {
	a := newAuthority(t)
	a.server("broker.test")
	store, _ := lock(t)
	files := TLS{Cert: a.path("server.pem"), Key: a.path("server.key")}
	for _, c := range []struct {
		url  string
		cfg  Config
		text string
	}{
		{"tls://0.0.0.0:0", Config{Access: store, TLS: files}, ""},
		{"tls://:0", Config{Access: store, TLS: files}, ""},
		{"tls://:0", Config{Access: store}, "needs a certificate"},
		{"tls://0.0.0.0:0", Config{TLS: files}, "serves this machine only"},
		{"tls://127.0.0.1:0", Config{TLS: files}, ""},
		{"tcp://0.0.0.0:0", Config{Access: store}, "for all to read"},
		{"tcp://0.0.0.0:0", Config{Access: store, Insecure: true}, ""},
		{"tcp://0.0.0.0:0", Config{Insecure: true}, "serves this machine only"},
		{"tcp://127.0.0.1:0", Config{Access: store}, ""},
	} {
		c.cfg.Listen = []string{c.url}
		b, err := New(c.cfg)
		if err == nil {
			if err = b.Listen(); err == nil {
				b.listeners[0].close()
			}
		}
		if fmt.Sprint(err) != "<nil>" && c.text == "" || c.text != "" && (err == nil || !strings.Contains(err.Error(), c.text)) {
			t.Errorf("%s with %v, %v: %v", c.url, c.cfg.Access != nil, c.cfg.Insecure, err)
		}
	}
}
