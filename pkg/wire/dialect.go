package wire

import "fmt"

// Dialect is a way to say the same to different brokers.
type Dialect uint8

const (
	// RSocketBroker speaks in frames of rsocket-broker, and is native to Perch's own broker.
	RSocketBroker Dialect = iota
	// Alibaba speaks as clients of Alibaba's RSocket broker do: JSON in SETUP, `e=key:value` in routing tags.
	Alibaba
	// Plain uses routing tags only: the route, then `key=value`. Any RSocket client can write it.
	Plain
)

var dialectNames = [...]string{RSocketBroker: "rsocket-broker", Alibaba: "alibaba", Plain: "plain"}

func (d Dialect) String() string {
	if int(d) < len(dialectNames) {
		return dialectNames[d]
	}
	return fmt.Sprintf("dialect %d", uint8(d))
}

// UnmarshalText reads a dialect's name, so that settings and flags can hold one.
func (d *Dialect) UnmarshalText(text []byte) error {
	for i, name := range dialectNames {
		if name == string(text) {
			*d = Dialect(i)
			return nil
		}
	}
	return fmt.Errorf("unknown dialect %q: it is one of rsocket-broker, alibaba, plain", text)
}

// MarshalText is the other way round.
func (d Dialect) MarshalText() ([]byte, error) { return []byte(d.String()), nil }
