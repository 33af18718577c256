package broker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rsocket/rsocket-go/core"

	"github.com/perchcam/perch/pkg/api"
	"github.com/perchcam/perch/pkg/peer"
	"github.com/perchcam/perch/pkg/session"
	"github.com/perchcam/perch/pkg/wire"
)

func TestOnlineAwayLeft(t *testing.T) {
	open(t, Config{}, func(h *house) {
		l := h.laptop()
		if got := h.devices(l); len(got) != 0 {
			t.Fatalf("devices before the first: %v", got)
		}
		cam := h.camera("cam", named("first"), wire.Tag{Key: "room", Value: "hall"})
		list := h.devices(l)
		want := []api.Device{{
			Name: "cam", ID: "id-cam", State: api.StateOnline, Since: time.Now(), Version: "1.0", Addr: "pipe",
			Cameras: []api.CameraRef{{Name: "front", Kind: "pattern"}},
			Tags:    map[string]string{"room": "hall"},
		}}
		if d := cmp.Diff(want, list); d != "" {
			t.Fatalf("-want +got:\n%s", d)
		}

		cam.cut(true)
		synctest.Wait()
		if got := names(h.devices(l)); !slices.Equal(got, []string{"cam away"}) {
			t.Errorf("after the link was lost: %v", got)
		}
		cam.back()
		time.Sleep(10 * time.Second)
		if got := names(h.devices(l)); !slices.Equal(got, []string{"cam online"}) {
			t.Errorf("after it is back: %v", got)
		}
		cam.leave()
		synctest.Wait()
		if got := h.devices(l); len(got) != 0 {
			t.Errorf("after goodbye: %v", got)
		}

		cam = h.camera("cam", named("second"))
		cam.cut(true)
		time.Sleep(119 * time.Second)
		if got := names(h.devices(l)); !slices.Equal(got, []string{"cam away"}) {
			t.Errorf("within the session time: %v", got)
		}
		time.Sleep(2 * time.Second)
		if got := h.devices(l); len(got) != 0 {
			t.Errorf("after the session time: %v", got)
		}
	})
}

// Since when the agent runs, and when the newest picture came, are told by the broker's clock: the device's may be wrong.
func TestUptimeAndLastPicture(t *testing.T) {
	open(t, Config{}, func(h *house) {
		setup := deviceSetup("cam", "id-cam", 1)
		setup.Advert = []byte(`{"device":"cam","id":"id-cam","uptime_s":3600}`)
		began := time.Now().Add(-time.Hour)
		picture := peer.Payload{Data: []byte("picture")}
		handler := peer.Funcs{
			Response: func(context.Context, peer.Payload) (peer.Payload, error) { return picture, nil },
			Stream: func(context.Context, peer.Payload) iter.Seq2[peer.Payload, error] {
				return func(yield func(peer.Payload, error) bool) { yield(picture, nil) }
			},
		}
		h.connect(setup, true, handler)
		l := h.laptop()
		time.Sleep(time.Minute)
		if _, err := l.ask(to("cam", api.RouteInfo)); err != nil {
			t.Fatal(err)
		}
		if d := h.devices(l)[0]; !d.Started.Equal(began) || !d.Picture.IsZero() {
			t.Errorf("started %v, not %v; a picture at %v", d.Started, began, d.Picture)
		}
		for what, ask := range map[string]func() error{
			"snapshot": func() error { _, err := l.ask(to("cam", api.RouteSnapshot)); return err },
			"stream":   func() error { return drain(l.RequestStream(h.ctx, peer.Payload{Metadata: to("cam", api.RouteStream)})) },
			"shared stream": func() error {
				return drain(l.RequestStream(h.ctx, peer.Payload{Metadata: to("cam", api.RouteStream, wire.Tag{Key: wire.ParamShare, Value: "1"})}))
			},
		} {
			time.Sleep(time.Minute)
			if err := ask(); err != nil {
				t.Fatal(err)
			}
			if d := h.devices(l)[0]; !d.Picture.Equal(time.Now()) {
				t.Errorf("%s: the last picture is said to be of %v, now is %v", what, d.Picture, time.Now())
			}
		}
		// Its next session knows of it, and an older agent says nothing of its uptime.
		last := h.devices(l)[0].Picture
		h.camera("cam", handler)
		if d := h.devices(l)[0]; !d.Started.IsZero() || !d.Picture.Equal(last) {
			t.Errorf("started %v, last picture %v, not %v", d.Started, d.Picture, last)
		}
	})
}

