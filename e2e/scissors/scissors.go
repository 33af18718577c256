// Package scissors is a TCP relay between an agent and its broker that pulls the plug inside a chosen picture: it
// looks at the headers of the RSocket frames that pass, and cuts in the middle of the bytes of one.
package scissors

import (
	"bufio"
	"encoding/binary"
	"io"
	"net"
	"sync"
	"sync/atomic"

	"github.com/rsocket/rsocket-go/core"
)

// Relay passes connections on. Of what the agent says it counts pictures: elements and answers of streams.
type Relay struct {
	to string
	ln net.Listener

	mu   sync.Mutex // guards the following
	plan *Cut
	open map[net.Conn]struct{}
	work sync.WaitGroup
}

// Cut is one cut: inside picture Number (from 1) of those that begin after it was planned, when Into of its bytes have passed.
type Cut struct {
	Number, Into int

	done   chan struct{}
	whole  int            // pictures that have passed
	passed map[uint32]int // bytes of what is under way, by stream
	sent   uint64         // position of what passed whole on the connection that was cut
	torn   int            // bytes of the frame that was cut, that passed
	made   bool
	twice  int // bytes that passed twice, known when the session has resumed
}

// New listens on a free loopback port and passes on to the broker at addr.
func New(addr string) (*Relay, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	r := &Relay{to: addr, ln: ln, open: map[net.Conn]struct{}{}}
	r.work.Go(r.accept)
	return r, nil
}

// Addr is where the relay listens.
func (r *Relay) Addr() string { return r.ln.Addr().String() }

// Plan makes the relay cut once.
func (r *Relay) Plan(number, into int) *Cut {
	c := &Cut{Number: number, Into: into, done: make(chan struct{}), passed: map[uint32]int{}}
	r.mu.Lock()
	r.plan = c
	r.mu.Unlock()
	return c
}

const small = 4 << 10 // no picture has so few bytes; answers about clocks have

// Done is closed when the cut was made and the session has gone on.
func (c *Cut) Done() <-chan struct{} { return c.done }

// Twice returns how many bytes crossed twice: the part of the frame that was cut, and whole frames that the broker
// says it has not got. It is known when Done is closed.
func (c *Cut) Twice() int { return c.twice }

// Close ends all connections and returns when nothing runs any more.
func (r *Relay) Close() {
	_ = r.ln.Close()
	r.mu.Lock()
	for nc := range r.open {
		_ = nc.Close()
	}
	r.mu.Unlock()
	r.work.Wait()
}

func (r *Relay) accept() {
	for {
		agent, err := r.ln.Accept()
		if err != nil {
			return
		}
		r.work.Go(func() { r.carry(agent) })
	}
}

func (r *Relay) carry(agent net.Conn) {
	defer agent.Close()
	broker, err := net.Dial("tcp", r.to)
	if err != nil {
		return
	}
	defer broker.Close()
	r.mu.Lock()
	r.open[agent], r.open[broker] = struct{}{}, struct{}{}
	r.mu.Unlock()
	var both sync.WaitGroup
	var sent atomic.Uint64 // the agent's position
	both.Go(func() {
		defer agent.Close()
		_ = r.answer(agent, bufio.NewReaderSize(broker, 64<<10), &sent)
	})
	_ = r.pass(broker, bufio.NewReaderSize(agent, 64<<10), &sent)
	_ = broker.Close()
	both.Wait()
	r.mu.Lock()
	delete(r.open, agent)
	delete(r.open, broker)
	r.mu.Unlock()
}

// head is the length of a frame and its header.
type head [9]byte

func (h *head) size() int            { return int(h[0])<<16 | int(h[1])<<8 | int(h[2]) }
func (h *head) stream() uint32       { return binary.BigEndian.Uint32(h[3:]) }
func (h *head) kind() core.FrameType { return core.FrameType(h[7] >> 2) }
func (h *head) flags() core.FrameFlag {
	return core.FrameFlag(binary.BigEndian.Uint16(h[7:]) & 0x3ff)
}

// pass carries the agent's frames, until the end or the cut.
func (r *Relay) pass(broker io.Writer, agent *bufio.Reader, sent *atomic.Uint64) error {
	var h head
	for {
		if _, err := io.ReadFull(agent, h[:]); err != nil {
			return err
		}
		left := int64(h.size() - 6)
		if n := r.cutHere(&h, sent.Load()); n >= 0 {
			if _, err := broker.Write(h[:]); err != nil {
				return err
			}
			_, err := io.CopyN(broker, agent, int64(n))
			return err
		}
		if _, err := broker.Write(h[:]); err != nil {
			return err
		}
		if _, err := io.CopyN(broker, agent, left); err != nil {
			return err
		}
		if h.stream() != 0 {
			sent.Add(uint64(h.size()))
		}
	}
}

// cutHere says after how many bytes of the frame's body the connection is to be cut; -1: not in this frame.
func (r *Relay) cutHere(h *head, sent uint64) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	c := r.plan
	if c == nil || c.made || h.stream() == 0 || h.kind() != core.FrameTypePayload || !h.flags().Check(core.FlagNext) {
		return -1
	}
	body, before := h.size()-6, c.passed[h.stream()]
	if c.whole == c.Number-1 && before+body > c.Into {
		n := max(c.Into-before, 1)
		c.made, c.sent, c.torn = true, sent, 6+n
		return n
	}
	c.passed[h.stream()] += body
	if !h.flags().Check(core.FlagFollow) {
		if before+body > small {
			c.whole++
		}
		delete(c.passed, h.stream())
	}
	return -1
}

// answer carries the broker's frames. A RESUME_OK says where the agent goes on.
func (r *Relay) answer(agent io.Writer, broker *bufio.Reader, sent *atomic.Uint64) error {
	first, err := broker.Peek(17)
	if err == nil && (*head)(first).kind() == core.FrameTypeResumeOK {
		pos := binary.BigEndian.Uint64(first[9:])
		sent.Store(pos)
		r.mu.Lock()
		if c := r.plan; c != nil && c.made {
			c.twice = c.torn + int(c.sent-pos)
			r.plan = nil
			close(c.done)
		}
		r.mu.Unlock()
	}
	_, err = io.Copy(agent, broker)
	return err
}
