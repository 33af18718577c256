package broker

import (
	"time"

	"github.com/rsocket/rsocket-go/core"

	"github.com/perchcam/perch/pkg/session"
	"github.com/perchcam/perch/pkg/wire"
)

const (
	parkedBytes = 64 << 10 // of a request that waits, at most
	parkedAll   = 4096     // requests that wait in all, at most
)

// parked is a request that waits for its device: a copy of it, and a timer. No goroutine.
type parked struct {
	m     session.Message
	key   string // the device it names; "": any that fits
	timer *time.Timer
}

// park has r wait. mu is not held.
func (r *route) park(t *wire.Target, first session.Frame, wait time.Duration, otherwise *fault) bool {
	md, has := first.Metadata()
	p := &parked{
		m: session.Message{
			Type: first.Type(), HasMetadata: has,
			Metadata: append([]byte(nil), md...), Data: append([]byte(nil), first.Data()...),
		},
		key: string(t.Device),
	}
	if r.channel() {
		p.m.Flags = first.Flags() & core.FlagComplete
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.b.registry.park(r, p.key) {
		return false
	}
	r.parked = p
	r.down.want = int64(first.N())
	p.timer = time.AfterFunc(wait, func() { r.end(nil, otherwise) })
	return true
}

// collect takes what the asking side says while it waits.
func (r *route) collect(f session.Frame) *fault {
	m := &r.parked.m
	switch f.Type() {
	case core.FrameTypePayload:
		if r.opening {
			if unjudged(f) {
				return faultUnjudged
			}
			m.Data = append(m.Data, f.Data()...)
			if len(m.Metadata)+len(m.Data) > parkedBytes {
				return &fault{refusedLimit, core.ErrorCodeRejected, "the request is too long to wait for a device that is away"}
			}
			r.opening = f.Has(core.FlagFollow)
			r.upOpen = r.opening || r.channel()
		}
		if r.channel() && f.Has(core.FlagComplete) && !f.Has(core.FlagFollow) {
			m.Flags |= core.FlagComplete
			r.upOpen = false
		}
		if c := r.retry(); c != nil {
			r.from.touch(c)
		}
	case core.FrameTypeRequestN:
		r.down.want = min(r.down.want+int64(f.N()), maxN)
	case core.FrameTypeCancel, core.FrameTypeError:
		r.close()
	}
	return nil
}

// again looks whether what r waits for is there now.
func (r *route) again() {
	r.mu.Lock()
	c := r.retry()
	r.mu.Unlock()
	if c != nil {
		c.Flush()
	}
}

// retry connects a parked route if what it waits for is there. It returns the session to flush. mu is held.
func (r *route) retry() *session.Conn {
	if r.over || r.parked == nil || r.opening {
		return nil
	}
	p := r.parked
	t, err := r.from.target(p.m.Metadata)
	if err != nil {
		return nil // it was read once: it cannot be
	}
	l, _ := r.b.registry.find(&t, &r.from.grant)
	if l == nil || !l.serve(r) {
		return nil
	}
	r.unpark()
	r.to, r.far = l, l.conn.Open((*farSide)(r))
	if r.metered() {
		p.m.N = r.down.pass()
	}
	if r.kind == core.FrameTypeRequestFNF {
		r.up.held, p.m.Mark = 1, true
	}
	r.far.Send(p.m)
	r.settle()
	return l.conn
}

func (r *route) unpark() {
	r.parked.timer.Stop()
	r.b.registry.unpark(r, r.parked.key)
	r.parked = nil
}