func drain(stream iter.Seq2[peer.Payload, error]) error {
	for _, err := range stream {
		if err != nil {
			return err
		}
	}
	return nil
}

// A Pi that lost its power comes back while the broker still believes in its old link.
func TestReturnAfterPowerCut(t *testing.T) {
	open(t, Config{}, func(h *house) {
		answered := make(chan struct{})
		old := h.camera("cam", peer.Funcs{Response: func(ctx context.Context, _ peer.Payload) (peer.Payload, error) {
			close(answered)
			<-ctx.Done()
			return peer.Payload{}, ctx.Err()
		}})
		l := h.laptop()
		asked := make(chan error, 1)
		go func() {
			_, err := l.ask(to("cam", "x"))
			asked <- err
		}()
		<-answered
		before := time.Now()
		h.camera("cam", named("new"))
		wantError(t, <-asked, core.ErrorCodeCanceled, `device "cam" is gone`)
		if got, err := l.ask(to("cam", "x")); got != "new" || err != nil {
			t.Errorf("%q answers, %v", got, err)
		}
		if d := time.Since(before); d > 0 {
			t.Errorf("it took %v", d)
		}
		synctest.Wait()
		if got := names(h.devices(l)); !slices.Equal(got, []string{"cam online"}) {
			t.Errorf("devices: %v", got)
		}
		if err := <-old.ran; err == nil {
			t.Error("the old session did not hear of it")
		} else {
			wantError(t, err, core.ErrorCodeConnectionError, "the same device has connected anew")
			old.ran <- err
		}
		if h.counters[sessionsReplaced].Load() != 1 {
			t.Error("it was not counted")
		}
	})
}

// Another device cannot take a name, whether the first is online or away.
func TestImpostor(t *testing.T) {
	open(t, Config{}, func(h *house) {
		cam := h.camera("cam", named("real"))
		l := h.laptop()
		for _, state := range []string{"online", "away"} {
			other := h.connect(deviceSetup("cam", "other", 1), true, named("impostor"))
			err := <-other.ran
			other.ran <- err
			wantError(t, err, core.ErrorCodeRejectedSetup, `another device is connected as "cam"`)
			if got := names(h.devices(l)); !slices.Equal(got, []string{"cam " + state}) {
				t.Errorf("devices: %v", got)
			}
			if state == "online" {
				if got, err := l.ask(to("cam", "x")); got != "real" || err != nil {
					t.Errorf("%q answers, %v", got, err)
				}
			}
			cam.cut(true)
			synctest.Wait()
		}
		time.Sleep(3 * time.Minute)
		h.connect(deviceSetup("cam", "other", 1), true, named("heir"))
		if got, err := l.ask(to("cam", "x")); got != "heir" || err != nil {
			t.Errorf("after the first has left %q answers, %v", got, err)
		}
	})
}

// Nobody but a device is ever routable, whatever it registers.
func TestOnlyDevicesAreRoutable(t *testing.T) {
	open(t, Config{}, func(h *house) {
		tags := []wire.Tag{{Key: wire.KeyDevice, Value: "fake"}, {Key: wire.KeyInstanceName, Value: "fake"}}
		for _, s := range []wire.Setup{
			{Dialect: wire.RSocketBroker, ID: wire.NewUUID().String(), Service: "laptop", Tags: tags},
			{Dialect: wire.RSocketBroker, ID: wire.NewUUID().String(), Service: "camera", Tags: tags},
			{Dialect: wire.Alibaba, ID: "0123456789abcdef0123456789abcdef", Service: "laptop", Tags: tags},
		} {
			h.connect(s, false, named("fake"))
		}
		_, err := h.laptop().ask(to("fake", "x"))
		wantError(t, err, core.ErrorCodeRejected, "there is no device")
	})
}

