// Package peer is one end of an RSocket conversation in Go's own terms.
//
// A Peer answers what the other end asks, through a Handler; a Requester asks. Both sit on the streams of
// pkg/session, which owns ids, fragments, the order on the wire and resumption. Over the loss of a link
// everything here just goes on; only the end of a session ends its streams, with an error that says why.
//
//	a context ends               CANCEL
//	CANCEL                       ends the handler's context; context.Cause says ErrCanceled
//	pulling from an iterator     REQUEST_N: never more than a window of elements asked for and not yet taken
//	leaving a range loop early   CANCEL
//	yield                        an element, as soon as it is asked for and may leave
//	returning                    COMPLETE
//	an error                     ERROR with its code; see Errorf
//
// # When an element is chosen
//
// An answering stream is ranged over only when its first element may leave: the requester has asked for
// it, nothing of the stream is waiting, and the session has a link. yield waits for the same before it
// sends, and returns as soon as its element has left. It does not wait for the next one's turn, so that a
// stream of exactly n elements, asked for exactly n, completes. What should be new when it leaves must
// therefore not be chosen right after yield returned. Two ways to do it right:
//
//	return peer.Fresh(ctx, camera.pick)           // pick is called when its element may leave
//
//	for peer.Ready(ctx) == nil {                  // the same by hand
//		if !yield(camera.pick()) { return }
//	}
//
// A handler that does neither is correct too, but one element behind the present after a pause. Small
// elements (512 bytes) are copied and yield returns at once until 32 of them wait. A stream that would
// rather queue than wait says so with Keep.
//
// # Who runs what, who owns what
//
// Each incoming request has one goroutine, so has the sending half of a channel. Wait returns when all of
// them have ended. The bytes of a Payload passed in are only read, and not after the call returned (or
// yield; what RequestResponse of a Handler returned must stay as it is). A Payload handed out belongs to
// whom it was handed.
//
// # Bounds
//
// Nothing the other end does grows memory without bound: requests, reassembled payloads, elements
// received and not yet taken, answers that have not left and pushes are all limited (Config), and a
// stream whose sender ignores its credit is ended. Each limit has a counter (Stats).
package peer

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"runtime/debug"
	"sync"
	"sync/atomic"

	"github.com/rsocket/rsocket-go/core"

	"github.com/perchcam/perch/pkg/session"
)

// Payload is a request, an answer or an element of a stream. Nil Metadata is none; empty Metadata is
// sent as empty.
type Payload struct{ Metadata, Data []byte }

func (v Payload) size() int { return len(v.Metadata) + len(v.Data) }

// clone copies v with one allocation.
func (v Payload) clone() Payload {
	n := len(v.Metadata)
	b := append(append(make([]byte, 0, v.size()), v.Metadata...), v.Data...)
	if v.Data = b[n:]; v.Metadata != nil {
		v.Metadata = b[:n:n]
	}
	return v
}

// Config says who answers and how much may be under way. Limits are of all sessions of a Peer together;
// zero values mean the defaults.
type Config struct {
	Handler     Handler      // nil answers every request with INVALID
	Window      uint32       // elements asked for and not yet taken, where nobody says otherwise; 4
	MaxPayload  int          // bytes of one received payload; 16 MiB
	MaxBuffered int          // bytes received and not yet taken; 64 MiB
	MaxHandlers int          // incoming requests until their answer has left; 1024
	MaxHeld     int          // bytes that handlers are done with and that have not left; 64 MiB
	Log         *slog.Logger // nil discards
}

const (
	maxN      = 1<<31 - 1 // the largest credit, and what stands for "no limit" (Protocol.md, "REQUEST_N Frame")
	maxPushes = 64        // METADATA_PUSHes waiting for the handler
)

// Peer answers. It is the session.Receiver of any number of sessions, or, through Request alone, answers
// single streams of sessions that somebody else receives.
type Peer struct {
	cfg Config

	open     atomic.Int64 // incoming requests
	buffered atomic.Int64 // bytes received and not yet taken
	held     atomic.Int64 // bytes handed over by handlers and not yet left
	hint     atomic.Int64 // bytes of the last payload that came in fragments
	counters counters

	mu      sync.Mutex // guards the following
	running int        // goroutines
	idle    *sync.Cond // running has become 0
	pushes  [][]byte
	pushing bool // the first of them is being handled
}

var _ session.Receiver = (*Peer)(nil)

type counters struct{ refused, dropped, flooded, tooLarge, panics atomic.Uint64 }

// Stats is what a Peer has under way, and why it ended or dropped what it did.
type Stats struct {
	Requests int // incoming, being received or answered
	Buffered int // bytes of memory for what is received and not yet taken
	Held     int // bytes that handlers are done with and that have not left

	Refused  uint64 // requests over MaxHandlers or MaxHeld
	Dropped  uint64 // fire-and-forgets and pushes over the limits
	Flooded  uint64 // streams ended because more came than was asked for
	TooLarge uint64 // streams ended because of MaxPayload or MaxBuffered
	Panics   uint64 // of handlers
}

