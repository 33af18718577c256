package link

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
)

const pinPrefix = "sha256:"

// Pin knows a broker by its key alone: the SHA-256 of the SubjectPublicKeyInfo of its certificate. Neither names nor dates nor who
// signed it count then, so it works with a wrong clock. The zero value is none.
type Pin string

// UnmarshalText reads a pin as perch-broker prints it: sha256: and 43 letters of URL-safe base64.
func (p *Pin) UnmarshalText(text []byte) error {
	b64, ok := strings.CutPrefix(string(text), pinPrefix)
	sum, err := base64.RawURLEncoding.DecodeString(b64)
	if !ok || err != nil || len(sum) != sha256.Size {
		return fmt.Errorf("%q is no pin: it is like %s and 43 letters, as perch-broker prints it", clip(string(text)), pinPrefix)
	}
	*p = Pin(text)
	return nil
}

// PinOf returns the pin of a certificate.
func PinOf(c *x509.Certificate) Pin {
	sum := sha256.Sum256(c.RawSubjectPublicKeyInfo)
	return Pin(pinPrefix + base64.RawURLEncoding.EncodeToString(sum[:]))
}

// ErrPin says that whoever answered does not have the pinned key.
var ErrPin = errors.New("the broker's key is not the pinned one: either it was made anew, or this is another broker")

// Apply makes cfg trust the pin and nothing else.
func (p Pin) Apply(cfg *tls.Config) {
	cfg.InsecureSkipVerify = true // what is skipped is done here, by the key
	cfg.VerifyConnection = func(s tls.ConnectionState) error {
		if PinOf(s.PeerCertificates[0]) != p {
			return ErrPin
		}
		return nil
	}
}
