package broker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rsocket/rsocket-go/core"

	"github.com/perchcam/perch/pkg/api"
	"github.com/perchcam/perch/pkg/peer"
	"github.com/perchcam/perch/pkg/session"
	"github.com/perchcam/perch/pkg/wire"
)

// house is a broker in a bubble, with everybody connected over net.Pipe.
type house struct {
	t *testing.T
	*Broker
	ctx  context.Context
	work sync.WaitGroup
}

// open runs f with a broker in a synctest bubble, and takes everything down after it.
func open(t *testing.T, cfg Config, f func(h *house)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		b, err := New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		h := &house{t: t, Broker: b, ctx: ctx}
		f(h)
		cancel()
		b.cfg.Grace = 1
		b.drain(ctx)
		h.work.Wait()
	})
}

// end is one client of the house.
type end struct {
	*session.Client
	peer.Requester
	h    *house
	mu   sync.Mutex
	link *stallable
	down bool
	from origin // of its links
	stop context.CancelFunc
	ran  chan error
}

func (e *end) dial(context.Context) (net.Conn, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.down {
		return nil, errors.New("no network")
	}
	a, b := net.Pipe()
	e.link = &stallable{Conn: a, closed: make(chan struct{})}
	var server net.Conn = b
	if e.from.Addr != nil {
		server = fromConn{b, e.from}
	}
	e.h.work.Go(func() { e.h.Serve(server) })
	return e.link, nil
}

// fromConn is a link that comes from somewhere else than it does.
type fromConn struct {
	net.Conn
	from origin
}

func (c fromConn) RemoteAddr() net.Addr { return c.from }

// cut breaks the link. While down is set it does not come back.
func (e *end) cut(down bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.down = down
	e.link.Close()
}

// stall makes the link take n more bytes from its end and no more, until it is called with 0.
func (e *end) stall(n int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.link.mu.Lock()
	defer e.link.mu.Unlock()
	if e.link.more != nil {
		close(e.link.more)
	}
	e.link.left, e.link.more = n, nil
	if n > 0 {
		e.link.more = make(chan struct{})
	}
}

// stallable is a link whose writer can be stopped.
type stallable struct {
	net.Conn
	closed chan struct{}
	once   sync.Once

	mu   sync.Mutex
	left int
	more chan struct{} // nil: no limit
}

func (s *stallable) Write(b []byte) (n int, err error) {
	for len(b) > 0 && err == nil {
		s.mu.Lock()
		more, part := s.more, len(b)
		if more != nil {
			part = min(part, s.left)
			s.left -= part
		}
		s.mu.Unlock()
		if part == 0 {
			select {
			case <-more:
			case <-s.closed:
				return n, net.ErrClosed
			}
			continue
		}
		var m int
		m, err = s.Conn.Write(b[:part])
		n, b = n+m, b[m:]
	}
	return n, err
}

func (s *stallable) Close() error {
	s.once.Do(func() { close(s.closed) })
	return s.Conn.Close()
}

func (e *end) back() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.down = false
}

// leave says goodbye and returns how the session ended.
func (e *end) leave() error {
	e.stop()
	err := <-e.ran
	e.ran <- err
	return err
}

// connect makes a client; what it says is s. It returns once it has been heard.
func (h *house) connect(s wire.Setup, resume bool, handler peer.Handler) *end {
	h.t.Helper()
	return h.dialAs(composed(s, resume), handler)
}

func composed(s wire.Setup, resume bool) session.Setup {
	md, err := s.Append(nil)
	if err != nil {
		panic(err)
	}
	return session.Setup{Resume: resume, MetadataMIME: wire.MIMEComposite, DataMIME: wire.MIMEJSON, Metadata: md}
}

func (h *house) dialAs(s session.Setup, handler peer.Handler) *end {
	h.t.Helper()
	defer synctest.Wait()
	return h.start(s, handler)
}

