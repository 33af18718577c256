package agent

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/perchcam/perch/pkg/link"
	"github.com/perchcam/perch/pkg/session"
	"github.com/perchcam/perch/pkg/wire"
)

// identity is a certificate with its key, signed by itself.
type identity struct {
	tls.Certificate
	cert, key string // in PEM form
}

func newIdentity(t *testing.T, name string, from, to time.Time) identity {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	of := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: from, NotAfter: to, DNSNames: []string{name}, IsCA: true, BasicConstraintsValid: true}
	if ip := net.ParseIP(name); ip != nil {
		of.DNSNames, of.IPAddresses = nil, []net.IP{ip}
	}
	der, err := x509.CreateCertificate(rand.Reader, of, of, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	text := func(kind string, b []byte) string {
		return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: b}))
	}
	return identity{tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, text("CERTIFICATE", der), text("PRIVATE KEY", pkcs8)}
}

// secure puts TLS before a broker and returns the address.
func secure(t *testing.T, b *broker, cfg *tls.Config) string {
	t.Helper()
	l, err := tls.Listen("tcp", "127.0.0.1:0", cfg)
	if err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	pass := func(from net.Conn) {
		defer from.Close()
		if from.(*tls.Conn).Handshake() != nil {
			return
		}
		to, err := net.Dial("tcp", strings.TrimPrefix(b.addr, "tcp://"))
		if err != nil {
			return
		}
		defer to.Close()
		serving.Go(func() {
			_, _ = io.Copy(to, from)
			_ = to.(*net.TCPConn).CloseWrite()
		})
		_, _ = io.Copy(from, to)
	}
	serving.Go(func() {
		for {
			nc, err := l.Accept()
			if err != nil {
				return
			}
			serving.Go(func() { pass(nc) })
		}
	})
	t.Cleanup(func() { l.Close(); serving.Wait() })
	return "tls://" + l.Addr().String()
}

// What check says of certificates, the broker's and the device's own, on real handshakes.
func TestCheckOfCertificates(t *testing.T) {
	const day = 24 * time.Hour
	now := time.Now()
	ours := func(from, to time.Duration) identity {
		return newIdentity(t, "127.0.0.1", now.Add(from), now.Add(to))
	}
	good, old, early, ending := ours(-day, 90*day), ours(-9*day, -day), ours(day, 9*day), ours(-day, 3*day+time.Hour)
	other := newIdentity(t, "broker.example", now.Add(-day), now.Add(90*day))
	cases := []struct {
		name                string
		broker              identity
		own                 *identity
		known               *identity // the device that the broker asks for
		trusted, unsynced   bool
		status, about, says string
		next                string
	}{
		{"good", good, nil, nil, true, false, OK, "certificate", "TLS 1.3 for 127.0.0.1, until " + now.Add(90*day).UTC().Format(time.DateOnly), ""},
		{"ending", ending, nil, nil, true, false, Warn, "certificate", "in 3 days", "a new certificate"},
		{"over", old, nil, nil, true, false, Fail, "broker", "expired", "the broker needs a new certificate"},
		{"over, or is the clock wrong", old, nil, nil, true, true, Fail, "broker", "by this machine's clock, which no time source has set", "is this machine's clock right"},
		{"not yet", early, nil, nil, true, true, Fail, "broker", "the certificate counts from", "is this machine's clock right"},
		{"another name", other, nil, nil, true, false, Fail, "broker", "127.0.0.1", "the broker's certificate is for broker.example"},
		{"signed by nobody", good, nil, nil, false, false, Fail, "broker", "unknown authority", "PERCH_BROKER_PIN"},
		{"ours is good", good, &good, &good, true, false, OK, "own certificate", "it counts until", ""},
		{"ours is ending", good, &ending, &ending, true, false, Warn, "own certificate", "for 3 days", "make a new one"},
		{"ours is over", good, &old, &good, true, false, Fail, "own certificate", "it counted until", "make a new one"},
		{"ours is not yet", good, &early, &good, true, false, Fail, "own certificate", "it counts from", "timedatectl"},
		{"ours is missing", good, nil, &good, true, false, Fail, "broker", "certificate required", "PERCH_TLS_CERT"},
		{"ours is a stranger's", good, &other, &good, true, false, Fail, "broker", "unknown certificate authority", "PERCH_TLS_CERT"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			server := &tls.Config{Certificates: []tls.Certificate{c.broker.Certificate}}
			if c.known != nil {
				server.ClientAuth, server.ClientCAs = tls.RequireAndVerifyClientCert, x509.NewCertPool()
				server.ClientCAs.AppendCertsFromPEM([]byte(c.known.cert))
			}
			dir := folder{t, t.TempDir()}
			cfg := sample(t)
			var err error
			if cfg.Broker, err = link.ParseURLs(secure(t, newBroker(t), server)); err != nil {
				t.Fatal(err)
			}
			if c.trusted {
				cfg.TLSCa = dir.put("ca", c.broker.cert, 0o644)
			}
			if c.own != nil {
				cfg.TLSCert, cfg.TLSKey = dir.put("cert", c.own.cert, 0o644), dir.put("key", c.own.key, 0o600)
			}
			d := healthy()
			d.resolve, d.dial, d.synced = resolve, func(l *link.Dialer) dialFunc {
				l.Clock.Synced = func() bool { return !c.unsynced }
				return l.Dial
			}, func() bool { return !c.unsynced }
			list := d.Check(t.Context(), cfg, nil)
			for _, f := range list {
				if f.Status == c.status && f.About == c.about && strings.Contains(f.Text, c.says) && strings.Contains(f.Next, c.next) {
					return
				}
			}
			var out bytes.Buffer
			Print(&out, list)
			t.Errorf("it does not say %s %s %q → %q:\n%s", c.status, c.about, c.says, c.next, out.String())
		})
	}
}

// What check says when the broker refuses the device.
func TestCheckOfARefusal(t *testing.T) {
	srv, err := session.NewServer(session.ServerConfig{Accept: func(c *session.Conn) (session.Receiver, error) {
		who, err := wire.ParseSetup(c.Setup().Metadata)
		if err != nil {
			return nil, err
		}
		if who.Auth.Secret == "" {
			return nil, session.Errorf(session.CodeRejectedSetup, "credentials are needed")
		}
		return nil, session.Errorf(session.CodeRejectedSetup, "these credentials are not known\x1b[31m")
	}})
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			nc, err := l.Accept()
			if err != nil {
				return
			}
			serving.Go(func() { _ = srv.Serve(nc) })
		}
	})
	defer serving.Wait()
	defer l.Close()
	for _, c := range []struct{ token, says, next string }{
		{"", "it refuses this device: credentials are needed", "perch-broker add device nest prints a token"},
		{"t0ken", "it refuses this device: these credentials are not known", "is the token in PERCH_TOKEN_FILE"},
	} {
		cfg := sample(t)
		if cfg.Broker, err = link.ParseURLs("tcp://" + l.Addr().String()); err != nil {
			t.Fatal(err)
		}
		if c.token != "" {
			cfg.TokenFile = folder{t, t.TempDir()}.put("token", c.token, 0o600)
		}
		d := healthy()
		d.resolve, d.dial = resolve, func(l *link.Dialer) dialFunc { return l.Dial }
		var out bytes.Buffer
		Print(&out, d.Check(t.Context(), cfg, nil))
		if s := out.String(); !strings.Contains(s, c.says) || !strings.Contains(s, "→ "+c.next) || strings.Contains(s, "\x1b") || c.token != "" && strings.Contains(s, c.token+"\n") {
			t.Errorf("it says\n%s", s)
		}
	}
}
