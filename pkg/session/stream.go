package session

import "github.com/rsocket/rsocket-go/core"

// Owner is who one stream belongs to. No call may block; Frame comes from the goroutine that reads,
// the others from any.
type Owner interface {
	// Frame takes a frame of the stream: PAYLOAD, REQUEST_N, CANCEL, ERROR, or the rest of a
	// fragmented request. Its lengths have been checked.
	Frame(f Frame)
	// Left says that n marked frames or messages more have been given to a link.
	Left(n int)
	// Writable says that what Await asked for has come true.
	Writable()
	// Ended says that the session is over; err wraps ErrClosed and the reason. It is not called for a
	// stream that was forgotten, canceled or failed before.
	Ended(err error)
}

// Stream is one stream's place in a session: its id, and what it has waiting to leave.
type Stream struct {
	c *Conn

	// Conn.mu guards the following.
	owner   Owner  // nil while Receiver.Request has not returned it
	early   int    // what Left owes it then
	id      uint32 // 0: its first frame has not left
	out     fifo[outgoing]
	bytes   int   // in out, not yet given to a link
	demand  int64 // REQUEST_N to send at the next border of an element
	refuse  bool  // CANCEL to send, and live on
	final   Frame // CANCEL or ERROR to send, and be over
	inside  bool  // the last frame that left was a fragment that another must follow
	batched int   // frames in a batch that is being written
	listed  bool  // in fresh or busy
	urgent  bool  // in Conn.signals
	asked   bool  // Await said no; Writable is owed
	waiting bool  // in Conn.waiting
	gone    bool  // not, or no more, in Conn.streams
	next    *Stream
}

// outgoing is a frame as it came (Put), or a message to be cut (Send).
type outgoing struct {
	frame Frame
	m     *Message
	begun bool
	mark  bool
}

// ID returns the stream's id, 0 while its first frame has not left.
func (s *Stream) ID() uint32 {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	return s.id
}

// Session returns the session the stream is of.
func (s *Stream) Session() *Conn { return s.c }

// Send queues m.
func (s *Stream) Send(m Message) {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	s.enqueue(outgoing{m: &m, mark: m.Mark}, m.size())
}

// Put queues a received frame of another stream or session as it is; only its stream id will be
// rewritten. It takes a reference of its own to the bytes. A marked frame is counted in Owner.Left.
func (s *Stream) Put(f Frame, mark bool) {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	if s.c.err == nil && s.final.b == nil {
		if s.out.s == nil && f.Has(core.FlagFollow) { // fragments come in one go: growing to hold them costs three allocations more
			s.out.s = make([]outgoing, 0, 8)
		}
		s.enqueue(outgoing{frame: f.keep(), mark: mark}, f.Size())
	}
}

// enqueue lists s as having something to say. mu is held.
func (s *Stream) enqueue(o outgoing, size int) {
	if s.c.err != nil || s.final.b != nil {
		return
	}
	s.out.push(o)
	s.bytes += size
	s.c.queued += size
	if !s.listed {
		s.listed = true
		s.c.fresh.push(s)
	}
}

// Request asks for n elements more: REQUEST_N at the next border of an element, as rsocket-js takes one
// between fragments for an error. What has not left yet adds up.
func (s *Stream) Request(n uint32) {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	if s.c.err == nil && s.final.b == nil {
		s.demand = min(s.demand+int64(n), maxN)
		s.signal()
	}
}

// Refuse sends CANCEL for the other end's half of a channel; the stream lives on.
func (s *Stream) Refuse() {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	if s.c.err == nil && s.final.b == nil {
		s.refuse = true
		s.signal()
	}
}

// Cancel drops what is queued, sends CANCEL if anything of the stream ever left, and forgets the stream.
func (s *Stream) Cancel() {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	if s.id != 0 && !s.gone {
		s.finish(newFrame(s.id, core.FrameTypeCancel, 0))
	}
	s.forget()
	s.clear()
}

// Fail drops what is queued, sends ERROR, and forgets the stream.
func (s *Stream) Fail(code core.ErrorCode, text string) {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	if s.id != 0 && !s.gone {
		s.finish(errorFrame(s.id, &Error{code, text}, s.c.mtu))
	}
	s.forget()
	s.clear()
}

