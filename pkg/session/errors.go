package session

import (
	"errors"
	"fmt"

	"github.com/rsocket/rsocket-go/core"
)

// Error is what an ERROR frame says, or will say.
type Error struct {
	Code core.ErrorCode
	Text string // a sentence for a person; it crosses the network as it is
}

func (e *Error) Error() string { return e.Text }

// Errorf returns an *Error with a formatted text.
func Errorf(code core.ErrorCode, format string, args ...any) *Error {
	return &Error{code, fmt.Sprintf(format, args...)}
}

// ErrClosed is wrapped by the error that ends a session; the rest of the text is the reason.
var ErrClosed = errors.New("session over")

var (
	errGoodbye    = errors.New("closed by us")
	errRemoteBye  = errors.New("closed by the other end")
	errSuperseded = errors.New("link superseded by a newer one")
	errSilent     = errors.New("nothing heard from the other end")
	errExpired    = errors.New("no link within the session time")
	errStreamIDs  = errors.New("stream ids used up")
)

// protocolError ends a session, or a link that has none yet, with CONNECTION_ERROR.
func protocolError(format string, args ...any) *Error {
	return Errorf(core.ErrorCodeConnectionError, format, args...)
}

// codeOf returns what to tell the other end of err.
func codeOf(err error, otherwise core.ErrorCode) *Error {
	if e, ok := errors.AsType[*Error](err); ok {
		return e
	}
	return &Error{otherwise, err.Error()}
}