// start is dialAs without waiting.
func (h *house) start(s session.Setup, handler peer.Handler) *end {
	p, err := peer.New(peer.Config{Handler: handler})
	if err != nil {
		h.t.Fatal(err)
	}
	e := &end{h: h, ran: make(chan error, 1)}
	e.Client, err = session.NewClient(session.ClientConfig{Dial: e.dial, Setup: s}, p)
	if err != nil {
		h.t.Fatal(err)
	}
	e.Requester = p.Requester(e.Client.Conn)
	h.run(e)
	h.work.Go(func() {
		<-e.Done()
		p.Wait()
	})
	return e
}

// run runs a client, until h is taken down or it leaves.
func (h *house) run(e *end) {
	ctx, stop := context.WithCancel(h.ctx)
	e.stop = stop
	h.work.Go(func() { e.ran <- e.Run(ctx) })
}

func (h *house) laptop() *end {
	return h.connect(laptopSetup(), true, nil)
}

func laptopSetup() wire.Setup {
	return wire.Setup{Dialect: wire.RSocketBroker, ID: wire.NewUUID().String(), Service: "laptop"}
}

func waitTag(d string) wire.Tag { return wire.Tag{Key: wire.ParamWait, Value: d} }

// camera connects a device. Its id is derived from its name unless given.
func (h *house) camera(name string, handler peer.Handler, tags ...wire.Tag) *end {
	return h.connect(deviceSetup(name, "id-"+name, 1, tags...), true, handler)
}

func deviceSetup(name, id string, rev uint64, tags ...wire.Tag) wire.Setup {
	advert, err := api.Advert{
		Device: name, ID: id, Boot: "boot", Rev: rev, Version: "1.0",
		Cameras: []api.CameraRef{{Name: "front", Kind: "pattern"}}, Routes: []string{api.RouteSnapshot},
	}.Encode()
	if err != nil {
		panic(err)
	}
	return wire.Setup{
		Dialect: wire.RSocketBroker, ID: wire.NewUUID().String(), Service: api.Service, Advert: advert,
		Tags: append([]wire.Tag{{Key: wire.KeyInstanceName, Value: name}, {Key: wire.KeyDevice, Value: name}}, tags...),
	}
}

// to is the metadata of a request for a device.
func to(device, route string, params ...wire.Tag) []byte {
	return meta(wire.RSocketBroker, wire.Request{Route: route, Service: api.Service, Device: device, Params: params})
}

func meta(d wire.Dialect, q wire.Request) []byte {
	md, err := q.Append(nil, d)
	if err != nil {
		panic(err)
	}
	return md
}

// echo answers every request with its data.
var echo = peer.Funcs{
	Response: func(_ context.Context, req peer.Payload) (peer.Payload, error) { return req, nil },
	Stream: func(_ context.Context, req peer.Payload) iter.Seq2[peer.Payload, error] {
		return func(yield func(peer.Payload, error) bool) {
			for i := 0; yield(peer.Payload{Data: fmt.Appendf(nil, "%s %d", req.Data, i)}, nil); i++ {
			}
		}
	},
	Channel: func(_ context.Context, first peer.Payload, in iter.Seq2[peer.Payload, error]) iter.Seq2[peer.Payload, error] {
		return func(yield func(peer.Payload, error) bool) {
			if !yield(first, nil) {
				return
			}
			for v, err := range in {
				if !yield(v, err) || err != nil {
					return
				}
			}
		}
	},
}

// named answers every request with a name.
func named(name string) peer.Handler {
	return peer.Funcs{Response: func(context.Context, peer.Payload) (peer.Payload, error) {
		return peer.Payload{Data: []byte(name)}, nil
	}}
}

func (e *end) ask(md []byte) (string, error) {
	v, err := e.RequestResponse(e.h.ctx, peer.Payload{Metadata: md})
	return string(v.Data), err
}

// wantError checks an error's code and a part of its text.
func wantError(t *testing.T, err error, code core.ErrorCode, text string) {
	t.Helper()
	e, ok := errors.AsType[*session.Error](err)
	if !ok || e.Code != code || !strings.Contains(e.Text, text) {
		t.Fatalf("error is %v, not %v with %q", err, code, text)
	}
}

