package broker

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"
)

// TLS says what the broker shows to those who connect by TLS, and what it wants to see. All are names of PEM files; they are
// read again when they have changed.
type TLS struct {
	Cert, Key string
	ClientCA  string // issues the certificates of clients; "" asks for none
	ClientCRL string // those of them that are revoked
}

// certs makes the configuration of each TLS handshake.
type certs struct {
	files TLS
	log   *slog.Logger

	mu     sync.Mutex // guards the following
	cfg    *tls.Config
	stamp  string    // of the files that cfg is of
	looked time.Time // when the files were looked at
}

// newCerts reads the files once, to say what is wrong with them.
func newCerts(files TLS, log *slog.Logger) (*certs, error) {
	c := &certs{files: files, log: log}
	c.stamp = c.look()
	var err error
	c.cfg, err = c.load()
	return c, err
}

// config is what a listener uses.
func (c *certs) config() *tls.Config {
	return &tls.Config{
		MinVersion:         tls.VersionTLS12,
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) { return c.current(), nil },
	}
}

// current returns the configuration of the files as they are, looked at once a second at most. Files that cannot be
// used leave what was there before.
func (c *certs) current() *tls.Config {
	c.mu.Lock()
	defer c.mu.Unlock()
	if time.Since(c.looked) < time.Second {
		return c.cfg
	}
	if now := c.look(); now != c.stamp {
		c.stamp = now
		if cfg, err := c.load(); err != nil {
			c.log.Error("cannot use the changed certificates, going on with the old ones", "err", err)
		} else {
			c.cfg = cfg
			c.log.Info("certificates read again")
		}
	}
	return c.cfg
}

func (c *certs) look() (stamp string) {
	c.looked = time.Now()
	for _, name := range []string{c.files.Cert, c.files.Key, c.files.ClientCA, c.files.ClientCRL} {
		if name == "" {
			continue
		}
		info, err := os.Stat(name)
		if err != nil {
			stamp += err.Error()
			continue
		}
		stamp += fmt.Sprint(info.ModTime().UnixNano(), info.Size(), " ")
	}
	return stamp
}

func (c *certs) load() (*tls.Config, error) {
	pair, err := tls.LoadX509KeyPair(c.files.Cert, c.files.Key)
	if err != nil {
		return nil, fmt.Errorf("cannot use the certificate: %w", err)
	}
	cfg := &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{pair}}
	if c.files.ClientCA == "" {
		return cfg, nil
	}
	data, err := os.ReadFile(c.files.ClientCA)
	if err != nil {
		return nil, fmt.Errorf("cannot read the authority of client certificates: %w", err)
	}
	cfg.ClientCAs = x509.NewCertPool()
	authorities, err := parseCerts(data)
	if err != nil {
		return nil, fmt.Errorf("cannot use %s: %w", c.files.ClientCA, err)
	}
	for _, ca := range authorities {
		cfg.ClientCAs.AddCert(ca)
	}
	cfg.ClientAuth = tls.VerifyClientCertIfGiven
	if c.files.ClientCRL == "" {
		return cfg, nil
	}
	revoked, err := loadCRL(c.files.ClientCRL, authorities)
	if err != nil {
		return nil, fmt.Errorf("cannot use %s: %w", c.files.ClientCRL, err)
	}
	// Unlike VerifyPeerCertificate this is called for resumed TLS sessions too.
	cfg.VerifyConnection = func(cs tls.ConnectionState) error {
		for _, chain := range cs.VerifiedChains {
			for _, cert := range chain {
				if revoked[revocation{string(cert.RawIssuer), cert.SerialNumber.String()}] {
					return errors.New("the certificate is revoked")
				}
			}
		}
		return nil
	}
	return cfg, nil
}

func parseCerts(data []byte) (all []*x509.Certificate, err error) {
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, err
		}
		all = append(all, cert)
	}
	if len(all) == 0 {
		return nil, errors.New("it holds no certificate")
	}
	return all, nil
}

// revocation names a certificate as lists of revoked ones do.
type revocation struct{ issuer, serial string }

// loadCRL reads revocation lists that one of the authorities has signed.
func loadCRL(name string, authorities []*x509.Certificate) (map[revocation]bool, error) {
	data, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	revoked := map[revocation]bool{}
	lists := 0
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		list, err := x509.ParseRevocationList(block.Bytes)
		if err != nil {
			return nil, err
		}
		signed := false
		for _, ca := range authorities {
			signed = signed || bytes.Equal(ca.RawSubject, list.RawIssuer) && list.CheckSignatureFrom(ca) == nil
		}
		if !signed {
			return nil, fmt.Errorf("the list of %v is signed by none of the authorities", list.Issuer)
		}
		for _, e := range list.RevokedCertificateEntries {
			revoked[revocation{string(list.RawIssuer), e.SerialNumber.String()}] = true
		}
		lists++
	}
	if lists == 0 {
		return nil, errors.New("it holds no revocation list")
	}
	return revoked, nil
}
