package broker

import (
	"fmt"
	"sync"
	"time"

	"github.com/rsocket/rsocket-go/core"

	"github.com/perchcam/perch/pkg/session"
)

// halfDead is how long a channel whose requester has canceled the answers may say nothing more before
// it is forgotten: rsocket-java cancels both halves with one CANCEL and never speaks of the other one.
const halfDead = time.Minute

// route is one stream as it crosses the broker, from the session that asks to the one that answers. It
// owns a stream on each, near and far, and puts what comes on one onto the other. No goroutine is its own.
type route struct {
	b    *Broker
	kind core.FrameType // of the request
	from *leg
	near *session.Stream

	pictures bool // are what it asks for; set before anybody answers

	mu       sync.Mutex // guards the following
	group    *shared    // what it looks at with others; set before the session knows the route
	to       *leg       // nil while parked
	far      *session.Stream
	parked   *parked     // waits for its device
	idle     *time.Timer // see halfDead
	opening  bool        // fragments of the request are to come
	upOpen   bool        // the asking side may say more
	downOpen bool        // the answering side may
	complete bool        // COMPLETE was seen in an answer's fragment
	over     bool        // neither may
	told     bool        // from no longer lists it,
	served   bool        // nor does to
	up, down credit      // of what goes to far, and to near
}

// nearSide and farSide are a route as the owner of one of its streams.
type (
	nearSide route
	farSide  route
)

// fault is something for which a route ends.
type fault struct {
	why  count
	code core.ErrorCode
	text string
}

// newRoute returns the route of a request that has not been connected.
func newRoute(l *leg, near *session.Stream, first session.Frame) *route {
	r := &route{b: l.b, kind: first.Type(), from: l, near: near, opening: first.Has(core.FlagFollow)}
	r.upOpen = r.opening || r.channel() && !first.Has(core.FlagComplete)
	r.downOpen = r.kind != core.FrameTypeRequestFNF
	if r.kind == core.FrameTypeRequestResponse {
		r.down.open = 1
	}
	return r
}

func (r *route) channel() bool { return r.kind == core.FrameTypeRequestChannel }

// metered reports whether answers need credit.
func (r *route) metered() bool { return r.channel() || r.kind == core.FrameTypeRequestStream }

// connect carries the request on to l; it is false if l's session is over. What the asking side grants
// with the request is not what we grant: that number is all that is written into any frame.
func (r *route) connect(l *leg, first session.Frame) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !l.serve(r) {
		return false
	}
	r.to, r.far = l, l.conn.Open((*farSide)(r))
	if r.metered() {
		first.SetN(r.down.grant(first.N()))
	}
	r.request(first)
	return true
}

// request puts a frame of the request on far. mu is held, as for all here that does not say otherwise.
func (r *route) request(f session.Frame) {
	alone := r.kind == core.FrameTypeRequestFNF && !f.Has(core.FlagFollow)
	if alone {
		r.up.held = 1 // counted until it has left
	}
	r.far.Put(f, alone)
	r.from.touch(r.to.conn)
	r.settle()
}

// Frame takes what the asking side says.
func (n *nearSide) Frame(f session.Frame) {
	r := (*route)(n)
	if r.group != nil {
		r.group.view(r, f)
		return
	}
	r.mu.Lock()
	var wrong *fault
	switch {
	case r.over:
		if f.Type() == core.FrameTypeCancel {
			r.hush()
		}
	case r.parked != nil:
		wrong = r.collect(f)
	default:
		wrong = r.ask(f)
	}
	r.mu.Unlock()
	if wrong != nil {
		r.end(r.from, wrong)
	}
}

