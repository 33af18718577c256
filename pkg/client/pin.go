package client

import (
	"crypto/tls"

	"github.com/perchcam/perch/pkg/link"
)

// ErrPin is among the causes of an ErrUnreachable: whoever answered does not have the pinned key.
var ErrPin = link.ErrPin

// Pinned returns how to know a broker by its key alone, with a pin as perch-broker prints it, such as "sha256:…": neither names
// nor dates in its certificate nor who signed it count then.
func Pinned(pin string) (*tls.Config, error) {
	var p link.Pin
	if err := p.UnmarshalText([]byte(pin)); err != nil {
		return nil, invalid(err)
	}
	cfg := &tls.Config{MinVersion: tls.VersionTLS12}
	p.Apply(cfg)
	return cfg, nil
}
