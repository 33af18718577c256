// Package wire is the metadata that travels with RSocket frames: bytes to structs and back, and nothing else.
//
// A SETUP or a request carries composite metadata, a list of typed entries (Entries, AppendEntry). Inside the entries are
// the routing tags (0x7E), the credentials (0x7C), the data types (0x7A, 0x7B), the frames of rsocket-broker (RouteSetup,
// Address, …) and the JSON of Alibaba's broker. Two readings sit on top and cover every dialect at once:
//
//	ParseSetup    who connects: id, service, tags, credentials, advert
//	ParseRequest  where a request goes: route, device, and every other condition on the target
//
// Setup.Append and Request.Append write the same in the dialect asked for.
//
// What is read shares the memory of what it was read from, unless its comment says that it is a copy. What is written is
// appended to dst, as by the standard library; on an error dst comes back as it was given. Reading never panics: what a peer
// got wrong is an *Error with the byte offset from the start of the argument. All integers are big endian.
//
// Sources: the RSocket extensions (CompositeMetadata, Routing, Security/WellKnownAuthTypes, PerStreamDataMimeTypesDefinition,
// WellKnownMimeTypes), rsocket-broker's RSocketBrokerSpecification and, where it differs, its frames as its own encoders write
// them. Where the extensions say "length" of a type spelled out, rsocket-java, rsocket-js and rsocket-go all write length − 1,
// and so does this package: see appendName.
package wire

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// Reasons for which bytes are refused, in both directions. Compare with errors.Is.
var (
	ErrTruncated = errors.New("it ends too early")
	ErrTrailing  = errors.New("bytes follow its end")
	ErrEmpty     = errors.New("it is empty")
	ErrTooLong   = errors.New("it is too long")
	ErrInvalid   = errors.New("it has no valid value")
	ErrRepeated  = errors.New("it is given twice")
)

// Error is metadata that cannot be read.
type Error struct {
	Part   string // what was read, such as "routing tag"
	Offset int    // where it begins, in bytes from the start of the parsed argument
	Err    error  // one of the reasons above, or wraps one
}

func (e *Error) Error() string {
	return fmt.Sprintf("malformed metadata: %s at byte %d: %v", e.Part, e.Offset, e.Err)
}

func (e *Error) Unwrap() error { return e.Err }

// cannot says why a value has no form on the wire.
func cannot(part string, why error) error {
	return fmt.Errorf("cannot encode %s: %w", part, why)
}

// reader walks bytes from front to back. After its first error it returns zero values only, so that a caller checks err once.
type reader struct {
	b   []byte // what is left
	at  int    // offset of b[0] in what the caller of the package passed
	err error  // an *Error
}

func (r *reader) fail(part string, at int, why error) {
	if r.err == nil {
		r.err = &Error{Part: part, Offset: at, Err: why}
	}
	r.b = nil
}

// take returns the next n bytes.
func (r *reader) take(n int, part string) []byte {
	if n > len(r.b) {
		r.fail(part, r.at, ErrTruncated)
		return nil
	}
	b := r.b[:n:n]
	r.b = r.b[n:]
	r.at += n
	return b
}

func (r *reader) u8(part string) byte {
	if b := r.take(1, part); b != nil {
		return b[0]
	}
	return 0
}

func (r *reader) u16(part string) int {
	if b := r.take(2, part); b != nil {
		return int(binary.BigEndian.Uint16(b))
	}
	return 0
}

func (r *reader) u24(part string) int {
	if b := r.take(3, part); b != nil {
		return int(b[0])<<16 | int(b[1])<<8 | int(b[2])
	}
	return 0
}

func (r *reader) u64(part string) uint64 {
	if b := r.take(8, part); b != nil {
		return binary.BigEndian.Uint64(b)
	}
	return 0
}

// rest returns everything that is left.
func (r *reader) rest() []byte { return r.take(len(r.b), "") }

func appendU24(dst []byte, n int) []byte {
	return append(dst, byte(n>>16), byte(n>>8), byte(n))
}

// appendShort appends a length byte and at most 255 bytes.
func appendShort(dst []byte, part, s string) ([]byte, error) {
	switch {
	case s == "":
		return dst, cannot(part, ErrEmpty)
	case len(s) > 255:
		return dst, cannot(part, ErrTooLong)
	}
	return append(append(dst, byte(len(s))), s...), nil
}