func TestBadSetups(t *testing.T) {
	open(t, Config{}, func(h *house) {
		bad := deviceSetup("cam", "id", 1)
		bad.Advert = []byte(`{"device":"other","id":"id"}`)
		upper := wire.Setup{Dialect: wire.Plain, Tags: []wire.Tag{{Key: wire.KeyDevice, Value: "Front Door"}}}
		for _, c := range []struct {
			s    wire.Setup
			code core.ErrorCode
			text string
		}{
			{bad, core.ErrorCodeInvalidSetup, `the advert is of device "other", the connection of "cam"`},
			{upper, core.ErrorCodeRejectedSetup, `device "Front Door" is no valid name`},
		} {
			e := h.connect(c.s, false, nil)
			err := <-e.ran
			e.ran <- err
			wantError(t, err, c.code, c.text)
		}
		e := h.dialAs(session.Setup{MetadataMIME: wire.MIMEComposite, Metadata: []byte{0x7f}}, nil)
		err := <-e.ran
		e.ran <- err
		wantError(t, err, core.ErrorCodeInvalidSetup, "malformed metadata")
		if n := len(h.legs); n != 0 {
			t.Errorf("%d legs are left", n)
		}
	})
}

func TestWaitingForADevice(t *testing.T) {
	open(t, Config{}, func(h *house) {
		cam := h.camera("cam", named("old"))
		l := h.laptop()
		wait := func(d string) []byte { return to("cam", "x", waitTag(d)) }
		timed := func(md []byte) (got string, took time.Duration, err error) {
			before := time.Now()
			got, err = l.ask(md)
			return got, time.Since(before), err
		}
		cam.cut(true)
		synctest.Wait()

		_, took, err := timed(to("cam", "x"))
		wantError(t, err, core.ErrorCodeRejected, `device "cam" is away`)
		if took != 2*time.Second {
			t.Errorf("an away device is given up after %v", took)
		}
		_, took, err = timed(wait("0s"))
		wantError(t, err, core.ErrorCodeRejected, `device "cam" is away`)
		if took != 0 {
			t.Errorf("wait=0s takes %v", took)
		}
		if _, took, _ = timed(wait("2h")); took != time.Minute {
			t.Errorf("wait=2h takes %v", took)
		}

		// It comes back with the same session.
		time.AfterFunc(time.Second, cam.back)
		if got, _, err := timed(wait("20s")); got != "old" || err != nil {
			t.Errorf("after its return %q answers, %v", got, err)
		}

		// It comes back with another one.
		cam.cut(true)
		synctest.Wait()
		time.AfterFunc(time.Second, func() { h.start(composed(deviceSetup("cam", "id-cam", 1), true), named("new")) })
		if got, took, err := timed(to("cam", "x")); got != "new" || err != nil || took != time.Second {
			t.Errorf("after a restart %q answers, %v, after %v", got, err, took)
		}

		// It was never there.
		time.AfterFunc(3*time.Second, func() { h.start(composed(deviceSetup("late", "id-late", 1), true), named("late")) })
		md := to("late", "x", waitTag("5s"))
		if got, took, err := timed(md); got != "late" || err != nil || took != 3*time.Second {
			t.Errorf("one that was waited for: %q answers, %v, after %v", got, err, took)
		}
		h.stopWaiting(l)
	})
}

