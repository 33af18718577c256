package peer_test

import (
	"fmt"
	"strings"
	"sync"

	"github.com/rsocket/rsocket-go/core"

	"github.com/perchcam/perch/pkg/session"
)

// raw is a requester that is only frames: what it gets is what was on the wire.
type raw struct {
	s     *session.Stream
	first string // what opened it

	mu     sync.Mutex
	seen   []string // N12: an element of 12 bytes; C, ERR, CANCEL, RN3
	elems  []string
	size   int
	data   []byte
	ended  error
	frames int
}

func streamOf(n uint32) session.Message {
	return session.Message{Type: core.FrameTypeRequestStream, N: n}
}

// request sends m as it is.
func request(c *session.Conn, m session.Message, n uint32) *raw {
	r := &raw{}
	r.s = c.Open(r)
	if m.Type == core.FrameTypeRequestStream || m.Type == core.FrameTypeRequestChannel {
		m.N = n
	}
	r.s.Send(m)
	c.Flush()
	return r
}

func (r *raw) Frame(f session.Frame) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.frames++
	switch f.Type() {
	case core.FrameTypePayload:
		md, _ := f.Metadata()
		r.size += len(f.Data()) + len(md)
		r.data = append(r.data, f.Data()...)
		if f.Has(core.FlagFollow) {
			return
		}
		if f.Has(core.FlagNext) {
			r.seen = append(r.seen, fmt.Sprintf("N%d", r.size))
			r.elems = append(r.elems, string(r.data))
		}
		if f.Has(core.FlagComplete) {
			r.seen = append(r.seen, "C")
		}
		r.size, r.data = 0, nil
	case core.FrameTypeError:
		r.seen = append(r.seen, fmt.Sprintf("ERR%x", f.N()))
	case core.FrameTypeCancel:
		r.seen = append(r.seen, "CANCEL")
	case core.FrameTypeRequestN:
		r.seen = append(r.seen, fmt.Sprintf("RN%d", f.N()))
	}
}

func (r *raw) Left(int)  {}
func (r *raw) Writable() {}
func (r *raw) Ended(err error) {
	r.mu.Lock()
	r.ended = err
	r.mu.Unlock()
}

// got is all that came, in order.
func (r *raw) got() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return strings.Join(r.seen, " ")
}

// text is the data of the elements.
func (r *raw) text() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return strings.Join(r.elems, " ")
}

// rawEnd is a Receiver whose streams are raw.
type rawEnd struct{ opened chan *raw }

func newRawEnd() *rawEnd { return &rawEnd{make(chan *raw, 64)} }

func (e *rawEnd) Request(s *session.Stream, f session.Frame) session.Owner {
	r := &raw{s: s, first: fmt.Sprintf("%v n=%d %d", f.Type(), f.N(), len(f.Data()))}
	e.opened <- r
	return r
}
func (*rawEnd) Push([]byte)      {}
func (*rawEnd) Settle()          {}
func (*rawEnd) Linked(_, _ bool) {}
func (*rawEnd) Ended(error)      {}

// say sends elements of the given text, without asking for leave.
func (r *raw) say(flags core.FrameFlag, texts ...string) {
	for _, text := range texts {
		r.s.Send(session.Message{Type: core.FrameTypePayload, Flags: flags, Data: []byte(text)})
	}
	r.s.Session().Flush()
}