func (h *house) devices(e *end) []api.Device {
	h.t.Helper()
	text, err := e.ask(meta(wire.RSocketBroker, wire.Request{Route: api.RouteDevices}))
	if err != nil {
		h.t.Fatal(err)
	}
	var list api.Devices
	if err := json.Unmarshal([]byte(text), &list); err != nil {
		h.t.Fatal(err)
	}
	return list.Devices
}

func names(list []api.Device) (out []string) {
	for _, d := range list {
		out = append(out, d.Name+" "+d.State)
	}
	return out
}

func TestFourModels(t *testing.T) {
	open(t, Config{}, func(h *house) {
		fired := make(chan string, 1)
		device := echo
		device.Forget = func(_ context.Context, req peer.Payload) { fired <- string(req.Data) }
		h.camera("cam", device)
		l := h.laptop()

		big := strings.Repeat("0123456789abcdef", 20_000) // 320 KB: fragments both ways
		v, err := l.RequestResponse(h.ctx, peer.Payload{Metadata: to("cam", "x"), Data: []byte(big)})
		if err != nil || string(v.Data) != big {
			t.Fatalf("answer of %d bytes, %v", len(v.Data), err)
		}

		n := 0
		for v, err := range l.RequestStream(h.ctx, peer.Payload{Metadata: to("cam", "x"), Data: []byte("item")}) {
			if err != nil || string(v.Data) != fmt.Sprintf("item %d", n) {
				t.Fatalf("element %d is %q, %v", n, v.Data, err)
			}
			if n++; n == 1000 {
				break
			}
		}

		if err := l.FireAndForget(h.ctx, peer.Payload{Metadata: to("cam", "x"), Data: []byte(big)}); err != nil {
			t.Fatal(err)
		}
		if got := <-fired; got != big {
			t.Fatalf("fired %d bytes", len(got))
		}

		up := func(yield func(peer.Payload, error) bool) {
			for i := range 500 {
				if !yield(peer.Payload{Data: fmt.Appendf(nil, "%d %s", i, big[:i*40])}, nil) {
					return
				}
			}
		}
		n = -1 // the first is the request's own
		for v, err := range l.RequestChannel(h.ctx, peer.Payload{Metadata: to("cam", "x"), Data: []byte("first")}, up) {
			want := "first"
			if n >= 0 {
				want = fmt.Sprintf("%d %s", n, big[:n*40])
			}
			if err != nil || string(v.Data) != want {
				t.Fatalf("element %d of the channel is %.20q, %v", n, v.Data, err)
			}
			n++
		}
		if n != 500 {
			t.Fatalf("%d elements came back", n)
		}

		synctest.Wait()
		h.wantCalm()
	})
}

// wantCalm checks that nothing is kept of streams that are over.
func (h *house) wantCalm() {
	h.t.Helper()
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, l := range h.legs {
		l.mu.Lock()
		if len(l.asked) != 0 || len(l.serves) != 0 || l.serving.Load() != 0 || l.conn.Stats().Streams != 0 || l.queued() != 0 {
			h.t.Errorf("leg of %q: %d asked, %d served (%d), %d streams, %d bytes", l.card.device, len(l.asked), len(l.serves),
				l.serving.Load(), l.conn.Stats().Streams, l.queued())
		}
		l.mu.Unlock()
	}
	if n := h.routes.Load(); n != 0 {
		h.t.Errorf("%d routes are counted", n)
	}
	if n := h.registry.waiting; n != 0 {
		h.t.Errorf("%d requests are parked", n)
	}
}

