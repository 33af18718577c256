// Package simlink is a simulated network for tests, made to run in a testing/synctest bubble.
//
// A Link is a TCP connection between two hosts as it looks from their sockets: what one side has written waits
// in a buffer until the other has read it, takes the path's latency and rate to arrive, and is partly lost
// when the link is cut. At a cut any prefix of what was written and not yet read may still arrive; which one is
// chosen by the seed. So a session that survives every seed survives a plug that is pulled at any byte.
//
//	Reset     both ends get ECONNRESET after the prefix that made it
//	Finish    the ends get EOF after the prefix, as when a proxy in between closes
//	Silence   nothing arrives any more and nobody is told: a black hole
//	SilenceAB, SilenceBA   a black hole in one direction
//
// Links are independent: an old one may go on delivering while a new one is in use, which is what a late old
// connection does.
package simlink

import (
	"io"
	"math/rand/v2"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
)

// Path is what all links of a Net have in common.
type Path struct {
	Latency time.Duration // one way
	Rate    int           // bytes per second in each direction; 0: no limit
	Buffer  int           // bytes written and not yet read, per direction, after which Write blocks; 64 KiB
}

// Net makes links. Its random choices come from its seed alone.
type Net struct {
	path Path
	mu   sync.Mutex // guards rnd
	rnd  *rand.Rand
}

// New returns a network whose choices are those of seed.
func New(path Path, seed uint64) *Net {
	if path.Buffer <= 0 {
		path.Buffer = 64 << 10
	}
	return &Net{path: path, rnd: rand.New(rand.NewPCG(seed, seed))}
}

func (n *Net) intN(m int) int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.rnd.IntN(m)
}

// Link is one connection. A and B are its ends.
type Link struct {
	A, B *End
	n    *Net
}

// Link makes a new connection.
func (n *Net) Link() *Link {
	ab, ba := newFlow(n.path), newFlow(n.path)
	return &Link{A: &End{in: ba, out: ab, name: "a"}, B: &End{in: ab, out: ba, name: "b"}, n: n}
}

// Reset cuts the link as a lost route and a returning RST do.
func (l *Link) Reset() {
	for _, f := range []*flow{l.A.out, l.B.out} {
		f.cut(l.n, syscall.ECONNRESET)
	}
}

// Finish cuts the link so that both ends see its end as a close.
func (l *Link) Finish() {
	for _, f := range []*flow{l.A.out, l.B.out} {
		f.cut(l.n, io.EOF)
	}
}

// Silence lets nothing through any more, and tells nobody. Of what is on its way any prefix still arrives.
func (l *Link) Silence() { l.SilenceAB(); l.SilenceBA() }

// SilenceAB silences what A writes.
func (l *Link) SilenceAB() { l.A.out.cut(l.n, nil) }

// SilenceBA silences what B writes.
func (l *Link) SilenceBA() { l.B.out.cut(l.n, nil) }

// Carried returns how many bytes A and B have read so far.
func (l *Link) Carried() (a, b int) { return l.A.in.carried(), l.B.in.carried() }

// CutAt resets the link when B has been sent n bytes in all, whoever writes them.
func (l *Link) CutAt(n int, cut func()) { l.A.out.at(n, cut) }

// CutBackAt does the same for the bytes that A is sent.
func (l *Link) CutBackAt(n int, cut func()) { l.B.out.at(n, cut) }

// flow is one direction.
type flow struct {
	path Path

	mu      sync.Mutex // guards the following
	changed chan struct{}
	parts   []part // written, not read
	size    int
	free    time.Time // when the path will have carried all that was written
	read    int
	written int
	silent  bool
	err     error // after parts, for the reader; at once, for the writer
	limit   int   // call hit when so many bytes were written
	hit     func()
}

const segment = 1460 // bytes that arrive together where the rate is limited, unless a millisecond takes more

type part struct {
	b  []byte
	at time.Time // of its arrival
}

func newFlow(p Path) *flow { return &flow{path: p, changed: make(chan struct{})} }

// tell wakes whoever waits. mu is held.
func (f *flow) tell() {
	close(f.changed)
	f.changed = make(chan struct{})
}

func (f *flow) carried() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.read
}

func (f *flow) at(n int, hit func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.limit, f.hit = n, hit
}

// cut lets a random prefix of what was written arrive, and then err; nil: nothing ever.
func (f *flow) cut(n *Net, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err != nil || f.silent {
		if err != nil && f.err == nil {
			f.err = err
			f.tell()
		}
		return
	}
	keep := n.intN(f.size + 1)
	for i, p := range f.parts {
		if keep < len(p.b) {
			f.parts[i].b = p.b[:keep]
			f.parts = f.parts[:i+1]
			break
		}
		keep -= len(p.b)
	}
	f.err, f.silent = err, err == nil
	f.tell()
}

// close is the writer's or the reader's own Close.
func (f *flow) close(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err == nil {
		f.err = err
		f.tell()
	}
}

