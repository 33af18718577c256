package broker

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rsocket/rsocket-go/core"

	"github.com/perchcam/perch/pkg/api"
	"github.com/perchcam/perch/pkg/broker/access"
	"github.com/perchcam/perch/pkg/peer"
	"github.com/perchcam/perch/pkg/session"
	"github.com/perchcam/perch/pkg/wire"
)

// lock is a store with one credential of each kind, and their tokens by name.
func lock(t *testing.T) (*access.Store, map[string]string) {
	t.Helper()
	s, err := access.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	tokens := map[string]string{}
	for _, c := range []access.Credential{
		{Name: "front-door", Role: access.Device},
		{Name: "garden", Role: access.Device, Devices: []string{"garden-*"}},
		{Name: "guest", Role: access.Viewer, Devices: []string{"garden-*"}},
		{Name: "owner", Role: access.Operator},
		{Name: "root", Role: access.Admin},
		{Name: "flash", Role: access.Enrol, Uses: 1},
		{Name: "certified", Role: access.Device, Cert: true},
	} {
		if tokens[c.Name], err = s.Add(c); err != nil {
			t.Fatal(err)
		}
	}
	return s, tokens
}

func (h *house) holder(token string) *end {
	s := laptopSetup()
	s.Auth = wire.Auth{Scheme: wire.AuthBearer, Secret: token}
	return h.connect(s, true, nil)
}

func (h *house) deviceOf(name, token string, handler peer.Handler) *end {
	s := deviceSetup(name, "id-"+name, 1)
	s.Auth = wire.Auth{Scheme: wire.AuthBearer, Secret: token}
	return h.connect(s, true, handler)
}

// ended returns how a session ended that was not asked to.
func (e *end) ended() error {
	err := <-e.ran
	e.ran <- err
	return err
}

func TestAdmission(t *testing.T) {
	store, tokens := lock(t)
	open(t, Config{Access: store}, func(h *house) {
		with := func(s wire.Setup, scheme, user, secret string) wire.Setup {
			s.Auth = wire.Auth{Scheme: scheme, User: user, Secret: secret}
			return s
		}
		door, laptop := deviceSetup("front-door", "id", 1), laptopSetup()
		for name, c := range map[string]struct {
			s    wire.Setup
			text string // "": it is admitted
		}{
			"nothing":                      {laptop, "credentials are needed"},
			"a device with nothing":        {door, "credentials are needed"},
			"a wrong token":                {with(laptop, wire.AuthBearer, "", "perch_WRONG"), "not known here"},
			"another scheme":               {with(laptop, "x-own", "", tokens["owner"]), "not understood"},
			"simple":                       {with(laptop, wire.AuthSimple, "owner", tokens["owner"]), ""},
			"simple with another's name":   {with(laptop, wire.AuthSimple, "root", tokens["owner"]), "not known here"},
			"bearer":                       {with(laptop, wire.AuthBearer, "", tokens["guest"]), ""},
			"the device":                   {with(door, wire.AuthBearer, "", tokens["front-door"]), ""},
			"an impostor":                  {with(door, wire.AuthBearer, "", tokens["garden"]), `not for device "front-door"`},
			"a laptop as device":           {with(door, wire.AuthBearer, "", tokens["root"]), "not a device's"},
			"a device as laptop":           {with(laptop, wire.AuthBearer, "", tokens["garden"]), "no device has registered"},
			"a certificate's without one":  {with(deviceSetup("certified", "id", 1), wire.AuthBearer, "", ""), "credentials are needed"},
			"one of several devices":       {with(deviceSetup("garden-7", "id", 1), wire.AuthBearer, "", tokens["garden"]), ""},
			"an enrolment token as device": {with(door, wire.AuthBearer, "", tokens["flash"]), ""}, // and it is none
		} {
			e := h.connect(c.s, false, named(name))
			if c.text == "" {
				time.Sleep(10 * time.Second)
				if err := e.Err(); err != nil {
					t.Errorf("%s: %v", name, err)
				}
				continue
			}
			wantError(t, e.ended(), core.ErrorCodeRejectedSetup, c.text)
		}
		root := h.holder(tokens["root"])
		if got := names(h.devices(root)); !slices.Equal(got, []string{"front-door online", "garden-7 online"}) {
			t.Errorf("devices: %v", got)
		}
		if got, err := root.ask(to("front-door", "x")); got != "the device" || err != nil {
			t.Errorf("%q answers for the front door, %v", got, err)
		}
	})
}

