package wire

import (
	"crypto/rand"
	"encoding/hex"
)

// UUID is an id of rsocket-broker: of a route, of the origin of a request, of a broker.
type UUID [16]byte

// NewUUID returns a random UUID (version 4). A SETUP needs a new one each time: rsocket-broker's clean-up of an old connection
// removes the registration of a new one that has the same id (BrokerSocketAcceptor.cleanup).
func NewUUID() UUID {
	var u UUID
	rand.Read(u[:]) // never fails: see its documentation
	u[6] = u[6]&0x0F | 0x40
	u[8] = u[8]&0x3F | 0x80
	return u
}

// String is the usual form, 8-4-4-4-12 hexadecimal digits.
func (u UUID) String() string {
	var b [36]byte
	hex.Encode(b[:8], u[:4])
	hex.Encode(b[9:13], u[4:6])
	hex.Encode(b[14:18], u[6:8])
	hex.Encode(b[19:23], u[8:10])
	hex.Encode(b[24:], u[10:])
	b[8], b[13], b[18], b[23] = '-', '-', '-', '-'
	return string(b[:])
}

// ParseUUID reads the usual form.
func ParseUUID(s string) (UUID, error) {
	var u UUID
	if len(s) != 36 || s[8] != '-' || s[13] != '-' || s[18] != '-' || s[23] != '-' {
		return UUID{}, &Error{Part: "UUID", Err: ErrInvalid}
	}
	digits := s[:8] + s[9:13] + s[14:18] + s[19:23] + s[24:]
	if _, err := hex.Decode(u[:], []byte(digits)); err != nil {
		return UUID{}, &Error{Part: "UUID", Err: ErrInvalid}
	}
	return u, nil
}

func (r *reader) uuid(part string) (u UUID) {
	copy(u[:], r.take(len(u), part))
	return u
}
