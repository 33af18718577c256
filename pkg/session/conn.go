package session

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rsocket/rsocket-go/core"
)

// Receiver is what sits on a whole session. Its calls come one at a time, but for Ended and what
// Owner says of its own. None may block.
type Receiver interface {
	// Request is called when the other end opens a stream. It returns the stream's owner, or nil after
	// s.Fail or to ignore the request.
	Request(s *Stream, first Frame) Owner
	// Push takes a METADATA_PUSH. The bytes are good until it returns.
	Push(metadata []byte)
	// Settle says that the frames that came in together have been handed over: the moment to flush the
	// sessions they went to. The session flushes itself.
	Settle()
	// Linked says that the session has a link, or has lost it. resumed: it goes on where another ended.
	Linked(up, resumed bool)
	// Ended comes once, when the streams' owners have heard of it. What the goroutine that reads was handing over just
	// then may come after it.
	Ended(err error)
}

// Conn is one session. Client and Server make them.
type Conn struct {
	log       *slog.Logger
	client    bool
	setup     *Setup
	recv      Receiver
	mtu       int // longest frame we cut, without its length
	maxFrame  int // longest frame we take
	retainMax int // bytes kept for a RESUME, at most
	notSent   int
	batch     int // bytes given to a link at once
	life      life

	done  chan struct{}  // closed when the session is over
	work  sync.WaitGroup // senders
	born  time.Time
	heard atomic.Int64 // when the link last gave us a byte, in ns since born

	mu      sync.Mutex // guards the following, and all of Stream that says so
	led     ledger
	streams map[uint32]*Stream
	most    int // streams that it has held since it was made
	nextID  uint32
	theirs  uint32        // the highest stream id the other end has used
	control fifo[Frame]   // goes first and is not kept: answers to KEEPALIVE, METADATA_PUSH, ERROR on stream 0
	said    int           // bytes in control
	signals fifo[*Stream] // streams with CANCEL, REQUEST_N or ERROR to send
	finals  int           // streams that have a last CANCEL or ERROR to send
	fresh   ring          // streams that have just become ready
	busy    ring          // streams that had a turn and have more
	fair    bool          // the next turn is busy's
	queued  int           // bytes in all streams' queues
	waiting []*Stream     // Await said no; some may have lost interest
	weed    int           // look for those when waiting is so long
	link    *link         // nil: none
	reading chan struct{} // closed when the reader of the newest link has ended, however long ago the link was lost
	open    bool          // frames of streams may leave on link: SETUP or RESUME_OK is behind us
	up      bool          // the other end has answered on link
	met     bool          // it has on some link
	ask     bool          // a KEEPALIVE that the other end must answer is due
	tell    bool          // a KEEPALIVE that says our position is due
	ackedAt uint64        // the received position that the other end was last told
	ackedOn int64         // when it was told, in ns since born
	probing bool          // a KEEPALIVE that asks for the other end's position is under way
	remote  net.Addr      // of the last link
	err     error         // why the session is over
	stats   Stats

	attaching sync.Mutex  // one RESUME after the other, at a server
	expiry    *time.Timer // ends a session without a link, at a server; guarded by mu
	lostOn    int64       // when the last link was lost, in ns since born; guarded by mu
	total     *total      // what all sessions of a server keep; nil at a client
	onEnd     func()      // the server forgets the session; a client stops dialing
}

// Stats counts what a session did. Bytes are of frames, without their lengths.
type Stats struct {
	Links         int // links the session was on
	FramesSent    uint64
	FramesAgain   uint64 // sent again after a RESUME
	BytesAgain    uint64
	BytesSent     uint64 // of streams
	BytesReceived uint64 // of streams
	Retained      int    // bytes kept now
	Queued        int    // bytes that wait in streams
	Streams       int
	Probes        int // KEEPALIVEs sent because the retained bytes were half full
	PushesLost    int // METADATA_PUSHes that found no link, or one with too much to take already
}

