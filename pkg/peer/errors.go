package peer

import (
	"context"
	"errors"
	"unicode/utf8"

	"github.com/rsocket/rsocket-go/core"

	"github.com/perchcam/perch/pkg/session"
)

type (
	// Error is what an ERROR frame said, or will say. Any other error of a handler is told as
	// APPLICATION_ERROR with its text, and context.Canceled as CANCELED; one that wraps an *Error has that
	// one's code and its own text.
	Error = session.Error
	// Code is an error code (Protocol.md, "Error Codes").
	Code = core.ErrorCode
)

const (
	CodeApplicationError = core.ErrorCodeApplicationError // 0x201: the request failed
	CodeRejected         = core.ErrorCodeRejected         // 0x202: not processed, safe to try again
	CodeCanceled         = core.ErrorCodeCanceled         // 0x203: canceled, perhaps when half done
	CodeInvalid          = core.ErrorCodeInvalid          // 0x204: the request makes no sense here
)

// Errorf returns an error for the other end: a code, and a sentence that crosses the network.
func Errorf(code Code, format string, args ...any) *Error {
	return session.Errorf(code, format, args...)
}

var (
	// ErrClosed is wrapped by the error of every request and stream whose session is over.
	ErrClosed = session.ErrClosed
	// ErrCanceled is the cause of a handler's context after CANCEL, and what a channel's sending half meets
	// when the other end wants to hear no more.
	ErrCanceled = errors.New("canceled by the other end")
	// ErrFlood ends a stream that we asked for when more comes than we asked for or can hold.
	ErrFlood = errors.New("the other end sent more than it may")

	errInternal = Errorf(CodeApplicationError, "internal error")
	errLeft     = errors.New("left by its requester")
	errAnswered = errors.New("answered")
)

// maxText bounds the text of an ERROR frame in bytes. The session cuts what its MTU does not hold.
const maxText = 1 << 10

// tell returns what to tell the other end of err.
func tell(err error) *Error {
	code := Code(CodeApplicationError)
	if e, ok := errors.AsType[*Error](err); ok && ofStream(e.Code) {
		code = e.Code
	} else if errors.Is(err, context.Canceled) || errors.Is(err, ErrCanceled) {
		code = CodeCanceled
	}
	text := err.Error()
	if len(text) > maxText {
		n := maxText
		for n > 0 && !utf8.RuneStart(text[n]) {
			n--
		}
		text = text[:n]
	}
	return &Error{Code: code, Text: text}
}

// ofStream reports whether code may stand in an ERROR frame of a stream: the protocol's own, or an
// application's.
func ofStream(code Code) bool {
	return code >= CodeApplicationError && code <= CodeInvalid || code >= 0x301 && code != 0xFFFFFFFF
}