// While they wait, requests may be in fragments, grow credit, complete or be canceled.
func TestWaitingRequestsGoOn(t *testing.T) {
	open(t, Config{Wait: time.Minute}, func(h *house) {
		device, cam := h.rawCamera("cam")
		l := h.rawLaptop()
		device.cut(true)
		synctest.Wait()

		data := make([]byte, 40_000)
		for i := range data {
			data[i] = byte(i)
		}
		whole := l.request(session.Message{Type: core.FrameTypeRequestStream, N: 1, Metadata: to("cam", "x"), Data: data})
		l.request(session.Message{Type: core.FrameTypeRequestFNF, Metadata: to("cam", "x"), Data: data[:100]})
		canceled := l.request(session.Message{Type: core.FrameTypeRequestResponse, Metadata: to("cam", "x")})
		channel := l.request(session.Message{Type: core.FrameTypeRequestChannel, N: 1, Metadata: to("cam", "x")})
		long := l.request(session.Message{Type: core.FrameTypeRequestResponse, Metadata: to("cam", "x"), Data: make([]byte, 100_000)})
		synctest.Wait()
		whole.s.Request(4)
		canceled.s.Cancel()
		channel.say(flagC, nil)
		l.Flush()
		synctest.Wait()
		if log := long.log(); len(log) != 1 || log[0] != "ERROR REJECTED the request is too long to wait for a device that is away" {
			t.Errorf("a long request got %q", log)
		}
		if n := h.counters[requestsParked].Load(); n != 5 {
			t.Errorf("%d were parked", n)
		}
		device.back()
		time.Sleep(10 * time.Second)
		synctest.Wait()
		got := map[string]*rawStream{}
		for _, st := range cam.streams {
			got[st.frames[0]] = st
		}
		if len(cam.streams) != 3 {
			t.Fatalf("%d requests came: %v", len(cam.streams), got)
		}
		st := got["REQUEST_STREAM"]
		if st.n != 2 {
			t.Errorf("the stream was asked for %d", st.n)
		}
		for range 5 {
			st.say(flagN, []byte("element"))
			synctest.Wait()
		}
		if st.granted() != 5 {
			t.Errorf("the stream was asked for %d in all", st.granted())
		}
		got["REQUEST_CHANNEL"].say(flagC, nil)
		st.say(flagC, nil)
		synctest.Wait()
		h.wantCalm()
	})
}

func TestAdverts(t *testing.T) {
	open(t, Config{}, func(h *house) {
		cam := h.camera("cam", echo)
		l := h.laptop()
		push := func(setup wire.Setup) {
			md, err := wire.AppendEntry(nil, wire.MIMEAdvert, setup.Advert)
			if err != nil {
				t.Fatal(err)
			}
			cam.Push(md)
			synctest.Wait()
		}
		version := func() string { return h.devices(l)[0].Version }
		newer := deviceSetup("cam", "id-cam", 3)
		newer.Advert = []byte(`{"device":"cam","id":"id-cam","boot":"boot","rev":3,"version":"1.3","cameras":[],"routes":[]}`)
		push(newer)
		if v := version(); v != "1.3" {
			t.Errorf("after rev 3 the version is %q", v)
		}
		older := deviceSetup("cam", "id-cam", 2)
		push(older)
		if v := version(); v != "1.3" {
			t.Errorf("rev 2 after rev 3 made it %q", v)
		}
		push(deviceSetup("cam", "another", 9))
		push(deviceSetup("other", "id-cam", 9))
		push(wire.Setup{Advert: []byte("{")})
		if v := version(); v != "1.3" || h.counters[advertsRefused].Load() != 3 {
			t.Errorf("version %q, %d refused", v, h.counters[advertsRefused].Load())
		}
		reborn := newer
		reborn.Advert = []byte(`{"device":"cam","id":"id-cam","boot":"another","rev":1,"version":"2.0","cameras":[],"routes":[]}`)
		push(reborn)
		if v := version(); v != "2.0" {
			t.Errorf("after a new boot the version is %q", v)
		}
	})
}