func TestRolesAndScopes(t *testing.T) {
	store, tokens := lock(t)
	open(t, Config{Access: store}, func(h *house) {
		h.deviceOf("front-door", tokens["front-door"], named("front-door"))
		h.deviceOf("garden-1", tokens["garden"], named("garden-1"))
		guest, owner, root := h.holder(tokens["guest"]), h.holder(tokens["owner"]), h.holder(tokens["root"])

		for _, c := range []struct {
			who             *end
			role            string
			online, viewers int
		}{{guest, "viewer", 1, 0}, {owner, "operator", 2, 0}, {root, "admin", 2, 3}} {
			text, err := c.who.ask(meta(wire.Plain, wire.Request{Route: api.RouteBrokerInfo}))
			var got api.BrokerInfo
			if err == nil {
				err = json.Unmarshal([]byte(text), &got)
			}
			if err != nil || got.Role != c.role || got.Online != c.online || got.Viewers != c.viewers {
				t.Errorf("a %s is told %+v, %v", c.role, got, err)
			}
		}
		for _, c := range []struct {
			who    *end
			device string
			route  string
			text   string
		}{
			{guest, "garden-1", api.RouteSnapshot, ""},
			{guest, "front-door", api.RouteSnapshot, `there is no device "front-door"`},
			{guest, "nowhere", api.RouteSnapshot, `there is no device "nowhere"`},
			{guest, "garden-1", api.RouteSet, `not permitted: the role viewer may not ask for "gpio.set", which is for operator and admin`},
			{guest, "garden-1", api.RouteLogs, "which is for admin"},
			{owner, "front-door", api.RouteSet, ""},
			{owner, "front-door", api.RouteLogs, "may not"},
			{owner, "", api.RouteBrokerInfo, ""},
			{guest, "garden-1", api.RouteOutputs, "which is for operator and admin"},
			{root, "front-door", api.RouteLogs, ""},
			{root, "", api.RouteBrokerInfo, ""},
			{root, "", api.RouteEnrol, "only an enrolment token"},
		} {
			md := meta(wire.Plain, wire.Request{Route: c.route, Device: c.device})
			if _, err := c.who.ask(md); c.text != "" {
				wantError(t, err, core.ErrorCodeRejected, c.text)
			} else if err != nil {
				t.Errorf("%s of %s: %v", c.route, c.device, err)
			}
		}

		// By tag, only what one may see is chosen.
		any := meta(wire.RSocketBroker, wire.Request{Route: api.RouteSnapshot, Service: api.Service})
		for range 4 {
			if got, err := guest.ask(any); got != "garden-1" || err != nil {
				t.Errorf("%q answered, %v", got, err)
			}
		}
		list := h.devices(guest)
		if got := names(list); !slices.Equal(got, []string{"garden-1 online"}) || list[0].Addr != "" {
			t.Errorf("a guest sees %v, %q", got, list[0].Addr)
		}
		for v, err := range guest.RequestStream(h.ctx, peer.Payload{Metadata: meta(wire.Plain, wire.Request{Route: api.RouteDevicesWatch})}) {
			if err != nil || strings.Contains(string(v.Data), "front-door") {
				t.Fatalf("%s, %v", v.Data, err)
			}
			break
		}

		// One that waits for a device it may not see waits as for one that is not there.
		before := time.Now()
		_, err := guest.ask(to("front-door", api.RouteSnapshot, waitTag("3s")))
		wantError(t, err, core.ErrorCodeRejected, `there is no device "front-door"`)
		if d := time.Since(before); d != 3*time.Second {
			t.Errorf("it took %v", d)
		}
	})
}