func (f *flow) Write(b []byte, d *deadline) (n int, err error) {
	for len(b) > 0 {
		f.mu.Lock()
		if f.err != nil {
			err := f.err
			f.mu.Unlock()
			if err == io.EOF {
				err = syscall.EPIPE
			}
			return n, err
		}
		room := f.path.Buffer - f.size
		if f.limit > 0 {
			room = min(room, f.limit-f.written)
		}
		if room <= 0 {
			changed := f.changed
			f.mu.Unlock()
			if err := d.wait(changed, time.Time{}); err != nil {
				return n, err
			}
			continue
		}
		some := min(room, len(b))
		f.size += some
		f.written += some
		n += some
		if !f.silent {
			now := time.Now()
			if f.free.Before(now) {
				f.free = now
			}
			for rest := append([]byte(nil), b[:some]...); len(rest) > 0; {
				seg := rest
				if f.path.Rate > 0 {
					seg = rest[:min(max(segment, f.path.Rate/1000), len(rest))]
					f.free = f.free.Add(time.Duration(len(seg)) * time.Second / time.Duration(f.path.Rate))
				}
				f.parts = append(f.parts, part{seg, f.free.Add(f.path.Latency)})
				rest = rest[len(seg):]
			}
		}
		b = b[some:]
		var hit func()
		if f.limit > 0 && f.written >= f.limit {
			hit, f.hit, f.limit = f.hit, nil, 0
		}
		f.tell()
		f.mu.Unlock()
		if hit != nil {
			hit()
		}
	}
	return n, nil
}

func (f *flow) Read(b []byte, d *deadline) (int, error) {
	for {
		f.mu.Lock()
		var until time.Time
		for len(f.parts) > 0 && len(f.parts[0].b) == 0 {
			f.parts = f.parts[1:]
		}
		switch {
		case len(f.parts) > 0 && !f.parts[0].at.After(time.Now()):
			n := copy(b, f.parts[0].b)
			f.parts[0].b = f.parts[0].b[n:]
			f.size -= n
			f.read += n
			f.tell()
			f.mu.Unlock()
			return n, nil
		case len(f.parts) > 0:
			until = f.parts[0].at
		case f.err != nil:
			err := f.err
			f.mu.Unlock()
			return 0, err
		}
		changed := f.changed
		f.mu.Unlock()
		if err := d.wait(changed, until); err != nil {
			return 0, err
		}
	}
}

// End is one end of a link: a net.Conn.
type End struct {
	in, out *flow
	name    string
	rd, wd  deadline
}

func (e *End) Read(b []byte) (int, error)  { return e.in.Read(b, &e.rd) }
func (e *End) Write(b []byte) (int, error) { return e.out.Write(b, &e.wd) }

// Close ends what this end reads at once, and what the other end reads when it has read all that was written.
func (e *End) Close() error {
	e.in.drain()
	e.out.close(io.EOF)
	e.rd.end()
	e.wd.end()
	return nil
}

// drain makes what the other end writes go nowhere: its next write fails.
func (f *flow) drain() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.parts = nil
	if f.err == nil {
		f.err = net.ErrClosed
	}
	f.tell()
}

func (e *End) LocalAddr() net.Addr  { return addr(e.name) }
func (e *End) RemoteAddr() net.Addr { return addr("other end of " + e.name) }

func (e *End) SetDeadline(t time.Time) error {
	e.rd.set(t)
	e.wd.set(t)
	return nil
}
func (e *End) SetReadDeadline(t time.Time) error  { e.rd.set(t); return nil }
func (e *End) SetWriteDeadline(t time.Time) error { e.wd.set(t); return nil }

type addr string

func (a addr) Network() string { return "sim" }
func (a addr) String() string  { return string(a) }

// deadline bounds the waits of one end in one direction.
type deadline struct {
	mu      sync.Mutex
	t       time.Time
	changed chan struct{}
	closed  bool
}

func (d *deadline) set(t time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.t = t
	d.wake()
}

func (d *deadline) end() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.closed = true
	d.wake()
}

func (d *deadline) wake() {
	if d.changed != nil {
		close(d.changed)
		d.changed = nil
	}
}

// wait waits for changed, for until if it is set, or for an end that is an error.
func (d *deadline) wait(changed <-chan struct{}, until time.Time) error {
	d.mu.Lock()
	if d.closed {
		d.mu.Unlock()
		return net.ErrClosed
	}
	if d.changed == nil {
		d.changed = make(chan struct{})
	}
	moved, t := d.changed, d.t
	d.mu.Unlock()
	first := until
	if !t.IsZero() && (first.IsZero() || t.Before(first)) {
		first = t
	}
	var timer <-chan time.Time
	if !first.IsZero() {
		tm := time.NewTimer(time.Until(first))
		defer tm.Stop()
		timer = tm.C
	}
	select {
	case <-changed:
	case <-moved:
	case <-timer:
	}
	if !t.IsZero() && !time.Now().Before(t) {
		return os.ErrDeadlineExceeded
	}
	return nil
}

// CloseWrite says that this end writes no more.
func (e *End) CloseWrite() error {
	e.out.close(io.EOF)
	return nil
}
