package peer

import (
	"context"
	"io"
	"iter"

	"github.com/rsocket/rsocket-go/core"

	"github.com/perchcam/perch/pkg/session"
)

const (
	smallSize  = 512 // an element of at most so many bytes is copied, and yield returns at once
	smallCount = 32  // until so many wait
)

// outbox is what one stream has to say. Every message is marked, so waiting is exact. stream.mu guards it.
type outbox struct {
	credit  uint32        // elements the other end has asked for; maxN: without limit
	waiting int           // messages given to the session that have not left
	err     error         // set: nothing more may be said; io.EOF: all is said
	change  chan struct{} // closed at the next change; nil: nobody waits

	flushing bool // a goroutine is about to flush

	keep    int       // bytes that may queue (Keep); 0: none
	kept    int       // bytes that are counted as held
	backlog []Payload // kept, and not yet asked for: with it there is no credit
	counts  bool      // sizes is in use
	sizes   []int     // what each message that waits counts as held

	last *Error // how our half ends, once the handler has returned: nil error for COMPLETE
	done bool   // the handler has returned: nothing is added
	said bool   // COMPLETE has been given to the session
}

// changed returns what is closed at the next change.
func (out *outbox) changed() <-chan struct{} {
	if out.change == nil {
		out.change = make(chan struct{})
	}
	return out.change
}

func (out *outbox) wake() {
	if out.change != nil {
		close(out.change)
		out.change = nil
	}
}

// hold counts n bytes that have been handed over and have not left.
func (out *outbox) hold(p *Peer, n int) {
	out.kept += n
	p.held.Add(int64(n))
}

// left notes that n messages have left.
func (out *outbox) left(p *Peer, n int) {
	out.waiting -= n
	for ; n > 0 && len(out.sizes) > 0; n-- {
		out.hold(p, -out.sizes[0])
		out.sizes = out.sizes[1:]
	}
}

// clear forgets what has not left.
func (out *outbox) clear(p *Peer) {
	out.hold(p, -out.kept)
	out.backlog, out.sizes, out.waiting = nil, nil, 0
}

// grant adds n to the credit. mu is held.
func (st *stream) grant(n uint32) {
	if st.asks && st.kind != core.FrameTypeRequestChannel {
		return
	}
	st.out.credit = uint32(min(uint64(st.out.credit)+uint64(n), maxN))
	st.pump()
	st.out.wake()
}

// spend takes one from the credit.
func (out *outbox) spend() {
	if out.credit != maxN {
		out.credit--
	}
}

// send gives v to the session. held of its bytes are counted as held until it has left.
func (st *stream) send(v Payload, flags core.FrameFlag, held int) {
	st.out.waiting++
	if st.out.counts {
		st.out.sizes = append(st.out.sizes, held)
	}
	st.s.Send(session.Message{
		Type: core.FrameTypePayload, Flags: flags,
		Metadata: v.Metadata, HasMetadata: v.Metadata != nil, Data: v.Data, Mark: true,
	})
}

// ready reports whether an element given now may leave at once, or for a stream that keeps, be queued. If
// not, out.changed is closed when that may have changed. mu is held.
func (st *stream) ready() bool {
	out := &st.out
	if out.keep > 0 { // what does not wait for itself must not wait for others: nobody would wake it
		return out.kept == 0 || out.kept < out.keep && st.p.held.Load() < int64(st.p.cfg.MaxHeld)
	}
	return out.credit > 0 && out.waiting == 0 && st.s.Await()
}

// await waits until ok, which is called with mu held, or until nothing may be said any more. It returns
// with mu held.
func (st *stream) await(ctx context.Context, ok func() bool) error {
	st.mu.Lock()
	for {
		if st.out.err != nil {
			return st.out.err
		}
		if ok() {
			return nil
		}
		changed := st.out.changed()
		st.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
			st.mu.Lock()
			return context.Cause(ctx)
		}
		st.mu.Lock()
	}
}