func TestCancelReachesTheDevice(t *testing.T) {
	open(t, Config{}, func(h *house) {
		ended := make(chan error, 3)
		wait := func(ctx context.Context) error {
			<-ctx.Done()
			ended <- context.Cause(ctx)
			return context.Cause(ctx)
		}
		h.camera("cam", peer.Funcs{
			Response: func(ctx context.Context, _ peer.Payload) (peer.Payload, error) { return peer.Payload{}, wait(ctx) },
			Stream: func(ctx context.Context, _ peer.Payload) iter.Seq2[peer.Payload, error] {
				return func(yield func(peer.Payload, error) bool) { wait(ctx) }
			},
			Channel: func(ctx context.Context, _ peer.Payload, _ iter.Seq2[peer.Payload, error]) iter.Seq2[peer.Payload, error] {
				return func(yield func(peer.Payload, error) bool) { wait(ctx) }
			},
		})
		l := h.laptop()
		req := peer.Payload{Metadata: to("cam", "x")}
		for name, f := range map[string]func(ctx context.Context){
			"response": func(ctx context.Context) { l.RequestResponse(ctx, req) },
			"stream": func(ctx context.Context) {
				for range l.RequestStream(ctx, req) {
				}
			},
			"channel": func(ctx context.Context) {
				for range l.RequestChannel(ctx, req, func(func(peer.Payload, error) bool) { <-ctx.Done() }) {
				}
			},
		} {
			ctx, cancel := context.WithTimeout(h.ctx, time.Second)
			go f(ctx)
			if err := <-ended; !errors.Is(err, peer.ErrCanceled) {
				t.Errorf("%s: the handler's context ended with %v", name, err)
			}
			cancel()
		}
		h.stopWaiting(l)
	})
}

// stopWaiting ends a laptop and checks that nothing of it is left.
func (h *house) stopWaiting(l *end) {
	h.t.Helper()
	l.leave()
	synctest.Wait()
	h.wantCalm()
}

func TestErrorsPass(t *testing.T) {
	open(t, Config{}, func(h *house) {
		h.camera("cam", peer.Funcs{
			Response: func(context.Context, peer.Payload) (peer.Payload, error) {
				return peer.Payload{}, peer.Errorf(peer.CodeInvalid, "no camera %q here", "rear")
			},
			Stream: func(context.Context, peer.Payload) iter.Seq2[peer.Payload, error] {
				return peer.Fail(errors.New("the lens is covered"))
			},
		})
		l := h.laptop()
		_, err := l.ask(to("cam", "x"))
		wantError(t, err, core.ErrorCodeInvalid, `no camera "rear" here`)
		for _, err := range l.RequestStream(h.ctx, peer.Payload{Metadata: to("cam", "x")}) {
			wantError(t, err, core.ErrorCodeApplicationError, "the lens is covered")
		}
		synctest.Wait()
		h.wantCalm()
	})
}

func TestRefusals(t *testing.T) {
	open(t, Config{Streams: 3}, func(h *house) {
		h.camera("cam", peer.Funcs{Response: func(ctx context.Context, _ peer.Payload) (peer.Payload, error) {
			<-ctx.Done()
			return peer.Payload{}, ctx.Err()
		}})
		l := h.laptop()
		routed := func(tags ...string) []byte {
			body, _ := wire.AppendRouting(nil, tags...)
			md, _ := wire.AppendEntryID(nil, wire.IDRouting, body)
			return md
		}
		for _, c := range []struct {
			name string
			md   []byte
			code core.ErrorCode
			text string
			why  count
		}{
			{"unknown device", to("nobody", "camera.snapshot"), core.ErrorCodeRejected, `there is no device "nobody"`, refusedUnknown},
			{"unknown tag", routed("camera.snapshot", "room=cellar"), core.ErrorCodeRejected, "there is no device that has what", refusedUnknown},
			{"unknown device, to Alibaba's clients", routed("camera.snapshot", "e=device:nobody"), core.ErrorCodeInvalid, `there is no device "nobody"`, refusedUnknown},
			{"no address", routed("camera.snapshot"), core.ErrorCodeInvalid, `no route "camera.snapshot", and the request names no device`, refusedMalformed},
			{"nothing", nil, core.ErrorCodeInvalid, "names no device", refusedMalformed},
			{"garbage", []byte{0xfe, 0xff, 0xff, 0xff}, core.ErrorCodeInvalid, "malformed metadata", refusedMalformed},
			{"unknown broker route", routed("broker.reboot"), core.ErrorCodeInvalid, `no route "broker.reboot"`, -1},
			{"stream as response", routed("broker.watch"), core.ErrorCodeInvalid, `no route "broker.watch"`, -1},
			{"bad wait", routed("camera.snapshot", "device=cam", "wait=soon"), core.ErrorCodeInvalid, `wait="soon"`, refusedMalformed},
			{"two devices", routed("x", "device=a", "device=b"), core.ErrorCodeInvalid, "device", refusedMalformed},
			{"multicast", meta(wire.RSocketBroker, wire.Request{Route: "x", Service: api.Service, Cast: wire.Multicast}), core.ErrorCodeInvalid, "unicast", refusedMalformed},
		} {
			before := time.Now()
			_, err := l.ask(c.md)
			t.Log(c.name, err)
			wantError(t, err, c.code, c.text)
			if d := time.Since(before); d > 0 {
				t.Errorf("%s: it took %v", c.name, d)
			}
			if c.why >= 0 && h.counters[c.why].Load() == 0 {
				t.Errorf("%s: %s is 0", c.name, countInfo[c.why].name)
			}
		}
		for range 3 {
			go l.ask(to("cam", "x"))
		}
		synctest.Wait()
		_, err := l.ask(to("cam", "x"))
		wantError(t, err, core.ErrorCodeRejected, "3 requests are open, which is the limit")
		h.stopWaiting(l)
	})
}

