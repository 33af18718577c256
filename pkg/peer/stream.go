package peer

import (
	"context"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/rsocket/rsocket-go/core"

	"github.com/perchcam/perch/pkg/session"
)

// stream is one request of either side, the session.Owner of its stream.
//
// It is over when both halves are: ours (out.err is set and nothing is waiting to leave) and the other
// end's (in.err is set). CANCEL of a requester, ERROR and the end of the session end both at once.
type stream struct {
	p    *Peer
	s    *session.Stream
	kind core.FrameType // of the request
	asks bool           // we are the requester

	ctx    context.Context // the handler's; nil at a requester, as cancel is
	cancel context.CancelCauseFunc

	// mu guards the following. It is held over calls of the session, but never over Flush.
	mu      sync.Mutex
	in      inbox
	out     outbox
	asking  bool // the request is still being put together
	serving bool // its handler is running
	over    bool
}

// drop ends both halves and wakes everybody. The session must have been told. mu is held.
func (st *stream) drop(why error) {
	if st.over {
		return
	}
	st.over = true
	if st.in.err == nil {
		st.in.err = why
	}
	if st.out.err == nil {
		st.out.err = why
	}
	st.in.forgetPart(st.p)
	st.out.clear(st.p)
	if st.cancel != nil {
		if why == io.EOF {
			why = errAnswered
		}
		st.cancel(why)
		if !st.serving {
			st.in.clear(st.p)
			st.p.open.Add(-1)
		}
	}
	st.asking = false
	wake(st.in.wake)
	st.out.wake()
}

// silence makes the session drop what is queued and say nothing. mu is held.
func (st *stream) silence() {
	st.s.Forget()
	st.s.Cancel()
}

// quit ends the stream on our initiative and tells the other end: CANCEL. mu is held; a flush must follow.
func (st *stream) quit(why error) {
	if !st.over {
		st.s.Cancel()
		st.drop(why)
	}
}

// refuse ends the stream because of what the other end did. mu is held; a flush must follow.
func (st *stream) refuse(code Code, text string) {
	why := fmt.Errorf("%w: %s", ErrFlood, text)
	switch {
	case st.asks:
		st.quit(why)
	case st.kind == core.FrameTypeRequestFNF: // has no answer, not even this one
		st.silence()
		st.drop(why)
	default:
		st.s.Fail(code, text)
		st.drop(why)
	}
}

// settle ends the stream if both halves are over. mu is held.
func (st *stream) settle() {
	if !st.over && st.in.err != nil && st.out.err != nil && st.out.waiting == 0 {
		st.s.Forget()
		st.drop(st.in.err)
	}
}

// Frame takes a frame of the stream (session.Owner). The session flushes after it.
func (st *stream) Frame(f session.Frame) {
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.over {
		return
	}
	switch f.Type() {
	case core.FrameTypeRequestN:
		st.grant(f.N())
	case core.FrameTypeCancel:
		st.canceled()
	case core.FrameTypeError:
		st.silence()
		st.drop(&Error{Code: Code(f.N()), Text: string(f.Data())})
	default: // PAYLOAD, or the request itself
		st.payload(f)
	}
}

// canceled: the requester wants no more, or the responder of a channel wants to hear no more.
// CANCEL makes no sense to other requesters and is ignored (rsocket-java sends it all the same).
func (st *stream) canceled() {
	switch {
	case !st.asks:
		st.silence()
		st.drop(ErrCanceled)
	case st.kind == core.FrameTypeRequestChannel && st.out.err == nil:
		st.out.err = ErrCanceled
		st.out.wake()
		wake(st.in.wake)
		st.settle()
	}
}

// Left notes that n messages have been given to a link (session.Owner).
func (st *stream) Left(n int) {
	st.mu.Lock()
	flush := false
	if !st.over {
		st.out.left(st.p, n)
		if st.out.waiting == 0 {
			flush = st.emptied()
		}
		st.out.wake()
	}
	st.mu.Unlock()
	if flush {
		st.s.Session().Flush()
	}
}

// Writable notes that what Await asked for has come true (session.Owner).
func (st *stream) Writable() {
	st.mu.Lock()
	st.out.wake()
	st.mu.Unlock()
}

// Ended notes that the session is over (session.Owner).
func (st *stream) Ended(err error) {
	st.mu.Lock()
	st.drop(err)
	st.mu.Unlock()
}

// wake leaves a token for the one who waits.
func wake(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// base is the root of a handler's context: it never ends, and knows its stream. A root that is never
// canceled saves each request from entering itself in a table of its parent's.
type base stream

type streamKey struct{}

func (*base) Deadline() (time.Time, bool) { return time.Time{}, false }
func (*base) Done() <-chan struct{}       { return nil }
func (*base) Err() error                  { return nil }

func (b *base) Value(key any) any {
	if key == (streamKey{}) {
		return (*stream)(b)
	}
	return nil
}

// of returns the stream that ctx is the context of, or nil.
func of(ctx context.Context) *stream {
	st, _ := ctx.Value(streamKey{}).(*stream)
	return st
}
