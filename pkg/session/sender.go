package session

import (
	"slices"
	"sync"
)

const (
	quantum  = 16 << 10 // of one stream per turn, and the rest of its last frame
	batchMax = 1000     // frames in a batch
	slack    = 1 << 20  // kept beyond the bound for CANCEL, REQUEST_N and ERROR
	growth   = 4        // times Options.Batch is the most that is given to a link at once
)

// batch is what is being written. A link that is idle has none.
type batch struct {
	frames []Frame // released after the write
	of     []sent
	n      int // bytes
	vec    vectors
	loaded bool   // vec has the frames
	buf    []byte // for links that are written through net.Conn
}

// sent is what one stream has in a batch.
type sent struct {
	s      *Stream
	owner  Owner
	frames int
	marked int
}

var batches = sync.Pool{New: func() any { return new(batch) }}

func (w *batch) add(f Frame) {
	w.frames = append(w.frames, f)
	w.n += len(f.b)
}

func (w *batch) note(s *Stream, marked bool) {
	if n := len(w.of); n == 0 || w.of[n-1].s != s {
		w.of = append(w.of, sent{s: s})
	}
	e := &w.of[len(w.of)-1]
	e.frames++
	if marked {
		e.marked++
	}
}

func (w *batch) reset() {
	for _, f := range w.frames {
		f.release()
	}
	clear(w.frames)
	clear(w.of)
	w.frames, w.of, w.n = w.frames[:0], w.of[:0], 0
	w.vec.reset()
	w.loaded = false
}

// full reports whether no more may be kept, so that no new frame may leave. mu is held, as for all here
// that does not say otherwise.
func (c *Conn) full() bool { return c.led.retain && c.led.bytes >= c.retainMax }

// assign gives s the next id.
func (c *Conn) assign(s *Stream) {
	s.id = c.nextID
	if c.nextID += 2; c.nextID > maxN {
		go c.end(errStreamIDs, protocolError("%v", errStreamIDs)) // mu is held
	}
	if !s.gone {
		c.enter(s)
	}
}

// emit puts a new frame into the batch.
func (c *Conn) emit(w *batch, s *Stream, f Frame, marked bool) {
	w.add(f)
	w.note(s, marked)
	before := c.led.bytes
	c.led.add(f)
	c.total.add(c.led.bytes - before)
	s.batched++
	c.stats.FramesSent++
}

// gather fills w with what leaves next and reports whether there is anything.
func (c *Conn) gather(w *batch) bool {
	if !c.load(w) {
		return false
	}
	if c.led.retain && c.err == nil && c.led.received-c.ackedAt >= ackAfter {
		c.position(w)
	}
	return true
}

// position adds a KEEPALIVE. It is made as it leaves: there is never more than one, and it says what is true now.
func (c *Conn) position(w *batch) {
	w.add(keepaliveFrame(c.led.received, c.ask, nil))
	c.ask, c.tell, c.ackedAt, c.ackedOn = false, false, c.led.received, c.now()
}

func (c *Conn) load(w *batch) bool {
	if c.led.retain && !c.probing && c.led.bytes >= c.retainMax/2 {
		// Acknowledgements travel in KEEPALIVE only: at its own pace the other end may be too late for our bound.
		c.probing, c.ask = true, true
		c.stats.Probes++
	}
	for f, ok := c.control.pop(); ok; f, ok = c.control.pop() {
		w.add(f)
	}
	c.said = 0
	if c.ask || c.tell {
		c.position(w)
	}
	if c.err != nil || !c.open {
		return len(w.frames) > 0
	}
	most := max(c.link.batch, c.batch)
	for w.n < most && len(w.frames) < batchMax {
		f, ok := c.led.replay()
		if !ok {
			break
		}
		w.add(f)
		c.stats.FramesAgain++
		c.stats.BytesAgain += uint64(f.Size())
	}
	if c.led.replaying() {
		return len(w.frames) > 0
	}
	for n := c.signals.len(); n > 0 && (!c.led.retain || c.led.bytes < c.retainMax+slack); n-- {
		s, _ := c.signals.pop()
		s.urgent = false
		for f, ok := s.takeSignal(); ok; f, ok = s.takeSignal() {
			c.emit(w, s, f, false)
		}
	}
	for w.n < most && len(w.frames) < batchMax && !c.full() {
		s := c.turn()
		if s == nil {
			break
		}
		for left := quantum; left > 0 && !c.full(); {
			f, marked, ok := s.take()
			if !ok {
				break
			}
			left -= f.Size()
			c.emit(w, s, f, marked)
		}
		if s.out.len() > 0 {
			c.busy.push(s)
		} else {
			s.listed = false
		}
		if !s.inside && (s.demand > 0 || s.refuse) { // they waited for this border of an element
			s.signal()
		}
	}
	return len(w.frames) > 0
}

