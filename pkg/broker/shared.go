package broker

import (
	"fmt"
	"sync"
	"time"

	"github.com/rsocket/rsocket-go/core"

	"github.com/perchcam/perch/pkg/api"
	"github.com/perchcam/perch/pkg/session"
	"github.com/perchcam/perch/pkg/wire"
)

const (
	sharedAhead = 2        // elements asked of the device that have not come
	sharedMost  = 16 << 20 // bytes of an element

	// sharedFresh is how long ago the newest element may have come, while nothing is asked of the device, to be given to who
	// asks later: after that there is a newer one to be had.
	sharedFresh = 200 * time.Millisecond
)

// shared is one stream of a device that any number of laptops look at. It holds the newest whole element,
// undecoded, and gives it to each laptop that has asked for one as soon as it can leave; who is slower sees fewer.
// The fastest sets the pace of the device, whose link carries one stream however many look on.
//
// It is the owner of the stream at the device. A laptop's route has it as its group.
type shared struct {
	b   *Broker
	key string
	to  *leg

	mu      sync.Mutex // guards the following; it is taken before a route's
	far     *session.Stream
	viewers map[*route]*viewer
	newest  session.Message
	seq     uint64 // of newest
	coming  session.Message
	inside  bool      // of coming
	came    time.Time // newest
	stale   bool      // newest is not to be given any more
	open    int64     // asked of the device, not begun to come
	over    bool
}

// viewer is what sharing knows of one laptop's route.
type viewer struct {
	want int64  // elements asked for
	seen uint64 // the newest one given
}

// sharedKey returns under which key a request shares a stream with others; false: it does not. Only the newest picture
// can be shared: a video's frames make no sense without those before, and who wants all has to be kept an own queue.
func sharedKey(t *wire.Target, first session.Frame) (string, bool) {
	if string(t.Param(wire.ParamShare)) != "1" || string(t.Route) != api.RouteStream ||
		first.Type() != core.FrameTypeRequestStream || first.Has(core.FlagFollow) {
		return "", false
	}
	q, err := api.Parse[api.StreamRequest](first.Data())
	if err != nil || q.Keep == api.KeepAll || q.Format == api.FormatH264 || q.From != nil {
		return "", false
	}
	return fmt.Sprintf("%s\x00%s", t.Accept, first.Data()), true
}

// share connects r to the stream of l that others with the same key look at. It is false if l's session is over.
func (l *leg) share(r *route, key string, first session.Frame) bool {
	for {
		l.mu.Lock()
		if l.over {
			l.mu.Unlock()
			return false
		}
		g := l.shares[key]
		if g == nil {
			g = &shared{b: l.b, key: key, to: l, viewers: map[*route]*viewer{}}
			if l.shares == nil {
				l.shares = map[string]*shared{}
			}
			l.shares[key] = g
			l.serving.Add(1)
		}
		l.mu.Unlock()
		if g.add(r, first) {
			r.from.touch(l.conn)
			return true
		}
	}
}

// add makes r look on; it is false when the stream has just ended.
func (g *shared) add(r *route, first session.Frame) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.over {
		return false
	}
	r.mu.Lock()
	gone := r.over // its session has ended just now
	if !gone {
		r.group = g
	}
	r.mu.Unlock()
	if gone {
		g.dismiss()
		return true
	}
	g.viewers[r] = &viewer{want: int64(first.N()), seen: g.seq} // it begins with the next one: the newest may be old
	if g.far == nil {
		md, has := first.Metadata()
		g.far = g.to.conn.Open(g)
		g.open = sharedAhead
		g.far.Send(session.Message{
			Type: core.FrameTypeRequestStream, N: sharedAhead, HasMetadata: has,
			Metadata: append([]byte(nil), md...), Data: append([]byte(nil), first.Data()...),
		})
		return true
	}
	g.ask()
	return true
}

// ask has the device asked for more when somebody waits and nothing is on its way. mu is held, as for all here that
// does not say otherwise.
func (g *shared) ask() {
	if g.open > 0 || g.inside {
		return
	}
	for _, v := range g.viewers {
		if v.want > 0 && (v.seen == g.seq || g.stale) {
			g.open++
			g.far.Request(1)
			return
		}
	}
}

// give sends the newest element to r if it wants it and it can leave at once; otherwise Writable will come. The device is asked
// for the next one before anybody wants it, but for who is so slow that it would be old by then.
func (g *shared) give(r *route, v *viewer, ahead bool) bool {
	if !g.stale && g.open == 0 && !g.inside && time.Since(g.came) > sharedFresh {
		g.stale = true
	}
	if v.want == 0 || v.seen == g.seq || g.stale || !r.near.Await() {
		return false
	}
	v.want--
	v.seen = g.seq
	r.mu.Lock()
	r.down.held++
	r.mu.Unlock()
	r.near.Send(g.newest)
	if ahead && g.open < sharedAhead && !g.over {
		g.open++
		g.far.Request(1)
	}
	return true
}