// TestAlibabaClients asks as Alibaba's clients do: for the broker's health, which they hang up without, and for a service of whoever
// has it.
func TestAlibabaClients(t *testing.T) {
	open(t, Config{}, func(h *house) {
		setup := wire.Setup{Dialect: wire.Alibaba, ID: "0123456789abcdef0123456789abcdef", Service: "laptop"}
		laptop := h.connect(setup, false, nil)
		setup.ID, setup.Service, setup.Services, setup.Tags = "f123456789abcdef0123456789abcdef", "perch", []string{"camera"}, []wire.Tag{{Key: "device", Value: "garden"}}
		garden := h.connect(setup, false, named("garden"))
		route := func(r string) []byte { return meta(wire.Alibaba, wire.Request{Route: r}) }
		for _, e := range []*end{laptop, garden} {
			if got, err := e.ask(route(wire.RouteHealth)); err != nil || got != "\x91" {
				t.Errorf("health: %q, %v", got, err)
			}
		}
		if got, err := laptop.ask(route("camera.snapshot")); err != nil || got != "garden" {
			t.Errorf("a service: %q, %v", got, err)
		}
		if got, err := laptop.ask(route(api.RouteBrokerInfo)); err != nil || !strings.Contains(got, "version") {
			t.Errorf("the broker's own: %q, %v", got, err)
		}
		_, err := laptop.ask(route("oven.heat"))
		wantError(t, err, core.ErrorCodeInvalid, "there is no device that has what")
	})
}