func TestRevocation(t *testing.T) {
	store, tokens := lock(t)
	open(t, Config{Access: store}, func(h *house) {
		guarding, relax := context.WithCancel(h.ctx)
		defer relax()
		h.work.Go(func() { h.guard(guarding) })
		door := h.deviceOf("front-door", tokens["front-door"], named("door"))
		guest := h.holder(tokens["guest"])
		root := h.holder(tokens["root"])
		cli, err := access.Open(store.Dir())
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"front-door", "guest"} {
			if _, err := cli.Revoke(name, false); err != nil {
				t.Fatal(err)
			}
		}
		before := time.Now()
		wantError(t, door.ended(), core.ErrorCodeConnectionError, "the credentials were revoked")
		wantError(t, guest.ended(), core.ErrorCodeConnectionError, "the credentials were revoked")
		if d := time.Since(before); d > time.Second {
			t.Errorf("it took %v", d)
		}
		if root.Err() != nil || len(h.devices(root)) != 0 {
			t.Errorf("the others: %v, %v", root.Err(), h.devices(root))
		}
		wantError(t, h.holder(tokens["guest"]).ended(), core.ErrorCodeRejectedSetup, "not known here")
		if n := h.counters[sessionsExpelled].Load(); n != 2 {
			t.Errorf("%d were counted", n)
		}
	})
}

// Credentials count as soon as they are in the file, and those that are not in it any more do not.
func TestAddedJustNow(t *testing.T) {
	store, tokens := lock(t)
	open(t, Config{Access: store}, func(h *house) {
		guest := h.holder(tokens["guest"])
		cli, err := access.Open(store.Dir())
		if err != nil {
			t.Fatal(err)
		}
		token, err := cli.Add(access.Credential{Name: "shed", Role: access.Device})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := cli.Revoke("guest", false); err != nil {
			t.Fatal(err)
		}
		before := time.Now()
		h.deviceOf("shed", token, named("shed"))
		if got, err := h.holder(tokens["root"]).ask(to("shed", "x")); got != "shed" || err != nil || time.Since(before) > 0 {
			t.Errorf("%q, %v after %v", got, err, time.Since(before))
		}
		wantError(t, guest.ended(), core.ErrorCodeConnectionError, "the credentials were revoked")
	})
}

// A freshly flashed card gets its own credentials, once.
func TestEnrolling(t *testing.T) {
	store, tokens := lock(t)
	open(t, Config{Access: store}, func(h *house) {
		card := h.deviceOf("shed", tokens["flash"], nil)
		md := meta(wire.Plain, wire.Request{Route: api.RouteEnrol})
		v, err := card.RequestResponse(h.ctx, peer.Payload{Metadata: md, Data: []byte(`{"device":"shed"}`)})
		var got struct{ Device, Token string }
		if err == nil {
			err = json.Unmarshal(v.Data, &got)
		}
		if err != nil || got.Device != "shed" {
			t.Fatalf("%s, %v", v.Data, err)
		}
		_, err = card.RequestResponse(h.ctx, peer.Payload{Metadata: md, Data: []byte(`{"device":"shed"}`)})
		wantError(t, err, core.ErrorCodeRejected, "has been used")
		_, err = card.ask(to("garden-1", api.RouteSnapshot))
		wantError(t, err, core.ErrorCodeRejected, `the role enrol may not`)
		card.leave()
		h.deviceOf("shed", got.Token, named("shed"))
		if got, err := h.holder(tokens["root"]).ask(to("shed", "x")); got != "shed" || err != nil {
			t.Errorf("%q, %v", got, err)
		}
		wantError(t, h.deviceOf("other", tokens["flash"], nil).ended(), core.ErrorCodeRejectedSetup, "has been used")
	})
}

// Who guesses waits longer and longer; who knows does not.
func TestGuessing(t *testing.T) {
	store, tokens := lock(t)
	open(t, Config{Access: store}, func(h *house) {
		before := time.Now()
		for i := range 6 {
			wantError(t, h.holder(fmt.Sprintf("perch_%d", i)).ended(), core.ErrorCodeRejectedSetup, "not known here")
		}
		if d := time.Since(before); d < 10*time.Second {
			t.Errorf("six guesses took %v", d)
		}
		before = time.Now()
		if e := h.holder(tokens["root"]); len(h.devices(e)) != 0 || time.Since(before) > 0 {
			t.Errorf("who knows took %v", time.Since(before))
		}
		f := failures{most: time.Second}
		stop := make(chan struct{})
		close(stop)
		for i := range 3 * failuresKept {
			f.wait(stop, fmt.Sprint(i))
		}
		if len(f.from) > failuresKept {
			t.Errorf("%d addresses are kept", len(f.from))
		}
	})
}