// Frame takes what the device says.
func (g *shared) Frame(f session.Frame) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.over {
		return
	}
	switch f.Type() {
	case core.FrameTypePayload:
		if wrong := g.collect(f); wrong != nil {
			g.b.counters.add(wrong.why)
			g.far.Cancel()
			g.to.touch(g.to.conn)
			g.end(wrong.code, wrong.text)
		}
	case core.FrameTypeError:
		g.end(core.ErrorCode(f.N()), string(f.Data()))
	}
	if g.over {
		for r := range g.viewers {
			g.to.touch(r.from.conn)
		}
	}
}

// collect puts an element together, and gives it to all.
func (g *shared) collect(f session.Frame) *fault {
	if f.Has(core.FlagNext) || f.Has(core.FlagFollow) || g.inside {
		if !g.inside {
			if g.open == 0 {
				return &fault{endedCredit, core.ErrorCodeCanceled, "the device sent more than it was asked for"}
			}
			g.open--
			g.coming = session.Message{Type: core.FrameTypePayload, Flags: core.FlagNext, Mark: true}
			g.coming.Data = make([]byte, 0, len(g.newest.Data)*5/4) // the next picture is about as large
		}
		m := &g.coming
		md, has := f.Metadata()
		m.HasMetadata = m.HasMetadata || has
		m.Metadata, m.Data = append(m.Metadata, md...), append(m.Data, f.Data()...)
		if len(m.Metadata)+len(m.Data) > sharedMost {
			return &fault{endedBudget, core.ErrorCodeCanceled, "the device sent more than an element may have"}
		}
		if g.inside = f.Has(core.FlagFollow); g.inside {
			return nil
		}
		g.newest, g.coming = g.coming, session.Message{}
		g.to.pictured()
		g.seq++
		ahead := !g.stale
		g.came, g.stale = time.Now(), false
		for r, v := range g.viewers {
			if g.give(r, v, ahead) {
				g.to.touch(r.from.conn)
			}
		}
		g.ask()
		g.to.touch(g.to.conn)
	}
	if f.Has(core.FlagComplete) && !f.Has(core.FlagFollow) {
		g.end(0, "")
	}
	return nil
}

// end ends the stream for everybody: with an error, or with COMPLETE for code 0. The laptops must be flushed.
func (g *shared) end(code core.ErrorCode, text string) {
	if g.over {
		return
	}
	g.over = true
	if g.far != nil { // the first laptop may be about to ask
		g.far.Forget()
	}
	g.to.unshare(g)
	for r := range g.viewers {
		r.mu.Lock()
		if !r.over {
			if code == 0 {
				r.down.held++
				r.near.Send(session.Message{Type: core.FrameTypePayload, Flags: core.FlagComplete, Mark: true})
			} else {
				r.near.Fail(code, text)
				r.down.held = 0
			}
			r.close()
		}
		r.mu.Unlock()
	}
}

// view takes what a laptop says. mu is not held.
func (g *shared) view(r *route, f session.Frame) {
	switch f.Type() {
	case core.FrameTypeRequestN:
		g.mu.Lock()
		if v := g.viewers[r]; v != nil && !g.over {
			v.want = min(v.want+int64(f.N()), maxN)
			g.give(r, v, true) // the session flushes itself
			g.ask()
			r.from.touch(g.to.conn)
		}
		g.mu.Unlock()
	case core.FrameTypeCancel:
		r.mu.Lock()
		if !r.over {
			r.downOpen = false
			r.close()
		}
		r.hush()
		r.mu.Unlock()
		g.leave(r)
		r.from.touch(g.to.conn)
	}
}

// writable gives a laptop the newest element when it can take one. mu is not held.
func (g *shared) writable(r *route) {
	g.mu.Lock()
	v := g.viewers[r]
	if v == nil || g.over {
		g.mu.Unlock()
		return
	}
	g.give(r, v, true)
	g.ask()
	g.mu.Unlock()
	r.from.conn.Flush()
	g.to.conn.Flush()
}

// leave takes a laptop's route out that is over; with the last one the device's stream ends. mu is not held; the device's
// session must be flushed.
func (g *shared) leave(r *route) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.viewers, r)
	g.dismiss()
}

// dismiss ends the device's stream if nobody looks on.
func (g *shared) dismiss() {
	if len(g.viewers) > 0 || g.over {
		return
	}
	g.over = true
	if g.far != nil {
		g.far.Cancel()
	}
	g.to.unshare(g)
}

// Left is of no interest: nothing put on the device's stream is marked.
func (g *shared) Left(int) {}

// Writable is never asked for.
func (g *shared) Writable() {}

// Ended tells everybody that the device's session is over.
func (g *shared) Ended(err error) {
	g.mu.Lock()
	var viewers []*session.Conn
	for r := range g.viewers {
		viewers = append(viewers, r.from.conn)
	}
	if !g.over {
		g.b.counters.add(endedDeviceLeft)
		g.end(core.ErrorCodeCanceled, fmt.Sprintf("%s is gone: %v", g.to.card.title(), err))
	}
	g.mu.Unlock()
	for _, c := range viewers {
		c.Flush()
	}
}

// unshare forgets a stream that has ended.
func (l *leg) unshare(g *shared) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.shares[g.key] == g {
		delete(l.shares, g.key)
		l.serving.Add(-1)
	}
}