const (
	// The other end is told its position unasked after so many received bytes, with what else leaves, or by itself
	// when it was not told for long or there are many: early enough that a camera at 30 fps has one or two pictures kept
	// for us, seldom enough that a fast link hardly notices, and that a camera whose every picture is answered by a
	// REQUEST_N is not woken once more for each. By itself after each 256 KiB costs a tenth.
	ackAfter   = 32 << 10
	ackPause   = 60 * time.Millisecond
	ackEvery   = 1 << 20
	maxStreams = 1 << 16 // the other end may have open at once, and may leave the last words of unread

	maxSaid = 256 << 10 // bytes of answers to KEEPALIVE, or of METADATA_PUSH, that wait: a peer that asks and never reads gets no more
)

func newConn(client bool, s *Setup, o Options) *Conn {
	c := &Conn{
		log: o.Log, client: client, setup: s, mtu: o.MTU, maxFrame: o.MaxFrame, retainMax: o.Retain, notSent: o.NotSent, batch: o.Batch,
		done: make(chan struct{}), nextID: 2, born: time.Now(),
	}
	if client {
		c.nextID = 1
	}
	c.led.retain = s.Resume
	c.life.init(c)
	return c
}

// Open makes a stream that we request. Its id is given when its first frame leaves: a request that is
// canceled before never existed.
func (c *Conn) Open(o Owner) *Stream { return &Stream{c: c, owner: o} }

// Setup returns what was said at the beginning. It must not be changed.
func (c *Conn) Setup() *Setup { return c.setup }

// ForgetSetup lets go of SETUP's metadata and data. Accept may call it once it has read them.
func (c *Conn) ForgetSetup() { c.setup.Metadata, c.setup.Data = nil, nil }

// Done is closed when the session is over.
func (c *Conn) Done() <-chan struct{} { return c.done }

// Err returns why the session is over, and nil while it is not.
func (c *Conn) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// Up reports whether the session has a link on which the other end has answered.
func (c *Conn) Up() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.link != nil && c.up
}

// RemoteAddr returns the other end's address on the newest link, nil before the first.
func (c *Conn) RemoteAddr() net.Addr {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.remote
}

// Stats returns the counters as they stand.
func (c *Conn) Stats() Stats {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.stats
	s.BytesSent, s.BytesReceived = c.led.sent, c.led.received
	s.Retained, s.Queued, s.Streams = c.led.bytes, c.queued, len(c.streams)
	return s
}

// Push sends a METADATA_PUSH. The protocol does not count it: over the loss of a link it may be lost.
func (c *Conn) Push(metadata []byte) {
	c.mu.Lock()
	if c.err == nil && c.link != nil && (c.said == 0 || c.said+len(metadata) <= maxSaid) && len(metadata) <= maxFrame-headSize {
		c.say(newFrame(0, core.FrameTypeMetadataPush, core.FlagMetadata, metadata))
	} else {
		c.stats.PushesLost++
	}
	c.mu.Unlock()
	c.Flush()
}

// say queues a control frame. mu is held.
func (c *Conn) say(f Frame) {
	c.control.push(f)
	c.said += f.Size()
}

// hush drops the control frames that wait. mu is held.
func (c *Conn) hush() {
	for f, ok := c.control.pop(); ok; f, ok = c.control.pop() {
		f.release()
	}
	c.said = 0
}

// Close says goodbye, with CONNECTION_CLOSE or another code of stream 0, and ends the session. It does not block.
func (c *Conn) Close(code core.ErrorCode, text string) {
	c.end(errGoodbye, &Error{code, text})
}

// sit puts recv on c, which may have been ended meanwhile.
func (c *Conn) sit(recv Receiver) error {
	c.mu.Lock()
	c.recv = recv
	err := c.err
	c.mu.Unlock()
	if err != nil {
		recv.Ended(err)
	}
	return err
}

// attach makes l the session's link. hello goes before all else. up: the other end has answered.
func (c *Conn) attach(l *link, up bool, hello ...Frame) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return c.err
	}
	c.link, c.reading, c.open, c.up, c.probing = l, l.gone, true, up, false
	c.met = c.met || up
	c.ask, c.tell = false, false
	c.remote = l.nc.RemoteAddr()
	c.ackedAt = c.led.received
	c.stats.Links++
	c.hush() // what was for the link that is no more
	for _, f := range hello {
		c.say(f)
	}
	c.heard.Store(c.now())
	c.life.start()
	if c.expiry != nil {
		c.expiry.Stop()
	}
	return nil
}