// New returns a Peer that has no session yet.
func New(cfg Config) (*Peer, error) {
	if cfg.Window > maxN {
		return nil, errors.New("peer: window is more than 2³¹-1 elements")
	}
	for _, n := range []int{cfg.MaxPayload, cfg.MaxBuffered, cfg.MaxHandlers, cfg.MaxHeld} {
		if n < 0 {
			return nil, errors.New("peer: a limit is negative")
		}
	}
	def := func(v *int, d int) {
		if *v == 0 {
			*v = d
		}
	}
	def(&cfg.MaxPayload, 16<<20)
	def(&cfg.MaxBuffered, 64<<20)
	def(&cfg.MaxHandlers, 1024)
	def(&cfg.MaxHeld, 64<<20)
	if cfg.Window == 0 {
		cfg.Window = 4
	}
	if cfg.Handler == nil {
		cfg.Handler = Funcs{}
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	p := &Peer{cfg: cfg}
	p.idle = sync.NewCond(&p.mu)
	return p, nil
}

// Request answers the stream s that first has opened (session.Receiver). It may be called for single
// streams of a session whose Receiver is somebody else.
func (p *Peer) Request(s *session.Stream, first session.Frame) session.Owner {
	kind := first.Type()
	if streams(kind) && first.N() == 0 {
		s.Fail(CodeInvalid, "initial request n is 0")
		return nil
	}
	if p.open.Add(1) > int64(p.cfg.MaxHandlers) || p.held.Load() > int64(p.cfg.MaxHeld) {
		p.open.Add(-1)
		if kind == core.FrameTypeRequestFNF {
			p.counters.dropped.Add(1)
			return nil
		}
		p.counters.refused.Add(1)
		s.Fail(CodeRejected, "too many requests at once")
		return nil
	}
	st := answer(p, s, kind, first.N())
	st.Frame(first)
	return st
}

// Push gives a METADATA_PUSH to the handler, one after the other (session.Receiver).
func (p *Peer) Push(metadata []byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.pushes) == maxPushes {
		p.counters.dropped.Add(1)
		return
	}
	p.pushes = append(p.pushes, bytes.Clone(metadata))
	if !p.pushing {
		p.pushing = true
		p.running++
		go p.handlePush()
	}
}

// handlePush handles the first push, and starts another for the next.
func (p *Peer) handlePush() {
	defer p.done()
	p.mu.Lock()
	md := p.pushes[0]
	p.mu.Unlock()
	defer func() { // also when the handler exits its goroutine
		p.mu.Lock()
		defer p.mu.Unlock()
		p.pushes[0] = nil
		p.pushes = p.pushes[1:]
		if p.pushing = len(p.pushes) > 0; p.pushing {
			p.running++
			go p.handlePush()
		}
	}()
	p.guard("METADATA_PUSH", func() { p.cfg.Handler.MetadataPush(context.Background(), md) })
}

// Settle does nothing: handlers flush what they send (session.Receiver).
func (p *Peer) Settle() {}

// Linked does nothing: requests outlive links (session.Receiver). Who wants to know of links wraps a Peer.
func (p *Peer) Linked(up, resumed bool) {}

// Ended does nothing: each stream has been told (session.Receiver). Wait for the handlers with Wait.
func (p *Peer) Ended(err error) {}

// Wait returns when no handler and no sending half of a channel is running: soon after its sessions have
// ended, if handlers heed their contexts.
func (p *Peer) Wait() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for p.running > 0 {
		p.idle.Wait()
	}
}

// Stats returns the counters as they stand.
func (p *Peer) Stats() Stats {
	return Stats{
		Requests: int(p.open.Load()),
		Buffered: int(p.buffered.Load()),
		Held:     int(p.held.Load()),
		Refused:  p.counters.refused.Load(),
		Dropped:  p.counters.dropped.Load(),
		Flooded:  p.counters.flooded.Load(),
		TooLarge: p.counters.tooLarge.Load(),
		Panics:   p.counters.panics.Load(),
	}
}

// start runs f in a goroutine that Wait waits for. f must call done.
func (p *Peer) start(f func()) {
	p.mu.Lock()
	p.running++
	p.mu.Unlock()
	go f()
}

func (p *Peer) done() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.running--; p.running == 0 {
		p.idle.Broadcast()
	}
}

// guard calls f, which runs code of a handler. A panic ends that request only, as in net/http, but is
// never silent.
func (p *Peer) guard(what string, f func()) {
	defer func() {
		if r := recover(); r != nil {
			p.counters.panics.Add(1)
			p.cfg.Log.Error("handler panicked", "request", what, "panic", r, "stack", string(debug.Stack()))
		}
	}()
	f()
}

// streams reports whether a request of this kind is answered by a stream.
func streams(kind core.FrameType) bool {
	return kind == core.FrameTypeRequestStream || kind == core.FrameTypeRequestChannel
}