func TestAddressing(t *testing.T) {
	open(t, Config{}, func(h *house) {
		room := func(name string) wire.Tag { return wire.Tag{Key: "room", Value: name} }
		setup := deviceSetup("hall-1", "id-1", 1, room("hall"))
		h.connect(setup, true, named("hall-1"))
		h.camera("hall-2", named("hall-2"), room("hall"))
		h.connect(wire.Setup{
			Dialect: wire.Alibaba, ID: "0123456789abcdef0123456789abcdef", Service: "cam-app", Services: []string{"camera"},
			Tags: []wire.Tag{{Key: "device", Value: "garden"}, room("garden")},
		}, false, named("garden"))
		h.connect(wire.Setup{Dialect: wire.Plain, Service: "perch", Tags: []wire.Tag{{Key: "device", Value: "attic"}}}, false, named("attic"))

		laptop := h.laptop()
		bare := h.dialAs(session.Setup{MetadataMIME: wire.MIMERouting, DataMIME: wire.MIMEJSON}, nil)
		tag := func(key, value string) wire.Request {
			return wire.Request{Route: "x.y", Tags: []wire.Tag{{Key: key, Value: value}}}
		}
		for _, c := range []struct {
			name string
			md   []byte
			want string
		}{
			{"ADDRESS by device", to("hall-1", "x"), "hall-1"},
			{"ADDRESS to Alibaba's", to("garden", "x"), "garden"},
			{"ADDRESS by instance", meta(wire.RSocketBroker, tag(wire.KeyInstanceName, "hall-2")), "hall-2"},
			{"ADDRESS by route id", meta(wire.RSocketBroker, tag(wire.KeyRouteID, setup.ID)), "hall-1"},
			{"ADDRESS by route id in Java", meta(wire.RSocketBroker, tag(wire.KeyRouteID, "Id{"+setup.ID+"}")), "hall-1"},
			{"ADDRESS by tag", meta(wire.RSocketBroker, tag("room", "garden")), "garden"},
			{"LBMethod is no condition", meta(wire.RSocketBroker, wire.Request{Route: "x", Device: "hall-2", Tags: []wire.Tag{{Key: keyLBMethod, Value: "weighted"}}}), "hall-2"},
			{"service", meta(wire.RSocketBroker, wire.Request{Route: "x", Service: "camera"}), "garden"},
			{"endpoint", meta(wire.Alibaba, wire.Request{Route: "camera.snapshot", Device: "hall-1"}), "hall-1"},
			{"endpoint by uuid", meta(wire.Alibaba, tag("id", "0123456789abcdef0123456789abcdef")), "garden"},
			{"bare tags", meta(wire.Plain, wire.Request{Route: "camera.snapshot", Device: "attic"}), "attic"},
		} {
			if got, err := laptop.ask(c.md); got != c.want || err != nil {
				t.Errorf("%s: %q answered, %v", c.name, got, err)
			}
		}
		body, _ := wire.AppendRouting(nil, "camera.snapshot", "device=garden")
		if got, err := bare.ask(body); got != "garden" || err != nil {
			t.Errorf("routing without composite: %q answered, %v", got, err)
		}
		_, err := laptop.ask(meta(wire.RSocketBroker, wire.Request{Route: "x", Device: "hall-1", Tags: []wire.Tag{room("garden")}}))
		wantError(t, err, core.ErrorCodeRejected, "there is no device")
		_, err = laptop.ask(meta(wire.RSocketBroker, tag(wire.KeyServiceName, "laptop")))
		wantError(t, err, core.ErrorCodeRejected, "there is no device")
	})
}

func TestBalancing(t *testing.T) {
	open(t, Config{}, func(h *house) {
		slow := func(name string) peer.Handler {
			return peer.Funcs{Response: func(ctx context.Context, req peer.Payload) (peer.Payload, error) {
				if string(req.Data) == "slow" {
					time.Sleep(time.Second)
				}
				return peer.Payload{Data: []byte(name)}, nil
			}}
		}
		a := h.camera("a", slow("a"))
		h.camera("b", slow("b"))
		h.camera("c", slow("c"))
		l := h.laptop()
		any := meta(wire.RSocketBroker, wire.Request{Route: "x", Service: api.Service})
		round := func(n int) (got []string) {
			for range n {
				name, err := l.ask(any)
				if err != nil {
					t.Fatal(err)
				}
				got = append(got, name)
			}
			slices.Sort(got)
			return got
		}
		if got := round(6); !slices.Equal(got, []string{"a", "a", "b", "b", "c", "c"}) {
			t.Errorf("idle devices answered %v", got)
		}
		go l.RequestResponse(h.ctx, peer.Payload{Metadata: to("b", "x"), Data: []byte("slow")})
		synctest.Wait()
		if got := round(6); !slices.Equal(got, []string{"a", "a", "a", "c", "c", "c"}) {
			t.Errorf("beside a busy device %v answered", got)
		}
		a.cut(true)
		synctest.Wait()
		if got := round(2); !slices.Equal(got, []string{"c", "c"}) {
			t.Errorf("with one busy and one away %v answered", got)
		}
		time.Sleep(2 * time.Second)
	})
}
