package peer

import (
	"context"
	"io"
	"iter"

	"github.com/perchcam/perch/pkg/session"
)

// Ready waits until the answer, or the next element, of the request whose context ctx is (or comes from)
// may leave at once: it is asked for, nothing of the stream is waiting, the session has a link. For a stream
// that keeps (Keep) it waits for room instead. The error is context.Cause(ctx), or why nobody wants the
// element. Where ctx is not a handler's, as in a handler's own unit test, it only asks ctx.
func Ready(ctx context.Context) error {
	st := of(ctx)
	if st == nil {
		return context.Cause(ctx)
	}
	err := st.await(ctx, st.ready)
	st.mu.Unlock()
	return err
}

// Writable reports what Ready waits for, without waiting: whether what was chosen after Ready may still leave,
// or has to wait for a link that was lost in the meantime.
func Writable(ctx context.Context) bool {
	st := of(ctx)
	if st == nil {
		return ctx.Err() == nil
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	return st.out.err == nil && st.ready()
}

// Fresh is a stream of elements chosen by pick, which is called only when its element may leave at once. If the
// link is lost while pick is choosing, its element is dropped and pick is called anew when there is a link, with
// again true: what it returned last was not sent. So nothing old is the first thing after an outage. io.EOF
// from pick ends the stream, any other error fails it.
func Fresh(ctx context.Context, pick func(ctx context.Context, again bool) (Payload, error)) iter.Seq2[Payload, error] {
	return func(yield func(Payload, error) bool) {
		for again := false; ; {
			if err := Ready(ctx); err != nil {
				yield(Payload{}, err)
				return
			}
			v, err := pick(ctx, again)
			if err == io.EOF {
				return
			}
			if again = err == nil && !Writable(ctx); again {
				continue
			}
			if !yield(v, err) || err != nil {
				return
			}
		}
	}
}

// Keep lets the stream whose context ctx is queue up to n bytes of elements instead of making yield wait: for
// the requester's demand, for the stream's turn, and for a link that was lost. Then yield copies its element and
// returns; beyond n, or when all that is held reaches Config.MaxHeld, it waits for room. 0 ends it.
func Keep(ctx context.Context, n int) {
	if st := of(ctx); st != nil {
		st.mu.Lock()
		if out := &st.out; !out.counts {
			out.counts, out.sizes = true, make([]int, out.waiting)
		}
		st.out.keep = max(n, 0)
		st.out.wake()
		st.mu.Unlock()
	}
}

// Conn returns the session that a handler's request came on, nil where ctx is not a handler's.
func Conn(ctx context.Context) *session.Conn {
	if st := of(ctx); st != nil {
		return st.s.Session()
	}
	return nil
}