func (r *route) ask(f session.Frame) *fault {
	defer r.settle()
	switch f.Type() {
	case core.FrameTypePayload:
		switch {
		case r.opening && unjudged(f):
			return faultUnjudged
		case r.opening:
			r.opening = f.Has(core.FlagFollow)
			r.upOpen = r.opening || r.channel() && !f.Has(core.FlagComplete)
			r.request(f)
		case r.upOpen:
			last, ok := r.up.came(f)
			if !ok {
				return &fault{endedCredit, core.ErrorCodeInvalid, "payloads were sent that nobody had asked for"}
			}
			r.far.Put(f, last)
			r.from.touch(r.to.conn)
			if f.Has(core.FlagComplete) && !f.Has(core.FlagFollow) {
				r.upOpen = false
			}
			if r.idle != nil {
				r.idle.Reset(halfDead)
			}
		default:
			return nil
		}
		if r.to.queued() > r.b.cfg.Budget {
			return &fault{endedBudget, core.ErrorCodeCanceled, "too much is waiting for the other side to be read"}
		}
	case core.FrameTypeRequestN:
		if r.metered() && r.downOpen {
			r.askMore(r.down.grant(f.N()))
		}
	case core.FrameTypeCancel:
		r.cancel()
	case core.FrameTypeError:
		if r.channel() {
			r.up.held++
			r.far.Put(f, true)
			r.from.touch(r.to.conn)
			r.upOpen, r.downOpen = false, false
		}
	}
	return nil
}

// unjudged reports whether a later fragment of a request has metadata. What is permitted was judged by the first fragment's; a
// device reads all of it, and could find another route there.
func unjudged(f session.Frame) bool {
	md, _ := f.Metadata()
	return len(md) > 0
}

var faultUnjudged = &fault{refusedMalformed, core.ErrorCodeInvalid, "the metadata of a request must be in its first fragment"}

// askMore grants far n elements more, to leave at the next Settle of the asking side.
func (r *route) askMore(n uint32) {
	if n > 0 {
		r.far.Request(n)
		r.from.touch(r.to.conn)
	}
}

// cancel does what CANCEL of the asking side says: no more answers. Of a channel the other half lives on.
func (r *route) cancel() {
	r.downOpen = false
	r.from.touch(r.to.conn)
	if r.channel() && r.upOpen && !r.opening {
		r.far.Refuse()
		if r.idle == nil {
			r.idle = time.AfterFunc(halfDead, func() {
				r.end(nil, &fault{endedIdle, core.ErrorCodeCanceled, "the channel was canceled and then said nothing"})
			})
		}
		return
	}
	r.opening, r.upOpen, r.up.held = false, false, 0
	r.far.Cancel()
	r.hush()
}

// hush drops what is queued for the asking side, which does not want it any more.
func (r *route) hush() {
	r.near.Forget()
	r.near.Cancel() // after Forget nothing is said
	r.down.held = 0
	r.tell()
}

// Frame takes what the answering side says.
func (n *farSide) Frame(f session.Frame) {
	r := (*route)(n)
	r.mu.Lock()
	var wrong *fault
	var crowded bool
	if !r.over {
		wrong = r.answer(f)
		crowded = f.Type() == core.FrameTypePayload && r.from.queued() > r.b.cfg.Budget
	}
	r.mu.Unlock()
	switch {
	case wrong != nil:
		r.end(r.to, wrong)
	case crowded:
		r.from.relieve(r)
	}
}

func (r *route) answer(f session.Frame) *fault {
	defer r.settle()
	r.to.touch(r.from.conn)
	switch f.Type() {
	case core.FrameTypePayload:
		if !r.downOpen {
			return nil
		}
		last, ok := r.down.came(f)
		if !ok {
			return &fault{endedCredit, core.ErrorCodeCanceled, "the device sent more than it was asked for"}
		}
		r.near.Put(f, last)
		if r.pictures && f.Has(core.FlagNext) {
			r.to.pictured()
		}
		// rsocket-go says COMPLETE in the first fragment of an answer and not in the last.
		r.complete = r.complete || f.Has(core.FlagComplete)
		if !f.Has(core.FlagFollow) && (r.complete || !r.metered()) {
			r.downOpen = false
		}
	case core.FrameTypeRequestN:
		if r.channel() && r.upOpen {
			if m := r.up.grant(f.N()); m > 0 {
				r.near.Request(m)
			}
		}
	case core.FrameTypeCancel: // of the asking side's half; otherwise it is not theirs to send
		if r.channel() && r.upOpen && !r.opening {
			r.upOpen = false
			r.near.Refuse()
		}
	case core.FrameTypeError:
		r.down.held++
		r.near.Put(f, true)
		r.opening, r.upOpen, r.downOpen = false, false, false
	}
	return nil
}

