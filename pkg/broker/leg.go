package broker

import (
	"errors"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rsocket/rsocket-go/core"

	"github.com/perchcam/perch/pkg/broker/access"
	"github.com/perchcam/perch/pkg/session"
	"github.com/perchcam/perch/pkg/wire"
)

// leg is one session at the broker: a laptop's, or a device's. The session hands it new requests, and
// what becomes of itself.
type leg struct {
	b     *Broker
	conn  *session.Conn
	card  card         // who it said it is
	grant access.Grant // what it may do
	read  metadata     // the form of its requests' metadata

	dirty []*session.Conn // given frames since the last Settle; owned by the goroutine that reads

	serving atomic.Int64 // streams it answers now
	picture atomic.Int64 // when its newest picture came, in Unix nanoseconds; 0: none has

	mu     sync.Mutex // guards the following
	asked  map[*route]struct{}
	serves map[*route]struct{}
	shares map[string]*shared // streams of it that several look at
	over   bool               // its session has ended
}

// metadata is a form of metadata.
type metadata uint8

const (
	opaque metadata = iota // nothing we can read
	composite
	routing
)

func metadataOf(mime string) metadata {
	switch mime {
	case wire.MIMEComposite:
		return composite
	case wire.MIMERouting:
		return routing
	}
	return opaque
}

// target reads a request's address.
func (m metadata) target(md []byte) (wire.Target, error) {
	switch m {
	case composite:
		return wire.ParseRequest(md)
	case routing:
		return wire.ParseRouting(md)
	}
	return wire.Target{}, nil
}

// errTwoForms is the answer to bytes that are one request as routing tags, and another as composite metadata.
var errTwoForms = errors.New("devices read metadata as composite metadata, as which this names another route")

// target reads a request's address. Where nothing else says whom one of Alibaba's clients means, the service in its route does.
func (l *leg) target(md []byte) (wire.Target, error) {
	t, err := l.read.target(md)
	if err == nil && l.read == routing {
		if as, no := wire.ParseRequest(md); no == nil && string(as.Route) != string(t.Route) {
			return wire.Target{}, errTwoForms
		}
	}
	if err == nil && l.card.byService && !addressed(&t) {
		t.ByService()
	}
	return t, err
}

// Request finds out whom a request is for and connects the two.
func (l *leg) Request(s *session.Stream, first session.Frame) session.Owner {
	return l.b.dispatch(newRoute(l, s, first), first)
}

// Push takes what a device says of itself anew, and carries on what an administrator says to devices.
func (l *leg) Push(md []byte) {
	if l.read != composite {
		return
	}
	if l.card.device != "" {
		e, ok, err := wire.Find(md, wire.MIMEAdvert)
		if err == nil && ok {
			err = l.b.registry.advertise(l, e.Body)
		}
		if err != nil {
			l.b.counters.add(advertsRefused)
			l.b.log.Debug("advert refused", "device", l.card.device, "err", err)
		}
		return
	}
	t, err := wire.ParseRequest(md)
	if err != nil || !addressed(&t) || l.grant.Role != access.Admin || l.b.draining.Load() {
		l.b.counters.add(pushesRefused)
		return
	}
	for _, to := range l.b.registry.all(&t, &l.grant) {
		to.conn.Push(md)
	}
}

// Settle flushes the sessions that were given frames.
func (l *leg) Settle() {
	for i, c := range l.dirty {
		l.dirty[i] = nil
		c.Flush()
	}
	l.dirty = l.dirty[:0]
}

// touch has c flushed at the next Settle. Only the goroutine that reads may call it.
func (l *leg) touch(c *session.Conn) {
	if !slices.Contains(l.dirty, c) {
		l.dirty = append(l.dirty, c)
	}
}

// Linked tells the registry that a device is there or away.
func (l *leg) Linked(up, _ bool) {
	if l.card.device != "" {
		l.b.registry.linked(l, up)
	}
}

// Ended takes the leg out of the registry. Its streams have heard of the end before; a stream that was
// being connected just then may not have.
func (l *leg) Ended(err error) {
	l.mu.Lock()
	l.over = true
	asked, serves, shares := l.asked, l.serves, slices.Collect(maps.Values(l.shares))
	l.asked, l.serves = nil, nil
	l.mu.Unlock()
	if l.card.device != "" {
		l.b.registry.leave(l, err)
	}
	for r := range asked {
		(*nearSide)(r).Ended(err)
	}
	for r := range serves {
		(*farSide)(r).Ended(err)
	}
	for _, g := range shares {
		g.Ended(err)
	}
	l.b.ended(l, err)
}

// ask enters a route that l asks for. n is how many there were; ok is false when the session is over.
func (l *leg) ask(r *route) (n int, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.over {
		return 0, false
	}
	if l.asked == nil {
		l.asked = map[*route]struct{}{}
	}
	n = len(l.asked)
	l.asked[r] = struct{}{}
	l.b.routes.Add(1)
	return n, true
}

// serve enters a route that l answers. It is false when the session is over.
func (l *leg) serve(r *route) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.over {
		return false
	}
	if l.serves == nil {
		l.serves = map[*route]struct{}{}
	}
	l.serves[r] = struct{}{}
	l.serving.Add(1)
	return true
}

func (l *leg) doneAsking(r *route) {
	l.mu.Lock()
	delete(l.asked, r)
	l.mu.Unlock()
	l.b.routeDone()
}

func (l *leg) doneServing(r *route) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.serves, r)
	l.serving.Add(-1)
}

// pictured takes note that a picture of the device has come.
func (l *leg) pictured() { l.picture.Store(time.Now().UnixNano()) }

// queued returns the bytes that wait to leave for l.
func (l *leg) queued() int { return l.conn.Stats().Queued }

// relieve ends the stream of l for which most bytes wait; r's frame was the one too much.
func (l *leg) relieve(r *route) {
	l.mu.Lock()
	fat, most := r, r.near.Queued()
	for other := range l.asked {
		if n := other.near.Queued(); n > most {
			fat, most = other, n
		}
	}
	l.mu.Unlock()
	if more, ok := l.b.slow.may(time.Now()); ok {
		l.b.log.Warn("stream ended: its receiver does not read", "remote", l.conn.RemoteAddr(), "waiting", l.queued(), "others", more)
	}
	fat.evict(r.to, &fault{endedBudget, core.ErrorCodeCanceled, "too much is waiting for you: read faster, or ask for less at once"})
}
