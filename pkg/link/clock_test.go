package link

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"math/big"
	"net"
	"strings"
	"sync"
	"testing"
	"time"
)

// dated is a TLS server whose certificate counts from one day to another, and a configuration that trusts it.
func dated(t *testing.T, from, to time.Time) (URL, *tls.Config) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	of := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: from, NotAfter: to, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, of, of, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}})
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
			serving.Go(func() {
				_, _ = nc.Read(make([]byte, 1))
				nc.Close()
			})
		}
	})
	t.Cleanup(func() { l.Close(); serving.Wait() })
	roots := x509.NewCertPool()
	roots.AddCert(leaf)
	return address(t, TLS, "https://"+l.Addr().String(), ""), &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}
}

func day(y, d int) time.Time { return time.Date(y, 1, d, 0, 0, 0, 0, time.UTC) }

func TestWrongClock(t *testing.T) {
	built := day(2026, 100)
	u, trust := dated(t, day(2026, 90), day(2028, 1))
	cases := []struct {
		name   string
		clock  time.Time
		synced bool
		says   string // "" connects
	}{
		{"1970", day(1970, 1), false, ""},
		{"a day before it was built", built.Add(-24 * time.Hour), false, ""},
		{"right", day(2027, 1), true, ""},
		{"2106", day(2106, 1), false, "and by this machine's clock, which no time source has set, it is 2106-01-01"},
		{"2106 and set", day(2106, 1), true, "expired"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			clock := &Clock{Floor: func() time.Time { return built }, Synced: func() bool { return c.synced }, Now: func() time.Time { return c.clock }}
			nc, err := (&Dialer{TLS: trust, Clock: clock}).Dial(t.Context(), u)
			if err == nil {
				nc.Close()
			}
			if c.says == "" && err != nil || c.says != "" && (err == nil || !strings.Contains(err.Error(), c.says)) {
				t.Errorf("got %v, want %q", err, c.says)
			}
		})
	}
}

func TestAcceptedTooEarlyIsJudgedAgain(t *testing.T) {
	for _, c := range []struct {
		name  string
		set   time.Time
		stays bool
	}{{"it stands", day(2027, 1), true}, {"it had expired", day(2029, 1), false}} {
		t.Run(c.name, func(t *testing.T) {
			u, trust := dated(t, day(2026, 1), day(2028, 1))
			now, synced := day(1970, 1), false
			clock := &Clock{Floor: func() time.Time { return day(2026, 100) }, Synced: func() bool { return synced }, Now: func() time.Time { return now }}
			nc, err := (&Dialer{TLS: trust, Clock: clock}).Dial(t.Context(), u)
			if err != nil {
				t.Fatal(err)
			}
			defer nc.Close()
			now, synced = c.set, true
			if closed := clock.Recheck(); closed == c.stays {
				t.Errorf("closed: %v", closed)
			}
			_ = nc.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
			_, err = nc.Read(make([]byte, 1))
			if errors.Is(err, net.ErrClosed) == c.stays {
				t.Errorf("reading says %v", err)
			}
			if clock.Recheck() {
				t.Error("it is judged for ever")
			}
		})
	}
}

func TestClockStepsEnds(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- ClockSteps(ctx, func() { t.Error("nobody set the clock") }) }()
	time.AfterFunc(50*time.Millisecond, cancel)
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
