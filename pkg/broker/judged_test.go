package broker

import (
	"bytes"
	"context"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/rsocket/rsocket-go/core"

	"github.com/perchcam/perch/pkg/api"
	"github.com/perchcam/perch/pkg/broker/access"
	"github.com/perchcam/perch/pkg/peer"
	"github.com/perchcam/perch/pkg/session"
	"github.com/perchcam/perch/pkg/wire"
)

// judged is a house with a device that notes which routes it is asked for.
type judged struct {
	*house
	tokens map[string]string

	mu    sync.Mutex
	asked []string
}

func openJudged(t *testing.T, f func(j *judged)) {
	t.Helper()
	store, tokens := lock(t)
	if _, err := store.Add(access.Credential{Name: "seer", Role: access.Viewer, Cert: true}); err != nil {
		t.Fatal(err)
	}
	open(t, Config{Access: store}, func(h *house) {
		j := &judged{house: h, tokens: tokens}
		h.deviceOf("front-door", tokens["front-door"], peer.Funcs{Response: func(_ context.Context, req peer.Payload) (peer.Payload, error) {
			target, err := wire.ParseRequest(req.Metadata)
			if err == nil {
				j.mu.Lock()
				defer j.mu.Unlock()
				j.asked = append(j.asked, string(target.Route))
			}
			return peer.Payload{}, err
		}})
		f(j)
		synctest.Wait()
		j.mu.Lock()
		defer j.mu.Unlock()
		if len(j.asked) > 0 {
			t.Errorf("the device was asked for %q", j.asked)
		}
	})
}

func (j *judged) entry(mime string, body []byte) []byte {
	md, err := wire.AppendEntry(nil, mime, body)
	if err != nil {
		j.t.Fatal(err)
	}
	return md
}

// logs is a routing entry of a route that only an administrator may ask for.
func (j *judged) logs() []byte {
	body, err := wire.AppendRouting(nil, api.RouteLogs)
	if err != nil {
		j.t.Fatal(err)
	}
	return j.entry(wire.MIMERouting, body)
}

// A later fragment of a request cannot name another route than the one that was judged: a routing entry counts more than
// Alibaba's binary one before it.
func TestRouteInALaterFragment(t *testing.T) {
	openJudged(t, func(j *judged) {
		for device, wait := range map[string]string{"front-door": "", "garden-1": "&wait=5s"} {
			p := j.tap()
			s := laptopSetup()
			s.Auth = wire.Auth{Scheme: wire.AuthBearer, Secret: j.tokens["owner"]}
			p.setup(&s)
			md := j.entry(wire.MIMEBinaryRouting, wire.BinaryRouting{Routing: []byte(api.RouteSnapshot + "?e=device:" + device + wait)}.Append(nil))
			p.send(1, core.FrameTypeRequestResponse, core.FlagMetadata|core.FlagFollow, append([]byte{0, 0, byte(len(md))}, md...)...)
			md = j.logs()
			p.send(1, core.FrameTypePayload, core.FlagMetadata|flagN, append([]byte{0, 0, byte(len(md))}, md...)...)
			if p.frames(); len(p.text) != 1 || !strings.Contains(p.text[0], "first fragment") {
				t.Errorf("%s: answered with %q", device, p.text)
			}
		}
	})
}

// Bytes that are one route as routing tags, which the broker judges, are not another as the composite metadata that devices read.
func TestRouteInAnotherForm(t *testing.T) {
	openJudged(t, func(j *judged) {
		device := append([]byte{17}, "device=front-door"...) // the last tag, which is the body of the last entry
		const unknown = 0x80 | 0x05
		other := j.logs()
		second := append([]byte{0, 0, 0}, other...) // as an entry, the length of the first one, whose type are the route and K
		pad := 'K' - len(second) - 4 - 4
		second = append(append(second, unknown, 0, 0, byte(pad)), bytes.Repeat([]byte{'x'}, pad)...)
		second = append(second, unknown, 0, 0, byte(len(device)))
		md := append([]byte{byte(len(api.RouteSnapshot))}, api.RouteSnapshot...)
		md = append(append(append(md, 'K'), second...), device...)
		if target, err := wire.ParseRouting(md); err != nil || string(target.Route) != api.RouteSnapshot || string(target.Device) != "front-door" {
			t.Fatal(target, err)
		}
		if target, err := wire.ParseRequest(md); err != nil || string(target.Route) != api.RouteLogs {
			t.Fatal(target, err)
		}
		p, err := peer.New(peer.Config{})
		if err != nil {
			t.Fatal(err)
		}
		from := origin{Addr: &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 1}, secure: true, certificate: "seer"}
		seer := &end{h: j.house, ran: make(chan error, 1), from: from}
		seer.Client, err = session.NewClient(session.ClientConfig{
			Dial: seer.dial, Setup: session.Setup{MetadataMIME: wire.MIMERouting, DataMIME: wire.MIMEJSON},
		}, p)
		if err != nil {
			t.Fatal(err)
		}
		seer.Requester = p.Requester(seer.Client.Conn)
		j.run(seer)
		_, err = seer.ask(md)
		wantError(t, err, core.ErrorCodeInvalid, "composite")
	})
}

// What an enrolment token may ask the broker for is one thing, in whatever fragment it is.
func TestConsoleRouteInALaterFragment(t *testing.T) {
	openJudged(t, func(j *judged) {
		p := j.tap()
		s := laptopSetup()
		s.Auth = wire.Auth{Scheme: wire.AuthBearer, Secret: j.tokens["flash"]}
		p.setup(&s)
		md := j.entry(wire.MIMEBinaryRouting, wire.BinaryRouting{Routing: []byte(api.RouteEnrol)}.Append(nil))
		p.send(1, core.FrameTypeRequestResponse, core.FlagMetadata|core.FlagFollow, append([]byte{0, 0, byte(len(md))}, md...)...)
		body, err := wire.AppendRouting(nil, api.RouteDevices)
		if err != nil {
			t.Fatal(err)
		}
		md = j.entry(wire.MIMERouting, body)
		p.send(1, core.FrameTypePayload, core.FlagMetadata|flagN, append([]byte{0, 0, byte(len(md))}, md...)...)
		if p.frames(); len(p.text) != 1 || !strings.Contains(p.text[0], api.NotPermitted) {
			t.Errorf("%q, answered with %q", p.got, p.text)
		}
	})
}
