package broker

import (
	"context"
	"encoding/json"
	"iter"
	"slices"
	"time"

	"github.com/perchcam/perch/pkg/api"
	"github.com/perchcam/perch/pkg/broker/access"
	"github.com/perchcam/perch/pkg/peer"
	"github.com/perchcam/perch/pkg/wire"
)

// console answers the routes of the broker itself. Its peer is given the single streams that ask for one, of any session.
type console struct {
	b *Broker
}

// route returns what a request of l is for. dispatch has judged it by its first fragment only.
func (c console) route(l *leg, req peer.Payload) (string, error) {
	t, err := l.target(req.Metadata)
	if err != nil {
		return "", peer.Errorf(peer.CodeInvalid, "%v", err)
	}
	route := string(t.Route)
	if route != wire.RouteHealth && !l.grant.May(route) {
		return "", peer.Errorf(peer.CodeRejected, "%s", notPermitted(l.grant.Role, route))
	}
	return route, nil
}

func unknownRoute(route string) error {
	return peer.Errorf(peer.CodeInvalid, "the broker has no route %q for this kind of request", route)
}

func (c console) response(ctx context.Context, req peer.Payload) (peer.Payload, error) {
	l := c.b.legOf(peer.Conn(ctx))
	if l == nil {
		return peer.Payload{}, peer.ErrCanceled
	}
	route, err := c.route(l, req)
	if err != nil {
		return peer.Payload{}, err
	}
	switch route {
	case api.RouteDevices:
		q, err := api.Parse[api.DevicesRequest](req.Data)
		if err != nil {
			return peer.Payload{}, peer.Errorf(peer.CodeInvalid, "%v", err)
		}
		return encode(c.page(l, q))
	case api.RouteBrokerInfo:
		return encode(c.b.info(&l.grant))
	case api.RouteEnrol:
		return c.b.enrol(l, req.Data)
	case wire.RouteHealth:
		return peer.Payload{Data: []byte{wire.HealthServing}}, nil
	default:
		return peer.Payload{}, unknownRoute(route)
	}
}

func (c console) stream(ctx context.Context, req peer.Payload) iter.Seq2[peer.Payload, error] {
	l := c.b.legOf(peer.Conn(ctx))
	if l == nil {
		return peer.Fail(peer.ErrCanceled)
	}
	route, err := c.route(l, req)
	if err != nil {
		return peer.Fail(err)
	}
	if route != api.RouteDevicesWatch {
		return peer.Fail(unknownRoute(route))
	}
	q, err := api.Parse[api.DevicesRequest](req.Data)
	if err != nil {
		return peer.Fail(peer.Errorf(peer.CodeInvalid, "%v", err))
	}
	return func(yield func(peer.Payload, error) bool) {
		keep := func(d *api.Device) bool { return l.grant.Covers(d.Name) && q.Meets(d) }
		c.watch(ctx, keep, func(e api.DeviceEvent) bool { return yield(encode(e)) })
	}
}

// watch tells of every device, then of what changes. Who falls too far behind is told how much is missing and
// of every device again.
func (c console) watch(ctx context.Context, keep func(*api.Device) bool, say func(api.DeviceEvent) bool) {
	states := func() (uint64, bool) {
		list, at := c.b.registry.list(false)
		for i := range list {
			if keep(&list[i]) && !say(api.DeviceEvent{Type: api.EventState, Device: &list[i]}) {
				return 0, false
			}
		}
		return at, true
	}
	at, ok := states()
	for ok {
		d, missed, more := c.b.registry.events.after(at)
		switch {
		case missed > 0:
			c.b.counters.add(eventsMissed)
			if ok = say(api.DeviceEvent{Type: api.EventGap, Missed: missed}); ok {
				at, ok = states()
			}
		case d != nil:
			if at++; keep(d) {
				ok = say(api.DeviceEvent{Type: api.EventChange, Device: d})
			}
		default:
			select {
			case <-more:
			case <-ctx.Done():
				return
			}
		}
	}
}

// page is an answer of RouteDevices, with its devices encoded.
type page struct {
	Devices []json.RawMessage `json:"devices"`
	At      time.Time         `json:"at"`
	Next    string            `json:"next,omitempty"`
}

const (
	pageBytes = api.MaxAnswer / 2 // after which a page takes no more devices; one has a few dozen KiB at most
	pageStep  = 64                // devices that are looked at under one lock
)

// page lists what l may see and q asks for, as much as goes into one answer.
func (c console) page(l *leg, q api.DevicesRequest) page {
	p := page{Devices: []json.RawMessage{}, At: time.Now()}
	names := []string{q.Device}
	if q.Device == "" {
		names = c.b.registry.names(q.After)
	}
	names = slices.DeleteFunc(names, func(name string) bool { return !l.grant.Covers(name) })
	size := 0
	for some := range slices.Chunk(names, pageStep) {
		for _, d := range c.b.registry.views(some, l.grant.Role == access.Admin) {
			if !q.Meets(d) {
				continue
			}
			if size > pageBytes {
				return p
			}
			data, err := json.Marshal(d)
			if err != nil {
				c.b.log.Error("cannot list a device", "device", d.Name, "err", err)
				continue
			}
			p.Devices, p.Next = append(p.Devices, data), d.Name
			size += len(data) + 1
		}
	}
	p.Next = ""
	return p
}

func encode(v any) (peer.Payload, error) {
	data, err := json.Marshal(v)
	return peer.Payload{Data: data}, err
}

// info is what the broker says of itself: of what by may see. How many look on, only who may see everything is told.
func (b *Broker) info(by *access.Grant) api.BrokerInfo {
	online, away := b.registry.count(by)
	i := api.BrokerInfo{
		Version: b.cfg.Version, Started: b.started, At: time.Now(), Role: string(by.Role),
		Online: online, Away: away,
	}
	if by.Role == access.Admin && len(by.Devices) == 0 {
		b.mu.Lock()
		i.Viewers = max(0, len(b.legs)-online-away)
		b.mu.Unlock()
	}
	return i
}

// enrol gives a device credentials of its own for an enrolment token.
func (b *Broker) enrol(l *leg, data []byte) (peer.Payload, error) {
	if l.grant.Role != access.Enrol {
		return peer.Payload{}, peer.Errorf(peer.CodeRejected, "%sonly an enrolment token can be exchanged", api.NotPermitted)
	}
	q, err := api.Parse[api.EnrolRequest](data)
	if err != nil {
		return peer.Payload{}, peer.Errorf(peer.CodeInvalid, "%v", err)
	}
	token, err := b.cfg.Access.Enrol(l.grant, q.Device)
	if err != nil {
		return peer.Payload{}, peer.Errorf(peer.CodeRejected, "%v", err)
	}
	b.log.Info("device enrolled", "device", q.Device, "credential", l.grant.Credential, "remote", l.conn.RemoteAddr())
	return encode(api.Enrolled{Device: q.Device, Token: token})
}