// Left has frames counted that have left for the asking side, and asks for as many more.
func (n *nearSide) Left(m int) {
	r := (*route)(n)
	r.mu.Lock()
	more := r.down.left(m)
	if more > 0 && r.downOpen {
		r.far.Request(more)
	}
	ask := more > 0 && r.downOpen
	r.tell()
	r.mu.Unlock()
	if ask {
		r.to.conn.Flush()
	}
}

// Left is the same for the other direction.
func (n *farSide) Left(m int) {
	r := (*route)(n)
	r.mu.Lock()
	more := r.up.left(m)
	ask := more > 0 && r.upOpen
	if ask {
		r.near.Request(more)
	}
	r.tell()
	r.mu.Unlock()
	if ask {
		r.from.conn.Flush()
	}
}

// Writable is asked for by those only who share: what else is put waits in its stream.
func (n *nearSide) Writable() {
	if r := (*route)(n); r.group != nil {
		r.group.writable(r)
	}
}

// Writable is never asked for.
func (n *farSide) Writable() {}

// Ended ends the route because the session that asked is over.
func (n *nearSide) Ended(err error) {
	r := (*route)(n)
	r.mu.Lock()
	r.down.held = 0
	r.tell()
	r.mu.Unlock()
	r.end(nil, &fault{endedLaptopLeft, core.ErrorCodeCanceled, fmt.Sprintf("the requester is gone: %v", err)})
}

// Ended ends the route because the session that answers is over.
func (n *farSide) Ended(err error) {
	r := (*route)(n)
	r.mu.Lock()
	r.up.held = 0
	r.tell()
	to := r.to
	r.mu.Unlock()
	r.end(nil, &fault{endedDeviceLeft, core.ErrorCodeCanceled, fmt.Sprintf("%s is gone: %v", to.card.title(), err)})
}

// settle closes the route when both sides have said all.
func (r *route) settle() {
	if !r.upOpen && !r.downOpen {
		r.close()
	}
}

// close ends the route; what is queued still leaves.
func (r *route) close() {
	if r.over {
		return
	}
	r.over, r.opening, r.upOpen, r.downOpen = true, false, false, false
	if r.parked != nil {
		r.unpark()
	}
	if r.idle != nil {
		r.idle.Stop()
	}
	r.tell()
}

// tell forgets each stream of a route that is over once all of it has left, and takes the route off its legs' lists.
func (r *route) tell() {
	if !r.over {
		return
	}
	if r.far != nil && !r.served && r.up.held == 0 {
		r.served = true
		r.far.Forget()
		r.to.doneServing(r)
	}
	if !r.told && r.up.held == 0 && r.down.held == 0 {
		r.told = true
		r.near.Forget()
		r.from.doneAsking(r)
	}
}

// end ends the route from here: the asking side gets an ERROR, the other CANCEL, or ERROR where CANCEL
// would leave half a channel open. What was queued is dropped, so either may come in the middle of
// fragments. on is the leg whose reader is calling, nil for none. mu is not held.
func (r *route) end(on *leg, f *fault) {
	r.mu.Lock()
	if r.over {
		r.mu.Unlock()
		return
	}
	r.b.counters.add(f.why)
	if r.kind == core.FrameTypeRequestFNF {
		r.near.Forget()
	} else {
		r.near.Fail(f.code, f.text)
	}
	flush := []*session.Conn{r.from.conn}
	if r.far != nil {
		if r.channel() && r.upOpen && !r.opening {
			r.far.Fail(core.ErrorCodeCanceled, f.text)
		} else {
			r.far.Cancel()
		}
		flush = append(flush, r.to.conn)
	}
	r.up, r.down = credit{}, credit{}
	r.close()
	g := r.group
	r.mu.Unlock()
	if g != nil {
		g.leave(r)
		flush = append(flush, g.to.conn)
	}
	for _, c := range flush {
		if on != nil {
			on.touch(c)
		} else {
			c.Flush()
		}
	}
}

// evict ends the route although all may have been said: what waits for the asking side is too much.
func (r *route) evict(on *leg, f *fault) {
	r.mu.Lock()
	if r.over && !r.told {
		r.b.counters.add(f.why)
		r.near.Fail(f.code, f.text)
		r.down.held = 0
		r.tell()
	}
	r.mu.Unlock()
	on.touch(r.from.conn)
	r.end(on, f)
}