// turn returns the stream whose turn it is: one that has just become ready and one that had its turn
// before and has more, alternately. So a small answer waits for one quantum of a large one however many
// large ones are under way, and small ones cannot starve a large one.
func (c *Conn) turn() *Stream {
	c.fair = !c.fair
	if c.busy.head != nil && (c.fair || c.fresh.head == nil) {
		return c.busy.pop()
	}
	return c.fresh.pop()
}

// Flush sends what is queued. It never blocks: what the link does not take at once is left to a sender.
// mu is not held.
func (c *Conn) Flush() {
	c.mu.Lock()
	l := c.link
	if l == nil || l.writing || c.err != nil && c.control.len() == 0 {
		c.mu.Unlock()
		return
	}
	w := batches.Get().(*batch)
	if !c.gather(w) {
		c.mu.Unlock()
		batches.Put(w)
		return
	}
	l.writing = true
	if l.raw == nil {
		c.work.Add(1)
		c.mu.Unlock()
		go func() {
			defer c.work.Done()
			c.send(l, w, true)
		}()
		return
	}
	c.work.Add(1)
	c.mu.Unlock()
	defer c.work.Done()
	c.send(l, w, false)
}

// send writes w and what is gathered after it until nothing is left. Without wait it hands over to a
// goroutine when the link is full, or when it has gone on for long: it may be running in a reader.
func (c *Conn) send(l *link, w *batch, wait bool) {
	for turn := 1; ; turn++ {
		done, err := l.put(w, wait)
		if err == nil && !done {
			c.later(l, w)
			return
		}
		if !c.written(l, w, err) {
			return
		}
		if !wait && turn == 4 {
			c.later(l, w)
			return
		}
	}
}

// later goes on with w in a goroutine of its own. It is called by a sender, of which work already knows.
func (c *Conn) later(l *link, w *batch) { c.work.Go(func() { c.send(l, w, true) }) }

// pace takes note of how a link took w. While it takes whole batches at once nothing waits behind them, and they may grow:
// a picture of 100 KB in one system call instead of four. The first time it does not they are small again. c.mu is held.
func (l *link) pace(w *batch, least int) {
	switch {
	case w.vec.stalled():
		l.batch = least
	case l.raw != nil && w.n >= max(l.batch, least):
		l.batch = min(2*w.n, growth*least)
	}
}

// put writes w; done is false when the link is full and wait is not set.
func (l *link) put(w *batch, wait bool) (done bool, err error) {
	if l.raw == nil {
		w.buf = w.buf[:0]
		for _, f := range w.frames {
			w.buf = append(w.buf, f.b...)
		}
		_, err := l.nc.Write(w.buf)
		return true, err
	}
	if !w.loaded {
		w.loaded = true
		for _, f := range w.frames {
			w.vec.add(f.b)
		}
	}
	err = l.write(w, wait)
	return w.vec.done(), err
}

// written settles what is due after w was written, or could not be, and gathers the next batch into it.
// It returns false when the sender is done.
func (c *Conn) written(l *link, w *batch, err error) bool {
	if err != nil {
		c.lose(l, err)
	}
	c.mu.Lock()
	l.pace(w, c.batch)
	for i := range w.of {
		e := &w.of[i]
		e.s.batched -= e.frames
		if e.owner = e.s.owner; e.owner == nil { // Receiver.Request has not returned yet; see Conn.request
			e.s.early += e.marked
		}
	}
	awake := c.awake()
	c.mu.Unlock()
	for _, e := range w.of {
		if e.marked > 0 && e.owner != nil {
			e.owner.Left(e.marked)
		}
	}
	for _, s := range awake {
		s.owner.Writable()
	}
	w.reset()
	c.mu.Lock()
	more := c.link == l && c.gather(w)
	l.writing = more
	said := !more && c.err != nil
	c.mu.Unlock()
	if said { // goodbye; TLS may have to wait for a link that is full
		l.finish()
	}
	if !more {
		batches.Put(w)
	}
	return more
}

// wait lists s as one that waits for a moment to send. What has lost interest is weeded out each time the list has
// doubled: without a link nobody else does. mu is held.
func (c *Conn) wait(s *Stream) {
	if c.weed = max(c.weed, 64); len(c.waiting) >= c.weed {
		c.waiting = slices.DeleteFunc(c.waiting, func(s *Stream) bool {
			s.waiting = s.asked
			return !s.asked
		})
		c.weed = 2 * len(c.waiting)
	}
	c.waiting = append(c.waiting, s)
}

// awake takes the streams whose Await has come true. mu is held.
func (c *Conn) awake() (list []*Stream) {
	if len(c.waiting) == 0 || c.link == nil || !c.open || c.led.replaying() || c.full() {
		return nil
	}
	rest := c.waiting[:0]
	for _, s := range c.waiting {
		switch {
		case !s.asked:
			s.waiting = false
		case s.owner != nil && s.writable():
			s.asked, s.waiting = false, false
			list = append(list, s)
		default:
			rest = append(rest, s)
		}
	}
	clear(c.waiting[len(rest):])
	c.waiting = rest
	return list
}
