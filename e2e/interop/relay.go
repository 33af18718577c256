//go:build interop

package interop

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rsocket/rsocket-go/core"
)

// Side is where what crosses a relay comes from.
type Side int

const (
	FromClient Side = iota
	FromServer
)

func (s Side) String() string { return [...]string{"client →", "server →"}[s] }

// How a link is cut.
type How int

const (
	RST    How = iota // both ends are told at once; what the kernel holds is lost
	FIN               // both ends are told in good order
	Silent            // nobody is told and nothing arrives: a black hole
)

func (h How) String() string { return [...]string{"RST", "FIN", "black hole"}[h] }

// Crossed is a frame that began to cross the relay.
type Crossed struct {
	Link   int // counted from 1
	From   Side
	Stream uint32
	Type   core.FrameType
	Flags  core.FrameFlag
	Number uint64 // n of a request or REQUEST_N, position of KEEPALIVE and RESUME_OK, code of ERROR
	First  uint64 // RESUME: the first position the client has kept; Number is what it has received
	Size   int    // bytes, without its length
	Whole  bool   // all of it was given to the other side
}

func (f Crossed) String() string {
	var text strings.Builder
	text.WriteString(fmt.Sprintf("link %d %s %d %v", f.Link, f.From, f.Stream, f.Type))
	switch f.Type {
	case core.FrameTypeRequestN, core.FrameTypeRequestStream, core.FrameTypeRequestChannel:
		text.WriteString(fmt.Sprintf(" n=%d", f.Number))
	case core.FrameTypeKeepalive, core.FrameTypeResumeOK:
		text.WriteString(fmt.Sprintf(" position=%d", f.Number))
	case core.FrameTypeResume:
		text.WriteString(fmt.Sprintf(" received=%d kept-from=%d", f.Number, f.First))
	case core.FrameTypeError:
		text.WriteString(fmt.Sprintf(" code=%#x", f.Number))
	}
	for _, flag := range []struct {
		core.FrameFlag
		name string
	}{{core.FlagFollow, "F"}, {core.FlagComplete, "C"}, {core.FlagNext, "N"}, {core.FlagRespond, "R"}} {
		if f.Flags.Check(flag.FrameFlag) && f.Stream != 0 == (flag.name != "R") {
			text.WriteString(" " + flag.name)
		}
	}
	if !f.Whole {
		text.WriteString(" (torn)")
	}
	return text.String()
}

// Relay passes TCP connections on to a target, frame by frame where they are of frames.
type Relay struct {
	target string
	l      net.Listener
	work   sync.WaitGroup

	mu     sync.Mutex // guards the following
	plan   func(link int) Cut
	links  int
	open   map[*passage]struct{}
	silent []net.Conn // ends of black holes, which are closed when the test is over
	down   bool
	frames []Crossed
}

// Cut is when and how a link ends: after so many bytes of one side. The zero value is never.
type Cut struct {
	From  Side
	After int
	How   How
	// Gather holds the first bytes of the server so long that what it says next arrives with them.
	Gather time.Duration
}

// passage is one connection through the relay.
type passage struct {
	r    *Relay
	link int
	cut  Cut
	ends [2]net.Conn // by Side
	over chan struct{}
	once sync.Once
}

// NewRelay listens on a free loopback port until the test ends.
func NewRelay(t testing.TB, target string) *Relay {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &Relay{target: target, l: l, open: map[*passage]struct{}{}}
	r.work.Go(r.accept)
	t.Cleanup(func() {
		l.Close()
		r.Cut(RST)
		r.mu.Lock()
		for _, c := range r.silent {
			_ = c.Close()
		}
		r.mu.Unlock()
		r.work.Wait()
	})
	return r
}

// Addr is where it listens.
func (r *Relay) Addr() string { return r.l.Addr().String() }

// Plan has links to come cut as plan says.
func (r *Relay) Plan(plan func(link int) Cut) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.plan = plan
}

// Cut cuts the links that are open.
func (r *Relay) Cut(how How) {
	r.mu.Lock()
	open := r.open
	r.open = map[*passage]struct{}{}
	r.mu.Unlock()
	for p := range open {
		p.sever(how)
	}
}

// Down refuses links until it is told otherwise, and cuts those that are open.
func (r *Relay) Down(down bool, how How) {
	r.mu.Lock()
	r.down = down
	r.mu.Unlock()
	if down {
		r.Cut(how)
	}
}

// Links returns how many links there were.
func (r *Relay) Links() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.links
}

// Frames returns what has crossed so far, in its order.
func (r *Relay) Frames() []Crossed {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]Crossed(nil), r.frames...)
}

// Log is Frames as text, from the n-th on.
func (r *Relay) Log(n int) string {
	var b strings.Builder
	for _, f := range r.Frames()[n:] {
		fmt.Fprintln(&b, " ", f)
	}
	return b.String()
}

func (r *Relay) accept() {
	for {
		client, err := r.l.Accept()
		if err != nil {
			return
		}
		r.mu.Lock()
		down := r.down
		r.mu.Unlock()
		var server net.Conn
		if !down {
			server, err = net.Dial("tcp", r.target)
		}
		if down || err != nil {
			reset(client)
			continue
		}
		r.mu.Lock()
		r.links++
		p := &passage{r: r, link: r.links, ends: [2]net.Conn{client, server}, over: make(chan struct{})}
		if r.plan != nil {
			p.cut = r.plan(p.link)
		}
		r.open[p] = struct{}{}
		r.mu.Unlock()
		for _, from := range []Side{FromClient, FromServer} {
			r.work.Go(func() { p.carry(from) })
		}
	}
}