func TestWatch(t *testing.T) {
	open(t, Config{}, func(h *house) {
		h.camera("a", echo)
		b := h.camera("b", echo)
		l := h.laptop()
		next, stop := iter.Pull2(l.RequestStream(h.ctx, peer.Payload{Metadata: meta(wire.Plain, wire.Request{Route: api.RouteDevicesWatch})}))
		defer stop()
		event := func() string {
			v, err, _ := next()
			if err != nil {
				t.Fatal(err)
			}
			var e api.DeviceEvent
			if err := json.Unmarshal(v.Data, &e); err != nil {
				t.Fatal(err)
			}
			if e.Type == api.EventGap {
				return fmt.Sprintf("gap of %d", e.Missed)
			}
			return e.Type + " " + e.Device.Name + " " + e.Device.State
		}
		want := func(list ...string) {
			t.Helper()
			for _, w := range list {
				if got := event(); got != w {
					t.Fatalf("event %q, want %q", got, w)
				}
			}
		}
		want("state a online", "state b online")
		before := time.Now()
		b.cut(true)
		want("change b away")
		b.back()
		want("change b online")
		if d := time.Since(before); d > time.Second {
			t.Errorf("events took %v", d)
		}
		h.camera("c", echo)
		want("change c online")
		b.leave()
		want("change b left")

		// The watcher falls behind: what is in the ring is gone, and it is told.
		synctest.Wait()
		for range eventsKept + 100 {
			h.registry.mu.Lock()
			h.registry.events.add(h.registry.devices["c"].view(api.StateOnline))
			h.registry.mu.Unlock()
		}
		var got []string
		for len(got) == 0 || got[len(got)-1] != "state c online" {
			got = append(got, event())
		}
		if i := slices.Index(got, "state a online"); i < 1 || got[i-1][:7] != "gap of " {
			t.Errorf("after a gap: %q", got)
		}
	})
}

func TestBrokerInfo(t *testing.T) {
	open(t, Config{Version: "1.2.3"}, func(h *house) {
		h.camera("a", echo)
		h.camera("b", echo).cut(true)
		l := h.laptop()
		text, err := l.ask(meta(wire.Plain, wire.Request{Route: api.RouteBrokerInfo}))
		var got api.BrokerInfo
		if err == nil {
			err = json.Unmarshal([]byte(text), &got)
		}
		if err != nil || got.Version != "1.2.3" || got.Online != 1 || got.Away != 1 || got.Viewers != 1 {
			t.Errorf("%+v, %v", got, err)
		}
	})
}

// No order of old close and new SETUP leaves a ghost, or takes a live device out.
func TestChurn(t *testing.T) {
	const churns, devices = 100_000, 50
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	g := newRegistry()
	b := &Broker{registry: g}
	current := map[string]*leg{} // who should be found
	var old []*leg               // whose end has not been told yet
	tellOne := func() {
		i := random.IntN(len(old))
		l := old[i]
		old = slices.Delete(old, i, i+1)
		switch random.IntN(3) { // also late changes of the link, before or after the end
		case 0:
			g.linked(l, random.IntN(2) == 0)
		case 1:
			defer g.linked(l, random.IntN(2) == 0)
		}
		g.leave(l, errors.New("over"))
	}
	for range churns {
		name := fmt.Sprintf("cam-%d", random.IntN(devices))
		l := &leg{b: b, card: card{device: name, id: name}}
		replaced, err := g.join(l, nil)
		if err != nil || replaced != current[name] {
			t.Fatalf("join replaced %p, not %p, %v", replaced, current[name], err)
		}
		if replaced != nil {
			old = append(old, replaced)
		}
		current[name] = l
		if random.IntN(4) == 0 { // it goes by itself
			old = append(old, l)
			delete(current, name)
			g.leave(l, errors.New("over"))
		}
		for len(old) > 0 && random.IntN(2) == 0 {
			tellOne()
		}
	}
	for len(old) > 0 {
		tellOne()
	}
	list, _ := g.list(false)
	if len(list) != len(current) {
		t.Fatalf("%d devices are listed, %d are there", len(list), len(current))
	}
	for name, l := range current {
		if d := g.devices[name]; d.leg != l || !d.up {
			t.Errorf("%s: the entry is of another session, or away", name)
		}
	}
}