// finish makes f the last frame of s. mu is held.
func (s *Stream) finish(f Frame) {
	if s.c.err != nil || s.final.b != nil {
		f.release()
		return
	}
	s.final = f
	s.signal()
	if s.c.finals++; s.c.finals > maxStreams {
		go s.c.end(errUnread, protocolError("%v", errUnread)) // mu is held
	}
}

// Forget makes the session ignore what comes for the stream from here on; what is queued still leaves.
func (s *Stream) Forget() {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	s.forget()
}

// Queued returns the bytes that wait here and have not been given to a link.
func (s *Stream) Queued() int {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	return s.bytes
}

// Await reports whether a value that is sent now may leave at once: nothing of the stream is waiting,
// the session has a link, and room to keep what it sends. Otherwise Owner.Writable is called once,
// when that has come true.
func (s *Stream) Await() bool {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	if s.writable() {
		return true
	}
	s.asked = true
	if !s.waiting {
		s.waiting = true
		s.c.wait(s)
	}
	return false
}

// writable is what Await asks for. mu is held, as for all that follows.
func (s *Stream) writable() bool {
	return s.out.len() == 0 && s.batched == 0 && s.c.link != nil && s.c.open && !s.c.led.replaying() && !s.c.full() && s.c.err == nil
}

// signal lists s as having a frame that no full session may hold up.
func (s *Stream) signal() {
	if !s.urgent {
		s.urgent = true
		s.c.signals.push(s)
	}
}

func (s *Stream) forget() {
	if !s.gone {
		s.gone, s.asked = true, false
		if s.id != 0 && s.c.streams[s.id] == s {
			delete(s.c.streams, s.id)
			s.c.calm()
		}
	}
}

// clear drops what is queued.
func (s *Stream) clear() {
	for o, ok := s.out.pop(); ok; o, ok = s.out.pop() {
		o.frame.release()
	}
	s.c.queued -= s.bytes
	s.bytes, s.demand, s.refuse, s.asked = 0, 0, false, false
}

// takeSignal returns the next frame that goes before what is queued, if any.
func (s *Stream) takeSignal() (Frame, bool) {
	switch {
	case s.final.b != nil:
		f := s.final
		if len(f.b) == 0 { // it has left
			return f, false
		}
		s.final = Frame{b: []byte{}} // nothing may follow
		s.c.finals--
		return f, true
	case s.id == 0 || s.inside:
		return Frame{}, false
	case s.refuse:
		s.refuse = false
		return newFrame(s.id, core.FrameTypeCancel, 0), true
	case s.demand > 0:
		f := newFrame(s.id, core.FrameTypeRequestN, 0, u32(uint32(s.demand)))
		s.demand = 0
		return f, true
	}
	return Frame{}, false
}

// take returns the next frame of s; marked: it ends something that Owner.Left counts.
func (s *Stream) take() (f Frame, marked, ok bool) {
	if f, ok := s.takeSignal(); ok {
		return f, false, true
	}
	if s.out.len() == 0 {
		return Frame{}, false, false
	}
	if s.id == 0 {
		s.c.assign(s)
	}
	o := s.out.at(0)
	last := true
	if o.m != nil {
		before := o.m.size()
		f, last = o.m.fragment(s.id, s.c.mtu, o.begun)
		o.begun = true
		s.took(before - o.m.size())
	} else {
		f = o.frame
		f.setStreamID(s.id)
		s.took(f.Size())
	}
	marked = last && o.mark
	s.inside = !last || o.m == nil && f.Has(core.FlagFollow)
	if last {
		s.out.pop()
	}
	return f, marked, true
}

func (s *Stream) took(n int) {
	s.bytes -= n
	s.c.queued -= n
}

// ring is a queue of streams, linked through them. A stream is in one ring at most.
type ring struct{ head, tail *Stream }

func (r *ring) push(s *Stream) {
	if s.next = nil; r.head == nil {
		r.head = s
	} else {
		r.tail.next = s
	}
	r.tail = s
}

func (r *ring) pop() *Stream {
	s := r.head
	if s != nil {
		r.head, s.next = s.next, nil
	}
	return s
}
