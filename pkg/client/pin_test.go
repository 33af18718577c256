package client_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"math/big"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/perchcam/perch/pkg/client"
)

// selfSigned is a certificate that expired long ago, for no name, and its pin.
func selfSigned(t *testing.T) (tls.Certificate, string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Unix(0, 0), NotAfter: time.Unix(1, 0)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(cert.RawSubjectPublicKeyInfo)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, "sha256:" + base64.RawURLEncoding.EncodeToString(sum[:])
}

func TestPinned(t *testing.T) {
	cert, pin := selfSigned(t)
	_, other := selfSigned(t)
	for name, tc := range map[string]struct {
		pin string
		ok  bool
	}{"right": {pin, true}, "another key": {other, false}} {
		cfg, err := client.Pinned(tc.pin)
		if err != nil {
			t.Fatal(err)
		}
		a, b := net.Pipe()
		served := make(chan error, 1)
		go func() {
			s := tls.Server(b, &tls.Config{Certificates: []tls.Certificate{cert}})
			err := s.Handshake()
			_ = b.Close()
			served <- err
		}()
		err = tls.Client(a, cfg).Handshake()
		_ = a.Close()
		<-served
		if (err == nil) != tc.ok {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, bad := range []string{"", "sha256:", pin[:20], pin + "A", strings.Replace(pin, "256", "1", 1)} {
		if _, err := client.Pinned(bad); !errors.Is(err, client.ErrInvalid) {
			t.Errorf("pin %q: %v", bad, err)
		}
	}
}