// element sends v when it may leave, and returns when its bytes are no longer needed.
func (st *stream) element(ctx context.Context, v Payload) error {
	small := v.size() <= smallSize
	out := &st.out
	err := st.await(ctx, func() bool {
		return st.ready() || small && out.keep == 0 && out.credit > 0 && 0 < out.waiting && out.waiting < smallCount
	})
	switch {
	case err != nil:
		st.mu.Unlock()
		return err
	case out.keep > 0:
		out.hold(st.p, v.size())
		out.backlog = append(out.backlog, v.clone())
		st.pump()
		st.mu.Unlock()
		st.s.Session().Flush()
		return nil
	case small:
		v = v.clone()
	}
	out.spend()
	st.send(v, core.FlagNext, 0)
	later := small && out.credit > 0 && out.waiting < smallCount
	spawn := later && !out.flushing
	out.flushing = out.flushing || later
	st.mu.Unlock()
	switch {
	case spawn:
		st.p.start(st.flush)
	case !later:
		st.s.Session().Flush()
	}
	if small {
		return nil
	}
	return st.awaitLeft(ctx)
}

// flush sends small elements. It runs when their producer rests, or on another processor: so those that come in a
// row leave in one write, and one that comes alone leaves at once.
func (st *stream) flush() {
	defer st.p.done()
	st.mu.Lock()
	st.out.flushing = false
	st.mu.Unlock()
	st.s.Session().Flush()
}

// awaitLeft waits until the session no longer needs what it was given.
func (st *stream) awaitLeft(ctx context.Context) error {
	st.mu.Lock()
	for st.out.waiting > 0 && !st.over {
		changed := st.out.changed()
		st.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
			st.mu.Lock()
			st.quit(context.Cause(ctx))
			st.mu.Unlock()
			st.s.Session().Flush()
		}
		st.mu.Lock()
	}
	defer st.mu.Unlock()
	return st.out.err
}

// pump sends what is kept and asked for, and then how our half ends. mu is held; a flush must follow.
func (st *stream) pump() {
	out := &st.out
	for len(out.backlog) > 0 && out.credit > 0 && out.err == nil {
		v := out.backlog[0]
		out.backlog[0] = Payload{}
		out.backlog = out.backlog[1:]
		out.spend()
		st.send(v, core.FlagNext, v.size())
	}
	switch {
	case !out.done || out.said || len(out.backlog) > 0 || out.err != nil:
	case out.last == nil:
		out.said = true
		st.send(Payload{}, core.FlagComplete, 0)
	case out.waiting == 0: // Fail drops what is queued, so it must have left
		st.s.Fail(out.last.Code, out.last.Text)
		if st.asks {
			st.drop(out.last)
		} else {
			st.drop(io.EOF)
		}
	}
}

// emptied: all that was said has left. It reports whether to flush. mu is held.
func (st *stream) emptied() bool {
	out := &st.out
	switch {
	case out.done && out.said && out.err == nil:
		out.err = io.EOF
		if !st.asks && st.in.err == nil { // a channel whose requester may still want to send
			st.quit(io.EOF)
			return true
		}
	case out.done && !out.said:
		st.pump()
		return true
	case st.kind == core.FrameTypeRequestFNF && st.in.err == nil:
		st.in.err = io.EOF
	}
	st.settle()
	wake(st.in.wake)
	return false
}

// finish ends our half: with COMPLETE, or with ERROR. mu is held; a flush must follow.
func (st *stream) finish(failed error) {
	if st.out.err != nil || st.out.done {
		return
	}
	st.out.done = true
	if failed != nil {
		st.out.last = tell(failed)
	}
	st.pump()
}

// sendAll sends what seq yields until it ends, fails or is no longer wanted.
func (st *stream) sendAll(ctx context.Context, seq iter.Seq2[Payload, error]) error {
	for v, err := range seq {
		if err == nil {
			err = st.element(ctx, v)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