// lose takes l from the session, if it still is the session's link.
func (c *Conn) lose(l *link, err error) {
	l.close()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.link == l {
		c.link, c.open, c.up, c.lostOn = nil, false, false, c.now()
		c.life.stop()
		c.log.Debug("link lost", "remote", c.remote, "err", err)
	}
}

// now is the time since the session was made.
func (c *Conn) now() int64 { return int64(time.Since(c.born)) }

// read hands over what comes in on l until the link is lost or the session is over, and says why.
func (c *Conn) read(l *link, resumed bool) error {
	defer close(l.gone)
	c.mu.Lock()
	up, awake := c.up, c.awake()
	c.mu.Unlock()
	if up { // else receive says so, when the other end has answered our SETUP
		c.recv.Linked(true, resumed)
	}
	for _, s := range awake {
		s.owner.Writable()
	}
	c.Flush()
	err := c.serve(l)
	l.in.drop()
	if e, ok := errors.AsType[*Error](err); ok {
		c.end(err, e)
	}
	if c.Err() != nil { // the last words are heard before the link is closed
		<-c.done
		c.work.Wait()
		l.in.drain()
	}
	c.lose(l, err)
	if c.Err() == nil {
		c.recv.Linked(false, false)
	}
	return err
}

func (c *Conn) serve(l *link) error {
	for {
		for {
			f, ok, err := l.in.frame()
			if err != nil {
				return protocolError("%v", err)
			}
			if !ok {
				break
			}
			if err := c.receive(l, f); err != nil {
				return err
			}
		}
		c.acknowledge()
		c.recv.Settle()
		c.Flush()
		if err := l.in.fill(); err != nil {
			return err
		}
		c.heard.Store(c.now())
	}
}

// receive acts on one frame. An error ends the link, an *Error the session too.
func (c *Conn) receive(l *link, f Frame) error {
	ignore, err := sane(f)
	if ignore || err != nil {
		return err
	}
	id, t := f.StreamID(), f.Type()
	c.mu.Lock()
	if err := c.err; err != nil || c.link != l {
		c.mu.Unlock()
		if err != nil {
			return err
		}
		return errSuperseded
	}
	first := !c.up
	c.up, c.met = true, true
	if id == 0 {
		c.mu.Unlock()
		if first && t != core.FrameTypeError {
			c.recv.Linked(true, false)
		}
		return c.receiveControl(f)
	}
	// The frame is here: nothing below may lose it. Stream 0 is not counted: rsocket-java counts by stream id
	// (ResumableDuplexConnection), and an ERROR there is the last frame.
	c.led.received += uint64(f.Size())
	s := c.streams[id]
	known := s != nil || !isRequest(t) || !c.theirsIs(id) || id <= c.theirs
	if !known {
		c.theirs = id
	}
	crowded := len(c.streams) >= maxStreams
	c.mu.Unlock()
	if first {
		c.recv.Linked(true, false)
	}
	switch {
	case s != nil:
		s.owner.Frame(f)
	case known: // a late frame of a stream that is over, or of none: to be ignored
	default:
		c.request(&Stream{c: c, id: id}, f, crowded)
	}
	return nil
}

func (c *Conn) request(s *Stream, f Frame, crowded bool) {
	if crowded {
		s.Fail(core.ErrorCodeRejected, "too many streams at once")
		return
	}
	owner := c.recv.Request(s, f)
	c.mu.Lock()
	over, left := c.err, s.early
	s.early = 0
	if s.owner = owner; owner == nil {
		s.gone = true
	}
	gone := s.gone
	if !gone && over == nil {
		c.enter(s)
	}
	awake := c.awake()
	c.mu.Unlock()
	if owner != nil && left > 0 {
		owner.Left(left)
	}
	if !gone && over != nil {
		owner.Ended(over)
	}
	for _, s := range awake {
		s.owner.Writable()
	}
}

// theirsIs reports whether id is one that the other end may give: even from a server, odd from a client.
func (c *Conn) theirsIs(id uint32) bool { return id&1 == c.nextID&1^1 }

func isRequest(t core.FrameType) bool {
	return t >= core.FrameTypeRequestResponse && t <= core.FrameTypeRequestChannel
}

