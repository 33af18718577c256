package peer

import (
	"context"
	"iter"
)

// Handler answers requests. Every call has its own goroutine, but for MetadataPush, which is called for
// one push after the other with a context that never ends. The others' contexts end with CANCEL, with the
// session, or when the answer has left; context.Cause says which. Iterators are ranged over once. Conn
// tells which session asks; Ready, Writable, Fresh and Keep are about when an answer leaves.
type Handler interface {
	RequestResponse(ctx context.Context, req Payload) (Payload, error)
	RequestStream(ctx context.Context, req Payload) iter.Seq2[Payload, error]
	// RequestChannel may pull from in at its own pace. Leaving in's loop early, or returning, tells the
	// requester to send no more.
	RequestChannel(ctx context.Context, first Payload, in iter.Seq2[Payload, error]) iter.Seq2[Payload, error]
	FireAndForget(ctx context.Context, req Payload)
	MetadataPush(ctx context.Context, metadata []byte)
}

// Funcs is a Handler made of functions. What is nil is refused with INVALID, or dropped where the protocol
// has no answer.
type Funcs struct {
	Response func(ctx context.Context, req Payload) (Payload, error)
	Stream   func(ctx context.Context, req Payload) iter.Seq2[Payload, error]
	Channel  func(ctx context.Context, first Payload, in iter.Seq2[Payload, error]) iter.Seq2[Payload, error]
	Forget   func(ctx context.Context, req Payload)
	Push     func(ctx context.Context, metadata []byte)
}

var _ Handler = Funcs{}

func (f Funcs) RequestResponse(ctx context.Context, req Payload) (Payload, error) {
	if f.Response == nil {
		return Payload{}, Errorf(CodeInvalid, "request-response is not served here")
	}
	return f.Response(ctx, req)
}

func (f Funcs) RequestStream(ctx context.Context, req Payload) iter.Seq2[Payload, error] {
	if f.Stream == nil {
		return Fail(Errorf(CodeInvalid, "request-stream is not served here"))
	}
	return f.Stream(ctx, req)
}

func (f Funcs) RequestChannel(ctx context.Context, first Payload, in iter.Seq2[Payload, error]) iter.Seq2[Payload, error] {
	if f.Channel == nil {
		return Fail(Errorf(CodeInvalid, "request-channel is not served here"))
	}
	return f.Channel(ctx, first, in)
}

func (f Funcs) FireAndForget(ctx context.Context, req Payload) {
	if f.Forget != nil {
		f.Forget(ctx, req)
	}
}

func (f Funcs) MetadataPush(ctx context.Context, metadata []byte) {
	if f.Push != nil {
		f.Push(ctx, metadata)
	}
}

// Fail returns a stream that is nothing but err.
func Fail(err error) iter.Seq2[Payload, error] {
	return func(yield func(Payload, error) bool) { yield(Payload{}, err) }
}
