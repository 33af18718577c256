package session

import (
	"errors"
	"fmt"

	"github.com/rsocket/rsocket-go/core"
)

// Code is an error code (Protocol.md, "Error Codes").
type Code = core.ErrorCode

// The codes of stream 0, for those who know sessions but no frames.
const (
	CodeInvalidSetup     = core.ErrorCodeInvalidSetup     // 0x001: this is no SETUP
	CodeUnsupportedSetup = core.ErrorCodeUnsupportedSetup // 0x002: SETUP asks for what there is not, such as resumption
	CodeRejectedSetup    = core.ErrorCodeRejectedSetup    // 0x003: not you, or not now
	CodeRejectedResume   = core.ErrorCodeRejectedResume   // 0x004: the session is no more
	CodeConnectionError  = core.ErrorCodeConnectionError  // 0x101: the session is over; a new one may work
	CodeConnectionClose  = core.ErrorCodeConnectionClose  // 0x102: goodbye
)

// Error is what an ERROR frame says, or will say.
type Error struct {
	Code Code
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
	errTotal      = errors.New("the server's memory for resumption is used up")
	errHungUp     = errors.New("the other end has closed the connection")
	errMute       = errors.New("the other end closes each connection without an answer: it may not speak RSocket, or expect TLS, or none")
	errUnread     = errors.New("the other end does not read its answers")
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