func TestSessionsPerHolder(t *testing.T) {
	store, tokens := lock(t)
	open(t, Config{Access: store, PerHolder: 2}, func(h *house) {
		a, b := h.holder(tokens["guest"]), h.holder(tokens["guest"])
		wantError(t, h.holder(tokens["guest"]).ended(), core.ErrorCodeRejectedSetup, "2 sessions with these credentials")
		h.holder(tokens["root"])
		a.leave()
		synctest.Wait()
		if c := h.holder(tokens["guest"]); c.Err() != nil || b.Err() != nil {
			t.Error(c.Err(), b.Err())
		}
	})
}

// A stolen resume token is worth nothing without the certificate, or over a link that is less secure.
func TestStolenResumeToken(t *testing.T) {
	store, tokens := lock(t)
	secure := origin{Addr: &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 1}, secure: true, certificate: "certified"}
	for name, c := range map[string]struct {
		begun, stolen origin
		text          string
	}{
		"the same":                {secure, origin{Addr: &net.TCPAddr{IP: net.IPv4(192, 0, 2, 9), Port: 2}, secure: true, certificate: "certified"}, ""},
		"without the certificate": {secure, origin{Addr: secure.Addr, secure: true}, "began with another certificate"},
		"with another":            {secure, origin{Addr: secure.Addr, secure: true, certificate: "guest"}, "began with another certificate"},
		"in plain text":           {origin{Addr: secure.Addr, secure: true}, origin{Addr: secure.Addr}, "began over TLS"},
	} {
		t.Run(name, func(t *testing.T) {
			open(t, Config{Access: store}, func(h *house) {
				device, auth := "certified", wire.Auth{}
				if c.begun.certificate == "" {
					device, auth = "garden-1", wire.Auth{Scheme: wire.AuthBearer, Secret: tokens["garden"]}
				}
				s := deviceSetup(device, "id", 1)
				s.Auth = auth
				e := &end{h: h, ran: make(chan error, 1), from: c.begun}
				p, err := peer.New(peer.Config{Handler: named(device)})
				if err != nil {
					t.Fatal(err)
				}
				if e.Client, err = session.NewClient(session.ClientConfig{Dial: e.dial, Setup: composed(s, true)}, p); err != nil {
					t.Fatal(err)
				}
				h.run(e)
				synctest.Wait()
				root := h.holder(tokens["root"])
				if got, err := root.ask(to(device, "x")); got != device || err != nil {
					t.Fatalf("%q, %v", got, err)
				}
				e.mu.Lock()
				e.from = c.stolen
				e.mu.Unlock()
				e.cut(false)
				if c.text != "" {
					wantError(t, e.ended(), core.ErrorCodeRejectedResume, c.text)
					return
				}
				time.Sleep(time.Second)
				if got, err := root.ask(to(device, "x")); got != device || err != nil {
					t.Errorf("%q, %v", got, err)
				}
			})
		})
	}
}

func TestPushToDevices(t *testing.T) {
	store, tokens := lock(t)
	open(t, Config{Access: store}, func(h *house) {
		got := make(chan string, 10)
		handler := peer.Funcs{Push: func(_ context.Context, md []byte) {
			t, _ := wire.ParseRequest(md)
			got <- string(t.Route)
		}}
		h.deviceOf("front-door", tokens["front-door"], handler)
		h.deviceOf("garden-1", tokens["garden"], handler)
		h.deviceOf("garden-2", tokens["garden"], handler)
		push := func(who string, q wire.Request) (n int) {
			h.holder(tokens[who]).Push(meta(wire.RSocketBroker, q))
			synctest.Wait()
			for ; len(got) > 0; n++ {
				if route := <-got; route != "config.changed" {
					t.Errorf("%q was pushed", route)
				}
			}
			return n
		}
		one := wire.Request{Route: "config.changed", Device: "garden-1"}
		all := wire.Request{Route: "config.changed", Service: api.Service, Cast: wire.Multicast}
		if n := push("root", one); n != 1 {
			t.Errorf("a push for one reached %d", n)
		}
		if n := push("root", all); n != 3 {
			t.Errorf("a push for all reached %d", n)
		}
		if n := push("guest", one) + push("owner", all) + push("root", wire.Request{Route: "config.changed"}); n != 0 {
			t.Errorf("%d pushes reached someone that should not", n)
		}
		if n := h.counters[pushesRefused].Load(); n != 3 {
			t.Errorf("%d were counted", n)
		}
	})
}
