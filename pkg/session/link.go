package session

import (
	"errors"
	"io"
	"net"
	"syscall"
	"time"
)

// link is one transport under a session.
type link struct {
	nc   net.Conn
	raw  syscall.RawConn // reads and writes without a goroutine or a buffer that waits; nil: through nc
	in   reader
	gone chan struct{} // closed when its reader has ended

	writing bool // guarded by Conn.mu: a sender is at work
	batch   int  // likewise: bytes to give to it at once; see pace
	since   time.Time
}

func newLink(nc net.Conn, notSent, maxFrame int) *link {
	l := &link{nc: nc, gone: make(chan struct{}), since: time.Now()}
	Tune(nc, notSent)
	if tc, ok := nc.(*net.TCPConn); ok && fastLinks {
		l.raw, _ = tc.SyscallConn()
	}
	l.in = reader{nc: nc, raw: l.raw, max: maxFrame, ask: blockSize}
	return l
}

// Tune keeps the kernel from hoarding what is written to the TCP connection below nc: with the default
// send buffer a small answer waits 140 ms behind a large one on a 14 MB/s path, with 16 KiB 11 ms.
func Tune(nc net.Conn, notSent int) {
	if tc, ok := bottom(nc).(*net.TCPConn); ok {
		setNotSent(tc, notSent)
	}
}

// bottom returns what is below nc in the end, such as the TCP connection of a WebSocket over TLS: nc itself, or nil where
// somebody between has nothing below.
func bottom(nc net.Conn) net.Conn {
	for {
		above, ok := nc.(interface{ NetConn() net.Conn })
		if !ok {
			return nc
		}
		nc = above.NetConn()
	}
}

// close closes what is below first: TLS has a last word of its own, with which it waits five seconds for a link that
// takes nothing. Where it matters finish has said it.
func (l *link) close() {
	if nc := bottom(l.nc); nc != nil {
		_ = nc.Close()
	}
	_ = l.nc.Close()
}

// lingering is how long the other end has to take our last words and close the link. Closing first would lose
// them whenever it is writing: its next segment is answered with RST, which empties its receive buffer.
const lingering = time.Second

// finish says that nothing more will be written.
func (l *link) finish() {
	if w, ok := l.nc.(interface{ CloseWrite() error }); ok {
		_ = w.CloseWrite()
	}
}

// reader cuts frames out of what a link has. It holds a block only while bytes are in it.
type reader struct {
	nc  net.Conn
	raw syscall.RawConn
	max int // longest frame
	ask int // bytes to ask for at once

	blk   *block
	r, w  int // blk.b[r:w] has not been cut
	need  int // bytes of the frame that is under way, as far as known
	first [16]byte

	n   int
	err error
	try func(uintptr) bool
}

var errFrameLength = errors.New("frame length is out of bounds")

// frame returns the next whole frame that is already here. Its bytes are good until the next fill.
func (r *reader) frame() (f Frame, ok bool, err error) {
	have := r.w - r.r
	if r.need = lenSize; have < lenSize {
		return f, false, nil
	}
	h := r.blk.b[r.r:r.w]
	n := u24(h)
	if n < headSize || n > r.max {
		return f, false, errFrameLength
	}
	if r.need += n; have < r.need {
		return f, false, nil
	}
	r.r += r.need
	return Frame{b: h[:r.need:r.need], blk: r.blk}, true, nil
}

// fill waits for bytes.
func (r *reader) fill() error {
	if r.blk != nil {
		switch have := r.w - r.r; {
		case have == 0 && r.blk.refs.Load() == 1 && len(r.blk.b) >= r.ask:
			r.r, r.w = 0, 0
		case have == 0:
			r.drop()
		case r.room(have) > len(r.blk.b)-r.r: // the frame that has begun does not fit: move its beginning
			next := newBlock(max(r.ask, r.room(have)))
			n := copy(next.b, r.blk.b[r.r:r.w])
			r.drop()
			r.blk, r.w = next, n
		}
	}
	if r.raw != nil {
		if r.try == nil {
			r.try = r.tryRead
		}
		if err := r.raw.Read(r.try); err != nil {
			return err
		}
		if r.err != nil {
			return r.err
		}
		r.w += r.n
		return nil
	}
	return r.fillBlocking()
}

// room is how much to have for a frame of which have bytes are here: no more than a few times what has come, whatever
// length it announces.
func (r *reader) room(have int) int { return min(r.need, max(r.ask, 4*have)) }

// fillBlocking waits with a few bytes of its own, so that an idle link holds no block.
func (r *reader) fillBlocking() error {
	if r.blk != nil && r.w > r.r {
		n, err := r.nc.Read(r.blk.b[r.w:])
		r.w += n
		return readError(n, err)
	}
	if r.blk != nil {
		r.drop()
	}
	n, err := r.nc.Read(r.first[:])
	if n > 0 {
		r.blk, r.r = newBlock(r.ask), 0
		r.w = copy(r.blk.b, r.first[:n])
	}
	return readError(n, err)
}

func readError(n int, err error) error {
	if n > 0 {
		return nil // an error that came with bytes comes again
	}
	if err == nil {
		return io.ErrNoProgress
	}
	return err
}

// drain reads and forgets until the other end, or our own patience, closes the link.
func (r *reader) drain() {
	for {
		r.drop()
		if r.fill() != nil {
			return
		}
	}
}

func (r *reader) drop() {
	if r.blk != nil {
		r.blk.release()
		r.blk = nil
	}
	r.r, r.w = 0, 0
}
