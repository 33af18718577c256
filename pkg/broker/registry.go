package broker

import (
	"cmp"
	"fmt"
	"iter"
	"slices"
	"sync"
	"time"

	"github.com/rsocket/rsocket-go/core"

	"github.com/perchcam/perch/pkg/api"
	"github.com/perchcam/perch/pkg/broker/access"
	"github.com/perchcam/perch/pkg/session"
	"github.com/perchcam/perch/pkg/wire"
)

// registry is which devices there are. A device is online, then perhaps away and online again while its
// session lasts, and gone when its session is over. An entry belongs to one session: what an older one
// of the same device does or says later changes nothing, in whatever order it comes.
type registry struct {
	events *events

	mu      sync.RWMutex // guards the following
	devices map[string]*device
	terms   map[wire.Tag]holders           // who meets one; without names, which devices has
	turn    uint64                         // of balancing
	parked  map[string]map[*route]struct{} // by the device they name, "" for any
	waiting int
}

// device is one entry.
type device struct {
	leg    *leg
	up     bool
	since  time.Time
	advert *api.Advert // nil: it gave none
	began  time.Time   // its agent; zero: it does not say
	reason string
	turn   uint64   // when balancing last chose it
	ousted []string // the boots of the agents whose sessions it and those before it have taken the place of
}

// oustedKept is how many machines with one name and id are told apart.
const oustedKept = 4

// choices is how many devices balancing compares, at most.
const choices = 128

func newRegistry() *registry {
	return &registry{
		events:  newEvents(),
		devices: map[string]*device{},
		terms:   map[wire.Tag]holders{},
		parked:  map[string]map[*route]struct{}{},
	}
}

// join enters a device's new session. An older session of the same device is returned: it is to be closed. While
// another device of the same name is there the new one is refused. So is one that comes back after another agent had taken
// its place: both live, as after a card was copied with its machine id, and would oust one another for ever.
func (g *registry) join(l *leg, a *api.Advert) (old *leg, err error) {
	name := l.card.device
	var ousted []string
	g.mu.Lock()
	defer g.mu.Unlock()
	if d := g.devices[name]; d != nil {
		if d.leg.card.id != l.card.id {
			return nil, session.Errorf(core.ErrorCodeRejectedSetup,
				"another device is connected as %q: give one of them another name, or stop the other one first", name)
		}
		if boot := bootOf(a); boot != "" && boot != bootOf(d.advert) && slices.Contains(d.ousted, boot) {
			return nil, session.Errorf(core.ErrorCodeRejectedSetup,
				"two machines use the name %q and the same machine id: set PERCH_DEVICE on one of them", name)
		}
		old = d.leg
		l.picture.Store(old.picture.Load())
		if ousted = d.ousted; bootOf(d.advert) != bootOf(a) {
			ousted = append(ousted[max(0, len(ousted)-oustedKept+1):], bootOf(d.advert))
		}
		g.remove(d)
	}
	d := &device{leg: l, up: true, since: time.Now(), advert: a, ousted: ousted}
	if a != nil && a.UptimeS > 0 {
		d.began = d.since.Add(-time.Duration(a.UptimeS) * time.Second)
	}
	g.enter(d)
	g.events.add(d.view(api.StateOnline))
	return old, nil
}

// bootOf tells one start of an agent from another; "" where it does not say.
func bootOf(a *api.Advert) string {
	if a == nil {
		return ""
	}
	return a.Boot
}

// linked takes note that a device has a link again, or has lost it.
func (g *registry) linked(l *leg, up bool) {
	g.mu.Lock()
	d := g.devices[l.card.device]
	if d == nil || d.leg != l {
		g.mu.Unlock()
		return
	}
	if d.up != up {
		d.up, d.since, d.reason = up, time.Now(), ""
		if !up {
			d.reason = "its link is lost"
		}
		g.events.add(d.view(d.state()))
	}
	g.mu.Unlock()
	if up {
		g.wake(l.card.device)
	}
}

// leave takes a session out.
func (g *registry) leave(l *leg, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	d := g.devices[l.card.device]
	if d == nil || d.leg != l {
		return
	}
	g.remove(d)
	d.since, d.reason = time.Now(), api.Text(err.Error())
	g.events.add(d.view(api.StateLeft))
}

