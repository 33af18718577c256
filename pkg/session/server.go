package session

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rsocket/rsocket-go/core"
)

const maxFirst = 64 << 10 // bytes of a SETUP or RESUME, at most

// ServerConfig is what the sessions of a server have in common.
type ServerConfig struct {
	Options
	// Accept looks at a new session's Setup and returns what sits on it. Its error is the answer to the
	// SETUP: an *Error as it is, any other as REJECTED_SETUP.
	Accept func(c *Conn) (Receiver, error)
	// MayResume looks at the link on which c is to go on: an error is the answer. nil: always.
	MayResume func(c *Conn, nc net.Conn) error
	// FirstFrame is how long a link may take for its first frame; 5 s.
	FirstFrame time.Duration
	// SessionTime is how long a session may be without a link; 2 min.
	SessionTime time.Duration
	// RetainTotal is how many bytes all sessions may keep for a RESUME; 512 MiB. Over it the session without a link
	// that keeps most is ended first; when there is none, the one that keeps most.
	RetainTotal int64
	// NoResume refuses sessions that want to be resumed, as brokers without resumption do.
	NoResume bool
}

// Server makes sessions of the links it is given, and finds the session of a link that resumes one.
type Server struct {
	cfg   ServerConfig
	total total

	mu       sync.Mutex // guards the following
	sessions map[*Conn]struct{}
	byToken  map[[sha256.Size]byte]*Conn
	closed   *Error // what Close says; nil before it
	stats    ServerStats
}

// ServerStats counts what became of links.
type ServerStats struct {
	Setups, Resumes               uint64 // accepted
	RefusedSetups, RefusedResumes uint64
	Garbage                       uint64 // links whose first frame was neither
	Expired                       uint64 // sessions that were too long without a link
	Evicted                       uint64 // sessions ended because all together kept too much
}

// NewServer returns a server without sessions.
func NewServer(cfg ServerConfig) (*Server, error) {
	if cfg.Accept == nil {
		return nil, errors.New("session: a server needs Accept")
	}
	cfg.Options = cfg.Options.withDefaults()
	cfg.FirstFrame = orElse(cfg.FirstFrame, 5*time.Second)
	cfg.SessionTime = orElse(cfg.SessionTime, 2*time.Minute)
	s := &Server{cfg: cfg, sessions: map[*Conn]struct{}{}, byToken: map[[sha256.Size]byte]*Conn{}}
	s.total.max = orElse(cfg.RetainTotal, 512<<20)
	s.total.over = s.evict
	return s, nil
}

// Serve takes one link: its SETUP or RESUME, then what comes in, until the link is lost. It closes nc.
func (s *Server) Serve(nc net.Conn) error {
	l := newLink(nc, s.cfg.NotSent, maxFirst)
	l.in.ask = firstSize
	defer l.close()
	var c *Conn
	var resumed bool
	var err error
	apart(func() { c, resumed, err = s.admit(l) })
	if err != nil {
		return err
	}
	return s.after(c, c.read(l, resumed))
}

// apart runs f in a goroutine of its own and waits for it: TLS, SETUP and Accept need a deep stack, half of what an idle
// session has, and the goroutine that reads would keep it.
func apart(f func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		f()
	}()
	<-done
}

// admit reads l's first frame and returns the session that l is now the link of.
func (s *Server) admit(l *link) (c *Conn, resumed bool, err error) {
	_ = l.nc.SetDeadline(time.Now().Add(s.cfg.FirstFrame))
	f, err := l.in.firstFrame()
	if err != nil {
		return nil, false, s.refuse(l, err)
	}
	_ = l.nc.SetDeadline(time.Time{})
	l.in.max, l.in.ask = s.cfg.MaxFrame, blockSize
	switch f.Type() {
	case core.FrameTypeSetup:
		c, err = s.begin(l, f)
		return c, false, err
	case core.FrameTypeResume:
		c, err = s.resume(l, f)
		return c, true, err
	}
	return nil, false, s.refuse(l, Errorf(core.ErrorCodeInvalidSetup, "%v", errNotFirst))
}

// firstFrame reads a SETUP, RESUME, RESUME_OK or ERROR. Anything else is recognised from its first bytes.
func (r *reader) firstFrame() (Frame, error) {
	for {
		f, ok, err := r.frame()
		if err == nil && r.w-r.r >= lenSize+headSize || ok {
			head := Frame{b: r.blk.b[r.r:r.w]}
			if ok {
				head = f
			}
			err = firstSane(head)
		}
		switch {
		case err != nil:
			return f, Errorf(core.ErrorCodeInvalidSetup, "this is not an RSocket connection: %v", err)
		case ok:
			return f, nil
		}
		if err := r.fill(); err != nil {
			return f, err
		}
	}
}

