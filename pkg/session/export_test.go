package session

import "net"

// NetConn saves the tests an import.
type NetConn = net.Conn

// ResumeFrame is a RESUME of c's session with positions of the caller's choice, behind its length.
func ResumeFrame(c *Client, received, first uint64) []byte {
	return resume{token: c.setup.token, received: received, first: first}.frame().b
}

// DropRetained makes c forget the newest frame it keeps, and still believe that the other end will get it: the fault of
// a session that loses a frame at a cut.
func DropRetained(c *Conn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := c.led.kept.len()
	if n < 2 {
		return
	}
	// The frame before it is sent twice in its place, cut or padded to its size, so that positions still fit.
	lost, twin := c.led.kept.at(n-1), *c.led.kept.at(n - 2)
	b := append([]byte(nil), lost.b...)
	copy(b[lenSize:], twin.b[lenSize:])
	lost.release()
	*lost = Frame{b: b}
}

// CountEarly makes c count a frame as received that is not: the fault of a session that counts before the bytes are there.
func CountEarly(c *Conn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.led.received += 20
}

// UseStreamIDs makes next the next stream id that c gives.
func UseStreamIDs(c *Client, next uint32) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.nextID = next
}

// Waiting is how many streams c remembers to have asked for a moment to send.
func Waiting(c *Client) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.waiting)
}

// Control is what waits in c's queue of control frames.
func Control(c *Conn) (bytes, frames int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := range c.control.len() {
		bytes += c.control.at(i).Size()
	}
	return bytes, c.control.len()
}

// HeldByReader is how many bytes the reader of c's link holds. It must be waiting for the link.
func HeldByReader(c *Conn) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.link == nil || c.link.in.blk == nil {
		return 0
	}
	return len(c.link.in.blk.b)
}

// Frames returns a function that takes the next frame from nc, as Conn.serve does.
func Frames(nc net.Conn) func() error {
	r := reader{nc: nc, max: maxFrame, ask: blockSize}
	return func() error {
		for {
			f, ok, err := r.frame()
			if ok {
				_, err = sane(f)
				return err
			}
			if err == nil {
				err = r.fill()
			}
			if err != nil {
				return err
			}
		}
	}
}

// Ledger lets a benchmark keep frames of 1,000 bytes.
type Ledger struct {
	l ledger
	f Frame
}

func NewLedger() *Ledger {
	return &Ledger{ledger{retain: true}, newFrame(1, 0x0a, 0, make([]byte, 1000))}
}
func (l *Ledger) Send() { l.l.add(l.f) }
func (l *Ledger) Ack()  { _ = l.l.ack(l.l.sent) }

// Replay rewinds to what is acknowledged and takes all that is kept.
func (l *Ledger) Replay() {
	_ = l.l.rewind(l.l.acked)
	for f, ok := l.l.replay(); ok; f, ok = l.l.replay() {
		f.release()
	}
}
