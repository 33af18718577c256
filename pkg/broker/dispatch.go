package broker

import (
	"fmt"
	"strings"
	"time"

	"github.com/rsocket/rsocket-go/core"

	"github.com/perchcam/perch/pkg/api"
	"github.com/perchcam/perch/pkg/broker/access"
	"github.com/perchcam/perch/pkg/session"
	"github.com/perchcam/perch/pkg/wire"
)

// consolePrefix begins the routes that the broker answers itself, unless a device is named.
const consolePrefix = "broker."

// dispatch connects a request with whom it is for, has it wait, or answers with an error.
func (b *Broker) dispatch(r *route, first session.Frame) session.Owner {
	b.counters.add(requests)
	md, _ := first.Metadata()
	t, err := r.from.target(md)
	switch {
	case err != nil && first.Has(core.FlagFollow):
		return r.refuse(&fault{refusedMalformed, core.ErrorCodeInvalid, err.Error() + " (the address must be in the request's first fragment)"})
	case err != nil:
		return r.refuse(&fault{refusedMalformed, core.ErrorCodeInvalid, err.Error()})
	case r.metered() && first.N() == 0:
		return r.refuse(&fault{refusedMalformed, core.ErrorCodeInvalid, "the initial request n must be positive"})
	case t.Cast != wire.Unicast:
		return r.refuse(&fault{refusedMalformed, core.ErrorCodeInvalid, "a request goes to one device: only unicast is supported"})
	case b.draining.Load():
		return r.refuse(&fault{refusedDraining, core.ErrorCodeRejected, "the broker is stopping: ask again in a moment"})
	case string(t.Route) == wire.RouteHealth && t.Device == nil:
		return b.console.Request(r.near, first)
	case !r.from.grant.May(string(t.Route)):
		return r.refuse(&fault{refusedRole, core.ErrorCodeRejected, notPermitted(r.from.grant.Role, string(t.Route))})
	case forConsole(&t):
		return b.console.Request(r.near, first)
	case !addressed(&t):
		return r.refuse(&fault{refusedMalformed, core.ErrorCodeInvalid, fmt.Sprintf("the broker itself has no route %q, and the request names no device", t.Route)})
	}
	r.pictures = string(t.Route) == api.RouteSnapshot || string(t.Route) == api.RouteStream
	wait, err := b.waitOf(&t)
	if err != nil {
		return r.refuse(&fault{refusedMalformed, core.ErrorCodeInvalid, err.Error()})
	}
	n, ok := r.from.ask(r)
	if !ok {
		return nil // its session is over
	}
	if n >= b.cfg.Streams {
		return r.abandon(&fault{refusedLimit, core.ErrorCodeRejected, fmt.Sprintf("%d requests are open, which is the limit", n)})
	}
	l, away := b.registry.find(&t, &r.from.grant)
	if l != nil {
		if l.queued()+first.Size() > b.cfg.Budget {
			return r.abandon(&fault{refusedLimit, core.ErrorCodeRejected, l.card.title() + " is busy: too much is waiting for it"})
		}
		if key, ok := sharedKey(&t, first); ok && l.share(r, key, first) {
			return (*nearSide)(r)
		} else if !ok && r.connect(l, first) {
			return (*nearSide)(r)
		}
	}
	otherwise := notThere(&t, away)
	if away && t.Param(wire.ParamWait) == nil {
		wait = b.cfg.Wait
	}
	if wait == 0 {
		return r.abandon(otherwise)
	}
	if first.Size() > parkedBytes || !r.park(&t, first, wait, otherwise) {
		return r.abandon(&fault{refusedLimit, core.ErrorCodeRejected, "too much is waiting for devices that are away"})
	}
	b.counters.add(requestsParked)
	r.again() // it may have come just now
	return (*nearSide)(r)
}

// forConsole reports whether a request is for the broker itself.
func forConsole(t *wire.Target) bool {
	return strings.HasPrefix(string(t.Route), consolePrefix) && t.Device == nil
}

// notPermitted says who may ask for a route, if a role may not.
func notPermitted(role access.Role, route string) string {
	var may []string
	for _, r := range access.WhoMay(route) {
		may = append(may, string(r))
	}
	return fmt.Sprintf("%sthe role %s may not ask for %q, which is for %s", api.NotPermitted, role, route, strings.Join(may, " and "))
}

// addressed reports whether a request says anything about its target.
func addressed(t *wire.Target) bool {
	for range t.Conditions() {
		return true
	}
	return false
}

// notThere says why a request cannot be carried on.
func notThere(t *wire.Target, away bool) *fault {
	name := "a device that has what the request asks for"
	if t.Device != nil {
		name = fmt.Sprintf("device %q", t.Device)
	}
	if away {
		return &fault{refusedAway, core.ErrorCodeRejected, name + " is away: its link is lost, and it has not come back in time"}
	}
	code := core.ErrorCodeRejected
	if t.Dialect == wire.Alibaba {
		code = core.ErrorCodeInvalid // RST-900405 at Alibaba's own broker, and its clients know it by this code
	}
	return &fault{refusedUnknown, code, "there is no " + strings.TrimPrefix(name, "a ")}
}

// waitOf returns how long a request says it would wait.
func (b *Broker) waitOf(t *wire.Target) (time.Duration, error) {
	p := t.Param(wire.ParamWait)
	if p == nil {
		return 0, nil
	}
	d, err := time.ParseDuration(string(p))
	if err != nil || d < 0 {
		return 0, fmt.Errorf("wait=%q is no duration such as 5s", p)
	}
	return min(d, b.cfg.MaxWait), nil
}

// refuse answers a request that was not entered anywhere.
func (r *route) refuse(f *fault) session.Owner {
	r.b.counters.add(f.why)
	if r.kind != core.FrameTypeRequestFNF { // to which there is no answer
		r.near.Fail(f.code, f.text)
	}
	return nil
}

// abandon answers a request that its leg counts already.
func (r *route) abandon(f *fault) session.Owner {
	r.from.doneAsking(r)
	return r.refuse(f)
}
