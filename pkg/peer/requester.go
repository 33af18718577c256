package peer

import (
	"context"
	"io"
	"iter"

	"github.com/rsocket/rsocket-go/core"

	"github.com/perchcam/perch/pkg/session"
)

// Requester asks over one session. It may be copied and used by any number of goroutines; what it receives
// counts against the limits of the Peer it came from.
//
// A request waits for a link if there is none. When ctx ends first, or a range loop is left, the other end is
// told with CANCEL, if it ever heard of the request. An error is an *Error if the other end said it, wraps
// ErrClosed if the session is over, or is context.Cause(ctx).
type Requester struct {
	p *Peer
	c *session.Conn
}

// Requester returns one that asks over c.
func (p *Peer) Requester(c *session.Conn) Requester { return Requester{p, c} }

// Session returns the session it asks over.
func (r Requester) Session() *session.Conn { return r.c }

// Option says how a stream is asked for.
type Option func(*asked)

type asked struct {
	window, limit uint32
	pace          func() uint32
}

// Window lets n elements be asked for and not yet taken, 1 … 2³¹-1. With 1 an element is asked for when it
// is pulled, not before. The default is Config.Window.
func Window(n uint32) Option { return func(a *asked) { a.window = min(max(n, 1), maxN) } }

// Pace is a Window that is asked for anew with each element that is pulled: for whoever sometimes wants the next one under way, and
// sometimes not yet.
func Pace(window func() uint32) Option {
	return func(a *asked) {
		a.pace = func() uint32 { return min(max(window(), 1), maxN) }
		a.window = a.pace()
	}
}

// Limit asks for n elements in all and leaves the stream after the last of them. 0 is no limit.
func Limit(n uint32) Option {
	return func(a *asked) {
		if a.limit = min(n, maxN); n == 0 {
			a.limit = maxN
		}
	}
}

func (r Requester) options(opts []Option) asked {
	a := asked{window: r.p.cfg.Window, limit: maxN}
	for _, o := range opts {
		o(&a)
	}
	return a
}

// RequestResponse asks and waits for the one answer. COMPLETE without an answer is a zero Payload.
func (r Requester) RequestResponse(ctx context.Context, req Payload) (Payload, error) {
	st, err := r.open(ctx, core.FrameTypeRequestResponse, req, asked{window: 1, limit: 1}, 0)
	if err != nil {
		return Payload{}, err
	}
	defer st.close()
	v, err := st.take(ctx)
	if err == io.EOF {
		err = nil
	}
	return v, err
}

// RequestStream asks anew each time it is ranged over.
func (r Requester) RequestStream(ctx context.Context, req Payload, opts ...Option) iter.Seq2[Payload, error] {
	return func(yield func(Payload, error) bool) {
		a := r.options(opts)
		st, err := r.open(ctx, core.FrameTypeRequestStream, req, a, 0)
		if err != nil {
			yield(Payload{}, err)
			return
		}
		defer st.close()
		st.takeAll(ctx, a.limit, yield)
	}
}

// RequestChannel sends first at once and the elements of out as they are asked for; nil is an empty out. The
// loop ends when both directions have. out is ranged over once per loop, by another goroutine; its yield
// returns false when the other end wants no more or the loop is over, and its error fails the channel. What
// it waits for must end with ctx.
func (r Requester) RequestChannel(ctx context.Context, first Payload, out iter.Seq2[Payload, error], opts ...Option) iter.Seq2[Payload, error] {
	return func(yield func(Payload, error) bool) {
		var flags core.FrameFlag
		if out == nil {
			flags = core.FlagComplete
		}
		a := r.options(opts)
		st, err := r.open(ctx, core.FrameTypeRequestChannel, first, a, flags)
		if err != nil {
			yield(Payload{}, err)
			return
		}
		defer st.close()
		if out != nil {
			r.p.start(func() { st.upload(ctx, out) })
		}
		st.takeAll(ctx, a.limit, yield)
	}
}

// FireAndForget returns when the request has been given to a link.
func (r Requester) FireAndForget(ctx context.Context, req Payload) error {
	st, err := r.open(ctx, core.FrameTypeRequestFNF, req, asked{}, 0)
	if err != nil {
		return err
	}
	defer st.close()
	if _, err = st.take(ctx); err == io.EOF {
		err = nil
	}
	return err
}

// MetadataPush sends metadata that is about the session itself. The protocol does not resume it: with the link
// it may be lost, and without a link it is. Nor can it be fragmented.
func (r Requester) MetadataPush(ctx context.Context, metadata []byte) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err := r.c.Err(); err != nil {
		return err
	}
	r.c.Push(metadata)
	return nil
}

// open sends a request.
func (r Requester) open(ctx context.Context, kind core.FrameType, req Payload, a asked, flags core.FrameFlag) (*stream, error) {
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	st := &stream{p: r.p, kind: kind, asks: true}
	first := min(a.window, a.limit)
	st.in.init(a.window, a.limit)
	st.in.granted, st.in.pace = first, a.pace
	if st.in.limit != maxN {
		st.in.limit -= first
	}
	if kind != core.FrameTypeRequestChannel || flags != 0 {
		st.out.err = io.EOF // nothing follows the request
	}
	st.out.waiting = 1
	st.s = r.c.Open(st)
	st.s.Send(session.Message{
		Type: kind, Flags: flags, N: first,
		Metadata: req.Metadata, HasMetadata: req.Metadata != nil, Data: req.Data, Mark: true,
	})
	if err := r.c.Err(); err != nil { // it may have ended before Send: then nobody tells us
		st.close()
		return nil, err
	}
	r.c.Flush()
	return st, nil
}

// takeAll takes elements until they end, or there were limit of them.
func (st *stream) takeAll(ctx context.Context, limit uint32, yield func(Payload, error) bool) {
	for n := uint32(0); n < limit; {
		v, err := st.take(ctx)
		if err == io.EOF {
			return
		}
		if !yield(v, err) || err != nil {
			return
		}
		if limit != maxN {
			n++
		}
	}
}

// close ends our interest: CANCEL, unless the stream is over or never left.
func (st *stream) close() {
	st.mu.Lock()
	flush := !st.over
	st.quit(errLeft)
	st.in.clear(st.p)
	st.mu.Unlock()
	if flush {
		st.s.Session().Flush()
	}
}

// upload sends our half of a channel.
func (st *stream) upload(ctx context.Context, out iter.Seq2[Payload, error]) {
	defer st.p.done()
	failed := error(errInternal)
	defer func() {
		st.mu.Lock()
		switch {
		case st.over || st.out.err != nil:
		case ctx.Err() != nil: // what failed because of ctx is a wish, not an error: CANCEL
			st.quit(context.Cause(ctx))
		default:
			st.finish(failed)
		}
		st.mu.Unlock()
		st.s.Session().Flush()
	}()
	st.p.guard("channel's sending half", func() { failed = st.sendAll(ctx, out) })
}
