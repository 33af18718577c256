package client

import (
	"crypto/sha256"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
)

// pinPrefix begins a pin: the hash of the SubjectPublicKeyInfo follows in unpadded URL-safe base64 (RFC 7469, section 2.4,
// names the hash; perch-broker prints pins).
const pinPrefix = "sha256:"

// Pinned returns how to know a broker by its key alone, such as "sha256:…": neither names nor dates in its certificate nor who
// signed it count then.
func Pinned(pin string) (*tls.Config, error) {
	text, ok := strings.CutPrefix(pin, pinPrefix)
	want, err := base64.RawURLEncoding.DecodeString(text)
	if !ok || err != nil || len(want) != sha256.Size {
		return nil, invalid(fmt.Errorf("%q is no pin: it is like %s and 43 letters, as perch-broker prints it", pin, pinPrefix))
	}
	return &tls.Config{
		MinVersion:         tls.VersionTLS12,
		InsecureSkipVerify: true, // what is skipped is done below, by the key
		VerifyConnection: func(s tls.ConnectionState) error {
			if got := sha256.Sum256(s.PeerCertificates[0].RawSubjectPublicKeyInfo); string(got[:]) != string(want) {
				return errors.New("the broker's key is not the pinned one: either it was made anew, or this is another broker")
			}
			return nil
		},
	}, nil
}