func reset(c net.Conn) {
	if tc, ok := c.(*net.TCPConn); ok {
		_ = tc.SetLinger(0)
	}
	_ = c.Close()
}

// sever ends the passage once.
func (p *passage) sever(how How) {
	p.once.Do(func() {
		close(p.over)
		p.r.mu.Lock()
		delete(p.r.open, p)
		if how == Silent {
			p.r.silent = append(p.r.silent, p.ends[:]...)
		}
		p.r.mu.Unlock()
		for _, c := range p.ends {
			switch how {
			case RST:
				reset(c)
			case FIN:
				_ = c.Close()
			case Silent: // its ends stay open, and are read by nobody
			}
		}
	})
}

// carry copies what one side says to the other, up to the cut.
func (p *passage) carry(from Side) {
	scan := scanner{p: p, from: from}
	buf := make([]byte, 32<<10)
	left := -1
	if p.cut.After > 0 && p.cut.From == from {
		left = p.cut.After
	}
	for first := true; ; first = false {
		n, err := p.ends[from].Read(buf)
		if first && from == FromServer && p.cut.Gather > 0 && err == nil {
			n += gather(p.ends[from], buf[n:], p.cut.Gather)
		}
		select {
		case <-p.over:
			return
		default:
		}
		if left >= 0 {
			n = min(n, left)
			left -= n
		}
		if n > 0 {
			scan.next(buf[:n]) // first, so that the list has what answers a frame behind it
			if _, werr := p.ends[1-from].Write(buf[:n]); werr != nil {
				err = werr
			}
		}
		switch {
		case left == 0:
			p.sever(p.cut.How)
			return
		case err == io.EOF: // pass the half-close on, and wait for the other direction
			if tc, ok := p.ends[1-from].(*net.TCPConn); ok {
				_ = tc.CloseWrite()
			}
			return
		case err != nil:
			p.sever(RST)
			return
		}
	}
}

// gather reads for so long.
func gather(nc net.Conn, b []byte, d time.Duration) (n int) {
	_ = nc.SetReadDeadline(time.Now().Add(d))
	for n < len(b) {
		m, err := nc.Read(b[n:])
		if n += m; err != nil {
			break // if it is more than the time that is over, the next read says so
		}
	}
	_ = nc.SetReadDeadline(time.Time{})
	return n
}

// scanner finds the frames in what one side says. It is blind for a WebSocket.
type scanner struct {
	p     *passage
	from  Side
	blind bool
	head  []byte // of the frame under way: its length and as much as is looked at
	size  int    // of the frame, with its length; 0: not known
	seen  int    // bytes of it
	index int    // in the relay's list
}

const (
	lenSize  = 3
	headSize = 6
	looked   = lenSize + headSize + 128 // a RESUME's token is in it
)

func (s *scanner) next(b []byte) {
	for len(b) > 0 && !s.blind {
		if s.size == 0 {
			n := min(lenSize-len(s.head), len(b))
			s.head, b = append(s.head, b[:n]...), b[n:]
			if len(s.head) < lenSize {
				return
			}
			if s.blind = string(s.head) == "GET" || string(s.head) == "HTT"; s.blind {
				return
			}
			s.seen, s.size = lenSize, lenSize+int(s.head[0])<<16+int(s.head[1])<<8+int(s.head[2])
			s.enter()
			continue
		}
		n := min(s.size-s.seen, len(b))
		s.head = append(s.head, b[:min(n, max(looked-len(s.head), 0))]...)
		b, s.seen = b[n:], s.seen+n
		s.note()
		if s.seen == s.size {
			s.head, s.size = s.head[:0], 0
		}
	}
}

// enter makes room for the frame in the list, so that frames are listed by when they began.
func (s *scanner) enter() {
	r := s.p.r
	r.mu.Lock()
	defer r.mu.Unlock()
	s.index = len(r.frames)
	r.frames = append(r.frames, Crossed{Link: s.p.link, From: s.from, Size: s.size - lenSize})
}

func (s *scanner) note() {
	r := s.p.r
	r.mu.Lock()
	defer r.mu.Unlock()
	f := &r.frames[s.index]
	f.Whole = s.seen == s.size
	if h := s.head[lenSize:]; len(h) >= headSize {
		f.Stream = binary.BigEndian.Uint32(h)
		bits := binary.BigEndian.Uint16(h[4:])
		f.Type, f.Flags = core.FrameType(bits>>10), core.FrameFlag(bits&0x3ff)
		f.Number, f.First = numbers(f.Type, h[headSize:])
	}
}

func numbers(t core.FrameType, b []byte) (number, first uint64) {
	switch t {
	case core.FrameTypeRequestN, core.FrameTypeRequestStream, core.FrameTypeRequestChannel, core.FrameTypeError:
		if len(b) >= 4 {
			return uint64(binary.BigEndian.Uint32(b)), 0
		}
	case core.FrameTypeKeepalive, core.FrameTypeResumeOK:
		if len(b) >= 8 {
			return binary.BigEndian.Uint64(b), 0
		}
	case core.FrameTypeResume:
		if len(b) >= 6 {
			if b = b[6+min(int(binary.BigEndian.Uint16(b[4:])), len(b)-6):]; len(b) >= 16 {
				return binary.BigEndian.Uint64(b), binary.BigEndian.Uint64(b[8:])
			}
		}
	}
	return 0, 0
}
