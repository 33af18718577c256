package agent

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/perchcam/perch/pkg/wire"
)

// files reads what the configuration names. The unit gives the agent, which may not read a file of root's, copies of what is in
// /etc/perch (systemd.exec(5), LoadCredential=perch:/etc/perch): /etc/perch/token is then perch_token in a folder of its own.
type files struct {
	credentials string // that folder, "" without
	state       string // where the agent may write, "" without
}

const (
	credentialSource = "/etc/perch"
	maxSecret        = 64 << 10
)

func (f files) read(path string) ([]byte, error) {
	r, err := os.Open(f.place(path))
	if err != nil {
		return nil, err
	}
	defer r.Close()
	b, err := io.ReadAll(io.LimitReader(r, maxSecret+1))
	if err == nil && len(b) > maxSecret {
		err = fmt.Errorf("%s has more than %d bytes", path, maxSecret)
	}
	return b, err
}

// secret reads a file that others must not be able to read. The unit's copy of it never is one that they can, so it is the file
// itself that is looked at.
func (f files) secret(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err == nil && info.Mode().Perm()&0o007 != 0 {
		return nil, fmt.Errorf("everybody may read or change %s: chmod o= %s", path, path)
	}
	return f.read(path)
}

func (f files) place(path string) string {
	if f.credentials != "" && filepath.Dir(filepath.Clean(path)) == credentialSource {
		copied := filepath.Join(f.credentials, "perch_"+filepath.Base(path))
		if _, err := os.Stat(copied); err == nil {
			return copied
		}
	}
	return path
}

// auth is what admits this device. It is read anew for each session: what an enrolment brought is used from the next one on. A token in
// /etc/perch that its owner has changed needs a restart, for the unit's copies are made when it starts.
func (f files) auth(c Config) (wire.Auth, error) {
	if c.TokenFile == "" {
		return wire.Auth{}, nil
	}
	token, err := f.token(c)
	if err != nil {
		return wire.Auth{}, err
	}
	if o, ok := f.exchanged(token); ok {
		token = o
	}
	return wire.Auth{Scheme: wire.AuthBearer, Secret: token}, nil
}

// token reads the token that its owner gave this device.
func (f files) token(c Config) (string, error) {
	b, err := f.secret(c.TokenFile)
	if err != nil {
		return "", fmt.Errorf("%s_TOKEN_FILE: %w", prefix, err)
	}
	token := strings.TrimSpace(string(b))
	if !isToken(token) {
		return "", fmt.Errorf("%s_TOKEN_FILE: %s does not hold a token and nothing else", prefix, c.TokenFile)
	}
	return token, nil
}

func isToken(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' })
}

// trust is whom this device trusts, and what it shows. The error lists everything that is wrong.
func (f files) trust(c Config) (*tls.Config, error) {
	cfg := &tls.Config{MinVersion: tls.VersionTLS12}
	var errs []error
	if c.BrokerPin != "" {
		c.BrokerPin.Apply(cfg)
	}
	if c.TLSCa != "" {
		pem, err := f.read(c.TLSCa)
		cfg.RootCAs = x509.NewCertPool()
		if err == nil && !cfg.RootCAs.AppendCertsFromPEM(pem) {
			err = fmt.Errorf("%s holds no certificate in PEM form", c.TLSCa)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("%s_TLS_CA: %w", prefix, err))
		}
	}
	if c.TLSCert != "" {
		if pair, err := f.pair(c); err != nil {
			errs = append(errs, err)
		} else {
			cfg.Certificates = []tls.Certificate{pair}
		}
	}
	return cfg, errors.Join(errs...)
}

func (f files) pair(c Config) (tls.Certificate, error) {
	cert, err := f.read(c.TLSCert)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("%s_TLS_CERT: %w", prefix, err)
	}
	key, err := f.secret(c.TLSKey)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("%s_TLS_KEY: %w", prefix, err)
	}
	pair, err := tls.X509KeyPair(cert, bytes.TrimSpace(key))
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("%s_TLS_CERT, %s_TLS_KEY: %s and %s make no pair: %w", prefix, prefix, c.TLSCert, c.TLSKey, err)
	}
	return pair, nil
}