// enter puts s into the table of streams. mu is held.
func (c *Conn) enter(s *Stream) {
	if c.streams == nil {
		c.streams = map[uint32]*Stream{}
	}
	c.streams[s.id] = s
	c.most = max(c.most, len(c.streams))
	if len(c.streams) == 1 {
		c.life.busy()
	}
}

// smallTable is up to how many streams the table is one small block.
const smallTable = 8

// calm gives the table's memory back when the last stream has left, unless it is little: who asks one thing after the other
// would have a new table for each. mu is held.
func (c *Conn) calm() {
	if len(c.streams) == 0 && c.most > smallTable {
		c.streams, c.most = nil, 0
	}
}

func (c *Conn) receiveControl(f Frame) error {
	switch f.Type() {
	case core.FrameTypeKeepalive:
		return c.receiveKeepalive(f)
	case core.FrameTypeMetadataPush:
		c.recv.Push(f.body())
	case core.FrameTypeError:
		e := &Error{core.ErrorCode(f.N()), string(f.Data())}
		if e.Code == core.ErrorCodeConnectionClose {
			c.end(fmt.Errorf("%w: %w", errRemoteBye, e), nil)
		} else {
			c.end(e, nil)
		}
		return io.EOF
	}
	return nil
}

func (c *Conn) receiveKeepalive(f Frame) error {
	pos := binary.BigEndian.Uint64(f.body()) & math.MaxInt64
	c.mu.Lock()
	err := c.trim(func() error { return c.led.ack(pos) })
	if !f.Has(core.FlagRespond) {
		c.probing = false
	} else if size := f.Size(); c.err == nil && c.said+size <= maxSaid {
		c.ackedAt, c.ackedOn = c.led.received, c.now()
		c.say(keepaliveFrame(c.led.received, false, f.body()[8:]))
	}
	awake := c.awake()
	c.mu.Unlock()
	for _, s := range awake {
		s.owner.Writable()
	}
	return err
}

// acknowledge tells the other end our position when it must be keeping much for us.
func (c *Conn) acknowledge() {
	c.mu.Lock()
	defer c.mu.Unlock()
	due := c.led.received - c.ackedAt
	if !c.led.retain || !c.open || c.err != nil || due < ackAfter {
		return
	}
	if due >= ackEvery || c.now()-c.ackedOn >= int64(ackPause) {
		c.tell = true
	}
}

// end makes the session over. tell, if not nil, is said as the last frame.
func (c *Conn) end(why error, tell *Error) {
	c.mu.Lock()
	if c.err != nil {
		c.mu.Unlock()
		return
	}
	c.err = fmt.Errorf("%w: %w", ErrClosed, why)
	c.ask, c.tell = false, false
	c.life.stop()
	streams := make([]*Stream, 0, len(c.streams))
	for _, s := range c.streams {
		streams = append(streams, s)
	}
	// A request that has not left is in no table; it is in a ring.
	for s := c.turn(); s != nil; s = c.turn() {
		if s.id == 0 && !s.gone {
			streams = append(streams, s)
		}
		s.clear()
	}
	for _, s := range streams {
		s.clear()
		s.gone = true
	}
	for s, ok := c.signals.pop(); ok; s, ok = c.signals.pop() {
		s.final.release()
	}
	c.hush()
	_ = c.trim(func() error { c.led.drop(); return nil })
	c.streams, c.waiting = nil, nil
	l := c.link
	if l != nil && tell != nil {
		c.say(errorFrame(0, tell, c.mtu))
	}
	err, recv := c.err, c.recv
	c.mu.Unlock()

	switch {
	case l == nil:
	case tell == nil:
		l.close()
	default:
		time.AfterFunc(lingering, l.close) // whatever its sender is stuck in
		c.Flush()
	}
	for _, s := range streams {
		s.owner.Ended(err)
	}
	if recv != nil { // else Accept is still looking at it; see sit
		recv.Ended(err)
	}
	if c.onEnd != nil {
		c.onEnd()
	}
	close(c.done)
}

// trim does what lets kept frames go, and counts them. mu is held.
func (c *Conn) trim(do func() error) error {
	before := c.led.bytes
	err := do()
	c.total.add(c.led.bytes - before)
	return err
}
