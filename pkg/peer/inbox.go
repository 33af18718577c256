package peer

import (
	"context"
	"io"
	"iter"
	"slices"

	"github.com/rsocket/rsocket-go/core"

	"github.com/perchcam/perch/pkg/session"
)

// inbox is what one stream has received: the element that is being put together, and those that have not
// been taken. stream.mu guards it.
type inbox struct {
	queue   []Payload
	head    int        // queue[head:] has not been taken
	slot    [1]Payload // queue's first memory: most requests have one answer
	bytes   int        // in queue, and part's memory
	granted uint32     // elements the other end may still send
	window  uint32
	pace    func() uint32 // gives the window of each pull; nil where it stays
	limit   uint32        // elements that may still be asked for; maxN: without limit
	part    Payload
	partial bool
	ending  bool          // COMPLETE came with a fragment that was not the last
	hint    int           // bytes of the last element's data: the next is probably like it
	err     error         // set: no more will come; io.EOF after COMPLETE
	wake    chan struct{} // cap 1; nil where nobody waits
}

func (in *inbox) init(window, limit uint32) {
	in.window, in.limit, in.wake = window, limit, make(chan struct{}, 1)
}

func (in *inbox) waiting() int { return len(in.queue) - in.head }

// ask returns how many elements to ask for now: nothing until half the window is free.
func (in *inbox) ask() uint32 {
	if in.err != nil {
		return 0
	}
	free := int64(in.window) - int64(in.granted) - int64(in.waiting())
	free = min(free, int64(in.limit))
	if free <= 0 || free*2 < int64(in.window) && free != int64(in.limit) {
		return 0
	}
	in.granted += uint32(free)
	if in.limit != maxN {
		in.limit -= uint32(free)
	}
	return uint32(free)
}

func (in *inbox) push(v Payload) {
	if in.head == len(in.queue) {
		in.head = 0
		if cap(in.queue) == 0 {
			in.queue = in.slot[:0]
		} else {
			in.queue = in.queue[:0]
		}
	}
	in.queue = append(in.queue, v)
}

func (in *inbox) pop(p *Peer) Payload {
	v := in.queue[in.head]
	in.queue[in.head] = Payload{}
	in.head++
	in.count(p, -v.size())
	return v
}

func (in *inbox) count(p *Peer, n int) {
	in.bytes += n
	p.buffered.Add(int64(n))
}

func (in *inbox) forgetPart(p *Peer) {
	in.count(p, -in.part.memory())
	in.part, in.partial = Payload{}, false
}

// clear forgets everything received.
func (in *inbox) clear(p *Peer) {
	in.count(p, -in.bytes)
	in.queue, in.head, in.slot, in.part = nil, 0, [1]Payload{}, Payload{}
}

// payload takes a PAYLOAD, or the first frame of a request. mu is held.
//
// F together with C: the letter of the protocol lets C win. rsocket-go v0.8.16 means "C at the last
// fragment" (its #147), so C waits for the last fragment here. The other reading would hand out a torn
// payload.
func (st *stream) payload(f session.Frame) {
	in := &st.in
	if in.err != nil {
		return
	}
	md, hasMD := f.Metadata()
	data := f.Data()
	n := len(md) + len(data)
	complete, follows := f.Has(core.FlagComplete), f.Has(core.FlagFollow)
	if !st.asking && !in.partial {
		// An answer that forgot N is still an answer; elsewhere N is what makes an element.
		if !f.Has(core.FlagNext) && !(st.kind == core.FrameTypeRequestResponse && n > 0) {
			if complete {
				st.completed()
			}
			return
		}
		if in.granted == 0 {
			st.p.counters.flooded.Add(1)
			st.refuse(CodeInvalid, "more elements than were asked for")
			return
		}
	}
	if in.part.size()+n > st.p.cfg.MaxPayload || st.p.buffered.Load()+int64(n) > int64(st.p.cfg.MaxBuffered) {
		st.p.counters.tooLarge.Add(1)
		st.refuse(CodeRejected, "payload is too large")
		return
	}
	if hasMD && md == nil {
		md = []byte{}
	}
	v := Payload{md, data}
	if follows || in.partial {
		hint := in.hint
		if hint == 0 {
			hint = int(st.p.hint.Load())
		}
		v = Payload{extend(in.part.Metadata, md, 0), extend(in.part.Data, data, hint)}
		in.count(st.p, v.memory()-in.part.memory())
		if follows {
			in.part, in.partial, in.ending = v, true, in.ending || complete
			return
		}
		in.count(st.p, -v.memory())
		if cap(v.Data) > 2*len(v.Data) { // the hint was wrong
			v.Data = slices.Clone(v.Data)
		}
		in.hint = len(v.Data)
		st.p.hint.Store(int64(in.hint))
		complete = complete || in.ending
		in.part, in.partial, in.ending = Payload{}, false, false
	} else {
		v = v.clone()
	}
	if st.asking {
		st.begin(v, complete)
		return
	}
	in.count(st.p, v.size())
	if in.granted--; st.kind == core.FrameTypeRequestResponse {
		complete = true // an answer completes whether it says so or not
	}
	in.push(v)
	if complete {
		st.completed()
	}
	wake(in.wake)
}

// extend appends src to dst, which at least doubles when it grows, and grows up to eightfold towards what
// it will probably come to. A list of fragments would let empty ones cost memory without bound. nil and nil
// stay nil.
func extend(dst, src []byte, hint int) []byte {
	if n := len(dst) + len(src); n > cap(dst) || dst == nil && src != nil {
		size := max(n, 2*len(dst), min(hint+hint/8, 8*n))
		dst = append(make([]byte, 0, size), dst...)
	}
	return append(dst, src...)
}

// memory is what v's bytes keep from the garbage collector.
func (v Payload) memory() int { return cap(v.Metadata) + cap(v.Data) }

// completed notes COMPLETE from the other end. mu is held.
func (st *stream) completed() {
	st.in.err = io.EOF
	st.in.forgetPart(st.p)
	wake(st.in.wake)
	if st.asks {
		st.settle()
	}
}

// take returns the next element, asking for more when half the window is free. io.EOF: COMPLETE, and our
// half is over as well.
func (st *stream) take(ctx context.Context) (Payload, error) {
	for {
		if ctx != st.ctx && ctx.Err() != nil { // what ended a handler's context comes after what was received before it
			return Payload{}, context.Cause(ctx)
		}
		st.mu.Lock()
		if st.in.pace != nil {
			st.in.window = st.in.pace()
		}
		ask := st.in.ask()
		if ask > 0 {
			st.s.Request(ask)
		}
		var v Payload
		got := st.in.waiting() > 0
		err := st.in.err
		if got {
			v, err = st.in.pop(st.p), nil
		} else if err == io.EOF && !st.over && st.asks {
			err = nil // our half is still being sent
		}
		st.mu.Unlock()
		if ask > 0 {
			st.s.Session().Flush()
		}
		if got || err != nil {
			return v, err
		}
		select {
		case <-st.in.wake:
		case <-ctx.Done():
		}
	}
}

// elements is what is received, as an iterator. left is called when its loop is left early.
func (st *stream) elements(ctx context.Context, left func()) iter.Seq2[Payload, error] {
	return func(yield func(Payload, error) bool) {
		for {
			v, err := st.take(ctx)
			if err == io.EOF {
				return
			}
			if err != nil {
				yield(Payload{}, err)
				return
			}
			if !yield(v, nil) {
				left()
				return
			}
		}
	}
}