var errNotFirst = errors.New("the first frame is neither SETUP nor RESUME")

func firstSane(f Frame) error {
	switch f.Type() {
	case core.FrameTypeSetup, core.FrameTypeResume, core.FrameTypeResumeOK, core.FrameTypeError:
		if f.StreamID() == 0 {
			return nil
		}
	}
	return errNotFirst
}

// refuse answers on a link that has no session.
func (s *Server) refuse(l *link, err error) error {
	s.count(func(n *ServerStats) {
		if _, ok := errors.AsType[*Error](err); ok {
			n.Garbage++
		}
	})
	return say(l, err)
}

// say tells the other end of an *Error and returns it. A link that failed is told nothing.
func say(l *link, err error) error {
	if e, ok := errors.AsType[*Error](err); ok {
		_ = l.nc.SetDeadline(time.Now().Add(lingering))
		if _, err := l.nc.Write(errorFrame(0, e, 1024).b); err == nil {
			l.finish()
			l.in.drain()
		}
	}
	return err
}

// Refuse answers a link that no server is given, tells it e, and closes it.
func Refuse(nc net.Conn, e *Error) {
	l := newLink(nc, 0, maxFirst)
	defer l.close()
	_ = say(l, e)
}

func (s *Server) count(f func(*ServerStats)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f(&s.stats)
}

// Stats returns the counters as they stand, and the number of sessions and the bytes they keep.
func (s *Server) Stats() (n ServerStats, sessions int, retained int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stats, len(s.sessions), s.total.bytes.Load()
}

// begin makes a session.
func (s *Server) begin(l *link, f Frame) (*Conn, error) {
	refused := func(err error) (*Conn, error) {
		s.count(func(n *ServerStats) { n.RefusedSetups++ })
		return nil, say(l, codeOf(err, core.ErrorCodeRejectedSetup))
	}
	setup, err := parseSetup(f)
	if err != nil {
		return refused(err)
	}
	if setup.Resume && s.cfg.NoResume {
		return refused(Errorf(core.ErrorCodeUnsupportedSetup, "resume not supported")) // the words of rsocket-java
	}
	token := sha256.Sum256(setup.token)
	setup.token = nil
	c := newConn(false, setup, s.cfg.Options)
	c.total = &s.total
	c.remote = l.nc.RemoteAddr()
	c.onEnd = func() { s.forget(c, token) }
	recv, err := s.cfg.Accept(c)
	if err != nil {
		return refused(err)
	}
	if err := c.sit(recv); err != nil {
		return refused(protocolError("%v", err))
	}
	c.attaching.Lock() // a RESUME may come as soon as the token is known
	if err := s.enter(c, token); err != nil {
		c.attaching.Unlock()
		c.end(err, nil)
		return refused(err)
	}
	err = c.attach(l, true)
	c.attaching.Unlock()
	if err != nil {
		return nil, say(l, protocolError("%v", err))
	}
	return c, nil
}

func (s *Server) enter(c *Conn, token [sha256.Size]byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed != nil {
		return s.closed
	}
	if err := c.Err(); err != nil { // from here on its end finds it in the tables
		return protocolError("%v", err)
	}
	if c.setup.Resume {
		if s.byToken[token] != nil {
			return Errorf(core.ErrorCodeRejectedSetup, "the resume token is in use")
		}
		s.byToken[token] = c
	}
	s.sessions[c] = struct{}{}
	s.stats.Setups++
	return nil
}

func (s *Server) forget(c *Conn, token [sha256.Size]byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.sessions, c)
	if s.byToken[token] == c {
		delete(s.byToken, token)
	}
}

// after decides what becomes of c, whose link was lost.
func (s *Server) after(c *Conn, err error) error {
	if !c.setup.Resume {
		c.end(err, nil)
		return err
	}
	c.mu.Lock()
	switch {
	case c.link != nil || c.err != nil:
	case c.expiry == nil:
		c.expiry = time.AfterFunc(s.cfg.SessionTime, func() { s.expire(c) })
	default:
		c.expiry.Reset(s.cfg.SessionTime)
	}
	c.mu.Unlock()
	return err
}

func (s *Server) expire(c *Conn) {
	c.mu.Lock()
	// A timer that was stopped too late finds a link, or the loss of another.
	over := c.link == nil && c.err == nil && time.Duration(c.now()-c.lostOn) >= s.cfg.SessionTime
	c.mu.Unlock()
	if over {
		s.count(func(n *ServerStats) { n.Expired++ })
		c.end(errExpired, nil)
	}
}

