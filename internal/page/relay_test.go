package page

import (
	"bytes"
	"context"
	"encoding/json"
	"iter"
	"net"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/perchcam/perch/pkg/api"
	"github.com/perchcam/perch/pkg/client"
	"github.com/perchcam/perch/pkg/client/clienttest"
	"github.com/perchcam/perch/pkg/peer"
	"github.com/perchcam/perch/pkg/session"
	"github.com/perchcam/perch/pkg/wire"
)

// browser is what asks a Relay, in a bubble.
type browser struct {
	peer.Requester
	w *clienttest.World
	d *clienttest.Device
}

// relayed runs f with a browser on a relay on a broker with one device.
func relayed(t *testing.T, d *clienttest.Device, f func(t *testing.T, b *browser)) {
	synctest.Test(t, func(t *testing.T) {
		w := clienttest.New(t)
		d.Name = "hen-house"
		w.Join(d)
		c, err := client.Dial(t.Context(), client.Config{Dial: w.Laptop.Dial})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		r, err := NewRelay(c, nil)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		p, err := peer.New(peer.Config{})
		if err != nil {
			t.Fatal(err)
		}
		end, err := session.NewClient(session.ClientConfig{
			Dial: func(context.Context) (net.Conn, error) {
				near, far := net.Pipe()
				go r.Serve(far)
				return near, nil
			},
			Setup: session.Setup{MetadataMIME: wire.MIMEComposite, DataMIME: wire.MIMEJSON},
		}, p)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(context.Background())
		ended := make(chan error, 1)
		go func() { ended <- end.Run(ctx) }()
		f(t, &browser{p.Requester(end.Conn), w, d})
		cancel()
		<-ended
		p.Wait()
	})
}

func payload(t *testing.T, route, device, data string, params ...wire.Tag) peer.Payload {
	t.Helper()
	md, err := wire.Request{Route: route, Device: device, Params: params}.Append(nil, wire.Plain)
	if err != nil {
		t.Fatal(err)
	}
	return peer.Payload{Metadata: md, Data: []byte(data)}
}

func TestRelayPassesOn(t *testing.T) {
	relayed(t, &clienttest.Device{}, func(t *testing.T, b *browser) {
		v, err := b.RequestResponse(t.Context(), payload(t, api.RouteSnapshot, "hen-house", `{}`))
		if err != nil || !bytes.HasPrefix(v.Data, []byte{0xff, 0xd8}) {
			t.Errorf("a snapshot of %d bytes, %v", len(v.Data), err)
		}
		if h, err := api.HeaderOf(v.Metadata); err != nil || h.Camera != "front" {
			t.Errorf("%+v, %v", h, err)
		}
		v, err = b.RequestResponse(t.Context(), payload(t, api.RouteDevices, "", `{}`))
		if list, bad := api.Decode[api.Devices](v.Data); err != nil || bad != nil || len(list.Devices) != 1 {
			t.Errorf("%s, %v", v.Data, err)
		}
		v, err = b.RequestResponse(t.Context(), payload(t, api.RouteBrokerInfo, "", `{}`))
		if info, bad := api.Decode[api.BrokerInfo](v.Data); err != nil || bad != nil || info.Role != "admin" {
			t.Errorf("%s, %v", v.Data, err)
		}
		_, err = b.RequestResponse(t.Context(), payload(t, api.RouteSnapshot, "attic", `{}`))
		if told(t, err); !strings.Contains(err.Error(), `there is no device "attic"`) {
			t.Error(err)
		}
	})
}

// told fails if err is not the other end's.
func told(t *testing.T, err error) {
	t.Helper()
	if _, ok := err.(*peer.Error); !ok {
		t.Fatalf("%v is not what the other end said", err)
	}
}

// TestRelayHasALimit: a page asks for what a page shows, whatever the laptop may ask for.
func TestRelayHasALimit(t *testing.T) {
	relayed(t, &clienttest.Device{}, func(t *testing.T, b *browser) {
		for _, route := range []string{api.RouteLogs, api.RouteMetrics, api.RouteHealth, api.RouteEnrol, api.RouteStream, "somebody.elses"} {
			if _, err := b.RequestResponse(t.Context(), payload(t, route, "hen-house", `{}`)); err == nil || !strings.Contains(err.Error(), "a page does not ask") {
				t.Errorf("%q: %v", route, err)
			}
		}
		for _, route := range []string{api.RouteLogs, api.RouteSnapshot, "somebody.elses"} {
			for _, err := range b.RequestStream(t.Context(), payload(t, route, "hen-house", `{}`)) {
				if err == nil || !strings.Contains(err.Error(), "a page does not ask") {
					t.Errorf("%q: %v", route, err)
				}
			}
		}
		if slices.Contains(b.d.Asked(), api.RouteLogs) {
			t.Error("the device was asked all the same")
		}
	})
}