// advertise takes a device's changed advert. Its order is that of rev, as a push may be repeated after a resume.
func (g *registry) advertise(l *leg, data []byte) error {
	a, err := api.ParseAdvert(data)
	if err != nil {
		return err
	}
	if a.Device != l.card.device || a.ID != l.card.id {
		return fmt.Errorf("the advert is of device %q", a.Device)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	d := g.devices[a.Device]
	if d == nil || d.leg != l || d.advert != nil && d.advert.Boot == a.Boot && a.Rev <= d.advert.Rev {
		return nil
	}
	d.advert = &a
	g.events.add(d.view(d.state()))
	return nil
}

// find returns the session that a request of someone with a grant is for; away: there is one that would do, without a link.
// Of several it takes the one that answers least, then the one that was not taken longest; of very many the best
// of some at random.
func (g *registry) find(t *wire.Target, by *access.Grant) (l *leg, away bool) {
	if t.Device != nil {
		g.mu.RLock()
		defer g.mu.RUnlock()
		d := g.devices[string(t.Device)]
		if d == nil || !by.Covers(d.leg.card.device) || !d.leg.card.meets(t) {
			return nil, false
		}
		if !d.up {
			return nil, true
		}
		return d.leg, false
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	var best *device
	few, all := g.narrow(t)
	n := 0
	for d := range few.all() { // in random order
		if !by.Covers(d.leg.card.device) || !all && !d.leg.card.meets(t) {
			continue
		}
		if !d.up {
			away = true
			continue
		}
		if best == nil || d.before(best) {
			best = d
		}
		if n++; n == choices {
			break
		}
	}
	if best == nil {
		return nil, away
	}
	g.turn++
	best.turn = g.turn
	return best.leg, false
}

// all returns the sessions that have what an address asks for and a link: the first for a unicast.
func (g *registry) all(t *wire.Target, by *access.Grant) (legs []*leg) {
	if t.Cast == wire.Unicast {
		if l, _ := g.find(t, by); l != nil {
			legs = append(legs, l)
		}
		return legs
	}
	g.mu.RLock()
	defer g.mu.RUnlock()
	for name, d := range g.devices {
		if d.up && by.Covers(name) && d.leg.card.meets(t) {
			legs = append(legs, d.leg)
		}
	}
	return legs
}

// narrow returns the devices that meet the rarest condition of an address; all: it has no other.
func (g *registry) narrow(t *wire.Target) (few holders, all bool) {
	n := 0
	for k, v := range t.Conditions() {
		key, value, ok := term(k, v)
		if !ok {
			continue
		}
		if set := g.terms[wire.Tag{Key: string(key), Value: string(value)}]; n == 0 || set.len() < few.len() {
			few = set
		}
		n++
	}
	return few, n == 1
}

func (g *registry) enter(d *device) {
	g.devices[d.leg.card.device] = d
	for _, term := range d.leg.card.terms {
		if term.Key == wire.KeyDevice {
			continue
		}
		g.terms[term] = g.terms[term].with(d)
	}
}

func (g *registry) remove(d *device) {
	delete(g.devices, d.leg.card.device)
	for _, term := range d.leg.card.terms {
		if rest := g.terms[term].without(d); rest.len() == 0 {
			delete(g.terms, term)
		} else {
			g.terms[term] = rest
		}
	}
}

// holders are the devices that meet a term. Of most terms it is one: a map for each was a tenth of what a device costs.
type holders struct {
	one  *device
	more map[*device]struct{} // nil: one is all there is
}

func (h holders) len() int {
	if h.one != nil {
		return 1
	}
	return len(h.more)
}

func (h holders) all() iter.Seq[*device] {
	return func(yield func(*device) bool) {
		if h.one != nil {
			yield(h.one)
			return
		}
		for d := range h.more {
			if !yield(d) {
				return
			}
		}
	}
}

func (h holders) with(d *device) holders {
	switch {
	case h.more != nil:
		h.more[d] = struct{}{}
	case h.one == nil || h.one == d:
		h.one = d
	default:
		h = holders{more: map[*device]struct{}{h.one: {}, d: {}}}
	}
	return h
}

func (h holders) without(d *device) holders {
	delete(h.more, d)
	if h.one == d {
		h.one = nil
	}
	return h
}

// before reports whether balancing takes d rather than e.
func (d *device) before(e *device) bool {
	n, m := d.leg.serving.Load(), e.leg.serving.Load()
	return n < m || n == m && d.turn < e.turn
}

func (d *device) state() string {
	if d.up {
		return api.StateOnline
	}
	return api.StateAway
}

// shown is the device as it is now.
func (d *device) shown(addr bool) *api.Device {
	v := d.view(d.state())
	if addr {
		v.Addr = fmt.Sprint(d.leg.conn.RemoteAddr())
	}
	return v
}

// view is the device as others see it.
func (d *device) view(state string) *api.Device {
	c := &d.leg.card
	v := &api.Device{Name: c.device, ID: c.id, State: state, Since: d.since, Started: d.began, Reason: d.reason}
	if at := d.leg.picture.Load(); at > 0 {
		v.Picture = time.Unix(0, at)
	}
	if a := d.advert; a != nil {
		v.Version, v.Cameras, v.Sensors, v.Outputs = a.Version, a.Cameras, a.Sensors, a.Outputs
	}
	for _, tag := range c.tags {
		if tag.Key == wire.KeyInstanceName || tag.Key == wire.KeyDevice { // the name, for brokers that know it by these
			continue
		}
		if v.Tags == nil {
			v.Tags = map[string]string{}
		}
		v.Tags[api.Text(tag.Key)] = api.Text(tag.Value)
	}
	return v
}

// names returns the names of all devices behind one, in order.
func (g *registry) names(after string) (names []string) {
	g.mu.RLock()
	for name := range g.devices {
		if name > after {
			names = append(names, name)
		}
	}
	g.mu.RUnlock()
	slices.Sort(names)
	return names
}

// views returns those of the named devices that are there, with their addresses if asked for.
func (g *registry) views(names []string, addr bool) (list []*api.Device) {
	g.mu.RLock()
	defer g.mu.RUnlock()
	for _, name := range names {
		if d := g.devices[name]; d != nil {
			list = append(list, d.shown(addr))
		}
	}
	return list
}

// list returns all devices by name, with their addresses if asked for, and the number of the last event they include.
func (g *registry) list(addr bool) ([]api.Device, uint64) {
	g.mu.RLock()
	defer g.mu.RUnlock()
	all := make([]api.Device, 0, len(g.devices))
	for _, d := range g.devices {
		all = append(all, *d.shown(addr))
	}
	slices.SortFunc(all, func(a, b api.Device) int { return cmp.Compare(a.Name, b.Name) })
	return all, g.events.last()
}

// count returns how many of the devices that by covers are online and away.
func (g *registry) count(by *access.Grant) (online, away int) {
	g.mu.RLock()
	defer g.mu.RUnlock()
	for name, d := range g.devices {
		switch {
		case !by.Covers(name):
		case d.up:
			online++
		default:
			away++
		}
	}
	return online, away
}

// park has a request woken when a device of that name, or any for "", is there. It is false when too many wait.
func (g *registry) park(r *route, name string) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.waiting == parkedAll {
		return false
	}
	if g.parked[name] == nil {
		g.parked[name] = map[*route]struct{}{}
	}
	g.parked[name][r] = struct{}{}
	g.waiting++
	return true
}

// parkedNow returns how many requests wait.
func (g *registry) parkedNow() int {
	g.mu.RLock()
	defer g.mu.RUnlock()
	return g.waiting
}

func (g *registry) unpark(r *route, name string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if _, ok := g.parked[name][r]; ok {
		g.waiting--
		if delete(g.parked[name], r); len(g.parked[name]) == 0 {
			delete(g.parked, name)
		}
	}
}

// wake has the requests looked at again that may be for a device.
func (g *registry) wake(name string) {
	g.mu.RLock()
	var routes []*route
	for _, key := range [2]string{name, ""} {
		for r := range g.parked[key] {
			routes = append(routes, r)
		}
	}
	g.mu.RUnlock()
	for _, r := range routes {
		r.again()
	}
}