// resume gives a session a new link. A RESUME that fails any check leaves the session as it is.
func (s *Server) resume(l *link, f Frame) (*Conn, error) {
	refused := func(err error) (*Conn, error) {
		s.count(func(n *ServerStats) { n.RefusedResumes++ })
		return nil, say(l, codeOf(err, core.ErrorCodeRejectedResume))
	}
	r, err := parseResume(f)
	if err != nil {
		return refused(err)
	}
	s.mu.Lock()
	c := s.byToken[sha256.Sum256(r.token)]
	s.mu.Unlock()
	if c == nil {
		return refused(Errorf(core.ErrorCodeRejectedResume, "unknown resume token"))
	}
	if s.cfg.MayResume != nil {
		if err := s.cfg.MayResume(c, l.nc); err != nil {
			return refused(err)
		}
	}
	c.attaching.Lock() // one RESUME after the other
	hello, err := c.goOn(r)
	if err != nil {
		c.attaching.Unlock()
		return refused(err)
	}
	err = c.attach(l, true, hello)
	c.attaching.Unlock()
	if err != nil {
		return refused(noMore(err))
	}
	s.count(func(n *ServerStats) { n.Resumes++ })
	return c, nil
}

// goOn takes the session's old link away, however alive it looks, and returns the RESUME_OK.
func (c *Conn) goOn(r resume) (Frame, error) {
	c.mu.Lock()
	err := c.err
	if err == nil && r.first > c.led.received {
		err = fmt.Errorf("frames are missing: the client kept those from %d on, received were those before %d", r.first, c.led.received)
	}
	if err == nil {
		err = c.led.mayRewind(r.received)
	}
	old, reading := c.link, c.reading
	c.mu.Unlock()
	if err != nil {
		return Frame{}, noMore(err)
	}
	if old != nil { // half-open: the client knows better
		c.lose(old, errSuperseded)
	}
	<-reading // what it was handing over has been handed over and counted
	c.mu.Lock()
	defer c.mu.Unlock()
	if err = c.err; err == nil {
		err = c.trim(func() error { return c.led.rewind(r.received) })
	}
	if err != nil {
		return Frame{}, noMore(err)
	}
	return resumeOKFrame(c.led.received), nil
}

// noMore makes err the answer to a RESUME that is in vain: with another code, clients would try again.
func noMore(err error) *Error { return Errorf(core.ErrorCodeRejectedResume, "%v", err) }

// Close ends all sessions, telling them code and text, and refuses new ones. It returns when their last words have
// been written or ctx is over.
func (s *Server) Close(ctx context.Context, code core.ErrorCode, text string) {
	s.mu.Lock()
	s.closed = &Error{code, text}
	all := make([]*Conn, 0, len(s.sessions))
	for c := range s.sessions {
		all = append(all, c)
	}
	s.mu.Unlock()
	for _, c := range all {
		c.end(errGoodbye, &Error{code, text})
	}
	said := make(chan struct{})
	go func() {
		for _, c := range all {
			<-c.done // another may be at its end already
			c.work.Wait()
		}
		close(said)
	}()
	select {
	case <-said:
	case <-ctx.Done():
	}
}

// evict ends sessions until the others keep no more than they may: those without a link first, those that keep most
// first. One with a link keeps much if its other end acknowledges nothing. evict runs in a goroutine of its own.
func (s *Server) evict() {
	for s.total.bytes.Load() > s.total.max {
		victim, kept := s.victim()
		if victim == nil {
			return
		}
		s.count(func(n *ServerStats) { n.Evicted++ })
		s.cfg.Log.Warn("session ended: all together keep too much", "bytes", kept, "limit", s.total.max)
		victim.end(errTotal, protocolError("%v", errTotal))
	}
}

func (s *Server) victim() (victim *Conn, most int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	linked := true
	for c := range s.sessions {
		c.mu.Lock()
		if has := c.link != nil; c.err == nil && (linked && !has && c.led.bytes > 0 || linked == has && c.led.bytes > most) {
			victim, most, linked = c, c.led.bytes, has
		}
		c.mu.Unlock()
	}
	return victim, most
}

// total counts the bytes that all sessions of a server keep.
type total struct {
	bytes atomic.Int64
	max   int64
	busy  atomic.Bool
	over  func()
}

// add is called with a session's lock held.
func (t *total) add(n int) {
	if t == nil || n == 0 {
		return
	}
	if t.bytes.Add(int64(n)) > t.max && n > 0 && t.busy.CompareAndSwap(false, true) {
		go func() {
			defer t.busy.Store(false)
			t.over()
		}()
	}
}