// TestPicturesAreAskedForOneByOne: what the browser has not asked for does not leave the broker, so that a slow one gets the
// newest picture and none that waited.
func TestPicturesAreAskedForOneByOne(t *testing.T) {
	relayed(t, &clienttest.Device{FPS: 30}, func(t *testing.T, b *browser) {
		next, stop := iter.Pull2(b.RequestStream(t.Context(), payload(t, api.RouteStream, "hen-house", `{"share":true}`, wire.Tag{Key: wire.ParamShare, Value: "1"}), peer.Window(1)))
		defer stop()
		var last api.FrameHeader
		for i := range 5 {
			asked := time.Now()
			v, err, ok := next()
			if err != nil || !ok {
				t.Fatal(err)
			}
			h, err := api.HeaderOf(v.Metadata)
			if err != nil {
				t.Fatal(err)
			}
			if age := asked.Sub(h.At); i > 0 && age > 100*time.Millisecond {
				t.Errorf("picture %d was %v old when it was asked for", h.Seq, age)
			}
			if i > 0 && h.Seq <= last.Seq+10 {
				t.Errorf("picture %d after %d, half a second later", h.Seq, last.Seq)
			}
			last = h
			time.Sleep(500 * time.Millisecond) // as long as the browser draws
		}
	})
}

// TestLeavingCancels: a tile that is scrolled out of sight costs the device nothing.
func TestLeavingCancels(t *testing.T) {
	canceled := make(chan string, 10)
	relayed(t, &clienttest.Device{Canceled: func(route string) { canceled <- route }}, func(t *testing.T, b *browser) {
		for _, err := range b.RequestStream(t.Context(), payload(t, api.RouteStream, "hen-house", `{}`), peer.Window(1)) {
			if err != nil {
				t.Fatal(err)
			}
			break
		}
		select {
		case route := <-canceled:
			if route != api.RouteStream {
				t.Error(route)
			}
		case <-time.After(time.Minute):
			t.Error("the device was not told")
		}
	})
}

// TestLaptopsLinkResumesBelow: the browser's stream knows nothing of it, and is told of the link on another.
func TestLaptopsLinkResumesBelow(t *testing.T) {
	relayed(t, &clienttest.Device{}, func(t *testing.T, b *browser) {
		pictures, stop := iter.Pull2(b.RequestStream(t.Context(), payload(t, api.RouteStream, "hen-house", `{}`), peer.Window(1)))
		defer stop()
		links, stopLinks := iter.Pull2(b.RequestStream(t.Context(), payload(t, routeLink, "", ``), peer.Window(1)))
		defer stopLinks()
		up := func(want bool) {
			t.Helper()
			var got struct{ Up bool }
			v, err, ok := links()
			if err == nil {
				err = json.Unmarshal(v.Data, &got)
			}
			if !ok || err != nil || got.Up != want {
				t.Fatalf("%s, %v, want %v", v.Data, err, want)
			}
		}
		up(true)
		if _, err, ok := pictures(); err != nil || !ok {
			t.Fatal(err)
		}
		b.w.Laptop.Down(true)
		up(false)
		time.AfterFunc(10*time.Second, func() { b.w.Laptop.Down(false) })
		lost := time.Now()
		v, err, ok := pictures()
		if err != nil || !ok {
			t.Fatalf("the stream ended: %v", err)
		}
		h, err := api.HeaderOf(v.Metadata)
		if err != nil || h.At.Sub(lost) < 9*time.Second {
			t.Errorf("after the outage comes a picture of %v after it began, %v", h.At.Sub(lost), err)
		}
		up(true)
	})
}

// TestBrokerAnew: the session is over, the browser is told so, and what it asks again is answered.
func TestBrokerAnew(t *testing.T) {
	relayed(t, &clienttest.Device{}, func(t *testing.T, b *browser) {
		next, stop := iter.Pull2(b.RequestStream(t.Context(), payload(t, api.RouteDevicesWatch, "", `{}`)))
		defer stop()
		if _, err, ok := next(); err != nil || !ok {
			t.Fatal(err)
		}
		b.w.Restart()
		var err error
		for ok := true; err == nil && ok; {
			_, err, ok = next()
		}
		told(t, err)
		time.Sleep(10 * time.Second)
		if _, err := b.RequestResponse(t.Context(), payload(t, api.RouteDevices, "", `{}`)); err != nil {
			t.Error(err)
		}
	})
}
