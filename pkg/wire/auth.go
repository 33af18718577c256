package wire

import (
	"encoding/binary"
	"log/slog"
)

// Schemes of the authentication entry that have an id (RSocket WellKnownAuthTypes).
const (
	AuthSimple = "simple" // a user and a password
	AuthBearer = "bearer" // a token
)

const (
	idSimple = 0x00
	idBearer = 0x01
)

// Auth is the body of an authentication entry (0x7C). The zero value is no credentials.
//
// Printing or logging it shows the scheme and the user, never the secret.
type Auth struct {
	Scheme string // AuthSimple, AuthBearer, or a scheme of one's own
	User   string // AuthSimple only
	Secret string // password, token, or the bytes of one's own scheme
}

// String names the scheme and the user.
func (a Auth) String() string {
	switch {
	case a.Scheme == "":
		return "none"
	case a.User != "":
		return a.Scheme + " " + a.User
	}
	return a.Scheme
}

// GoString keeps the secret out of %#v.
func (a Auth) GoString() string { return "wire.Auth(" + a.String() + ")" }

// LogValue keeps the secret out of logs.
func (a Auth) LogValue() slog.Value { return slog.StringValue(a.String()) }

// ParseAuth reads the body of an authentication entry, as a copy.
func ParseAuth(body []byte) (Auth, error) {
	r := reader{b: body}
	a := r.auth()
	return a, r.err
}

func (r *reader) auth() Auth {
	at := r.at
	first := r.u8("authentication type")
	switch {
	case r.err != nil:
		return Auth{}
	case first&0x80 == 0:
		scheme := string(r.take(int(first)+1, "authentication type"))
		return r.secret(Auth{Scheme: scheme})
	case first == 0x80|idSimple:
		n := r.u16("user length")
		user := string(r.take(n, "user"))
		return r.secret(Auth{Scheme: AuthSimple, User: user})
	case first == 0x80|idBearer:
		return r.secret(Auth{Scheme: AuthBearer})
	}
	r.fail("authentication type", at, ErrInvalid)
	return Auth{}
}

func (r *reader) secret(a Auth) Auth {
	if r.err != nil {
		return Auth{}
	}
	a.Secret = string(r.rest())
	return a
}

// Append appends the body of an authentication entry.
func (a Auth) Append(dst []byte) ([]byte, error) {
	switch a.Scheme {
	case AuthSimple:
		if len(a.User) > 0xFFFF {
			return dst, cannot("user", ErrTooLong)
		}
		dst = append(dst, 0x80|idSimple)
		dst = binary.BigEndian.AppendUint16(dst, uint16(len(a.User)))
		dst = append(dst, a.User...)
	case AuthBearer:
		dst = append(dst, 0x80|idBearer)
	default:
		out, err := appendName(dst, "authentication type", a.Scheme)
		if err != nil {
			return dst, err
		}
		dst = out
	}
	return append(dst, a.Secret...), nil
}