// The same with sessions, in every order that close, loss and SETUP can come in.
func TestSessionChurn(t *testing.T) {
	open(t, Config{}, func(h *house) {
		l := h.laptop()
		var last *end
		for i := range 300 {
			cam := h.camera("cam", named(fmt.Sprint(i)))
			if last != nil {
				switch i % 4 {
				case 0:
					go last.leave()
				case 1:
					last.cut(false)
				case 2:
					last.cut(true)
				}
			}
			synctest.Wait()
			if got, err := l.ask(to("cam", "x")); got != fmt.Sprint(i) || err != nil {
				t.Fatalf("churn %d: %q answers, %v", i, got, err)
			}
			if i%5 == 0 {
				cam.leave()
				synctest.Wait()
			}
			last = cam
		}
		time.Sleep(3 * time.Minute)
		if got := names(h.devices(l)); !slices.Equal(got, []string{"cam online"}) {
			t.Errorf("devices: %v", got)
		}
		if n := len(h.legs); n != 2 {
			t.Errorf("%d legs are left", n)
		}
	})
}

// A list of many devices comes in pages, each of which fits into an answer; filters count for all of them.
func TestManyDevices(t *testing.T) {
	open(t, Config{}, func(h *house) {
		const many = 10_000
		l := h.laptop()
		var any *session.Conn
		for any = range h.legs {
		}
		for i := range many {
			name := fmt.Sprintf("cam-%05d", i)
			d := &leg{b: h.Broker, conn: any, card: card{device: name, id: name, tags: []wire.Tag{{Key: "room", Value: fmt.Sprint(i % 100)}}}}
			d.card.setTerms("perch")
			advert := &api.Advert{Device: name, ID: name, Version: "1.0.0", Cameras: []api.CameraRef{{Name: strings.Repeat("x", 60), Kind: "v4l2"}}}
			if _, err := h.registry.join(d, advert); err != nil {
				t.Fatal(err)
			}
		}
		list := func(q api.DevicesRequest) (names []string, pages int) {
			for {
				data, err := json.Marshal(q)
				if err != nil {
					t.Fatal(err)
				}
				v, err := l.RequestResponse(h.ctx, peer.Payload{Metadata: meta(wire.RSocketBroker, wire.Request{Route: api.RouteDevices}), Data: data})
				if err != nil {
					t.Fatal(err)
				}
				p, err := api.Decode[api.Devices](v.Data)
				if err != nil {
					t.Fatal(err)
				}
				for _, d := range p.Devices {
					names = append(names, d.Name)
				}
				pages++
				if q.After = p.Next; p.Next == "" {
					return names, pages
				}
			}
		}
		if names, pages := list(api.DevicesRequest{}); len(names) != many || !slices.IsSorted(names) || len(slices.Compact(names)) != many || pages < 3 {
			t.Errorf("%d devices in %d pages", len(names), pages)
		}
		if names, pages := list(api.DevicesRequest{Tags: map[string]string{"room": "7"}}); len(names) != many/100 || pages != 1 || names[1] != "cam-00107" {
			t.Errorf("%d devices with the tag in %d pages: %v", len(names), pages, names[:2])
		}
		if names, _ := list(api.DevicesRequest{Device: "cam-00042"}); !slices.Equal(names, []string{"cam-00042"}) {
			t.Errorf("one device: %v", names)
		}
		if names, _ := list(api.DevicesRequest{Device: "cam-00042", Tags: map[string]string{"room": "7"}}); len(names) != 0 {
			t.Errorf("one device without the tag: %v", names)
		}
	})
}
