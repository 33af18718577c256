package service_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/perchcam/perch/internal/agent/service"
	"github.com/perchcam/perch/pkg/api"
	"github.com/perchcam/perch/pkg/camera"
	"github.com/perchcam/perch/pkg/camera/cameratest"
	"github.com/perchcam/perch/pkg/peer"
	"github.com/perchcam/perch/pkg/session"
	"github.com/perchcam/perch/pkg/session/sessiontest"
	"github.com/perchcam/perch/pkg/wire"
)

// device is a Service on a session, and a laptop at its other end.
type device struct {
	peer.Requester // the laptop's
	front, back    *cameratest.Source
	hubs           []*camera.Hub
	net            *sessiontest.Net
	service        *service.Service
}

// newDevice has two cameras, front and back. Run it in a bubble.
func newDevice(t *testing.T, change func(*service.Config)) *device {
	t.Helper()
	d := &device{front: &cameratest.Source{}, back: &cameratest.Source{Period: 100 * time.Millisecond, Width: 32, Height: 16}}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	for name, src := range map[string]*cameratest.Source{"front": d.front, "back": d.back} {
		h, err := camera.NewHub(camera.Config{Name: name, Source: src, Linger: -1, Hold: 20_000})
		if err != nil {
			t.Fatal(err)
		}
		running.Go(func() { _ = h.Run(ctx) })
		d.hubs = append(d.hubs, h)
	}
	slices.SortFunc(d.hubs, func(a, b *camera.Hub) int { return -strings.Compare(a.Name(), b.Name()) })
	cfg := service.Config{
		Cameras: func() []*camera.Hub { return d.hubs },
		Inside:  silent{},
		Info:    func() api.Info { return api.Info{Device: "nest", Version: "1.2.3"} },
		Boot:    "boot-1", Synced: func() bool { return true }, Keep: 1 << 20,
	}
	if change != nil {
		change(&cfg)
	}
	s, err := service.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	d.service = s
	pi, err := peer.New(peer.Config{Handler: s})
	if err != nil {
		t.Fatal(err)
	}
	laptop, err := peer.New(peer.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		pi.Wait()
		cancel()
		running.Wait()
	})
	_, atBroker, n := sessiontest.Pair(t, session.ClientConfig{Setup: session.Setup{Resume: true}}, pi, laptop)
	d.Requester, d.net = laptop.Requester(atBroker), n
	return d
}

// silent is an agent that has nothing to say of itself; what one says is tested where it is.
type silent struct{}

func (silent) Health() api.Health                                   { return api.Health{} }
func (silent) Metrics() []byte                                      { return nil }
func (silent) Logs(uint64) ([]api.LogLine, uint64, <-chan struct{}) { return nil, 0, nil }

func request(t *testing.T, route, options string) peer.Payload {
	t.Helper()
	md, err := wire.Request{Route: route, Service: api.Service, Device: "nest"}.Append(nil, wire.RSocketBroker)
	if err != nil {
		t.Fatal(err)
	}
	return peer.Payload{Metadata: md, Data: []byte(options)}
}

func (d *device) ask(t *testing.T, route, options string) (peer.Payload, error) {
	t.Helper()
	return d.RequestResponse(t.Context(), request(t, route, options))
}

func header(t *testing.T, v peer.Payload) api.FrameHeader {
	t.Helper()
	h, err := api.HeaderOf(v.Metadata)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// says checks that err is what the other end said, with a code and words.
func says(t *testing.T, err error, code peer.Code, words string) {
	t.Helper()
	e, ok := errors.AsType[*peer.Error](err)
	if !ok || e.Code != code || !strings.Contains(e.Text, words) {
		t.Errorf("got %v (%T), want code %v and %q in it", err, err, code, words)
	}
}

func TestRefusals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDevice(t, nil)
		for _, c := range []struct{ route, options, words string }{
			{"camera.snapshots", "", `"camera.snapshots" is not known here; these are: agent.clock, agent.health, agent.info, agent.logs, agent.metrics, camera.control, camera.list, camera.snapshot, camera.stream`},
			{api.RouteStream, "", "is answered by a stream and was asked for as a response"},
			{api.RouteSnapshot, `{"camera":"side"}`, `camera "side" is not known here; these are: front, back`},
			{api.RouteSnapshot, `{"quality":101}`, `"quality" is 101: it must be 0 to 100`},
			{api.RouteSnapshot, `{`, "no valid JSON"},
			{api.RouteInfo, `3`, "an object is needed"},
			{api.RouteCameras, `"x"`, "an object is needed"},
		} {
			_, err := d.ask(t, c.route, c.options)
			says(t, err, peer.CodeInvalid, c.words)
		}
		_, err := d.RequestResponse(t.Context(), peer.Payload{Data: []byte("{}")})
		says(t, err, peer.CodeInvalid, "names no route")
		_, err = d.RequestResponse(t.Context(), peer.Payload{Metadata: []byte{0xfe, 0, 0, 9, 1}})
		says(t, err, peer.CodeInvalid, "malformed metadata")
		for _, c := range []struct{ route, options, words string }{
			{api.RouteSnapshot, "", "is answered by a response and was asked for as a stream"},
			{"nothing", "", "not known here"},
			{api.RouteStream, `{"keep":"some"}`, `"keep" is "some"`},
			{api.RouteStream, `{"camera":"side"}`, "not known here"},
			{api.RouteStream, `{"format":"h264"}`, "not H264"},
		} {
			for _, err := range d.RequestStream(t.Context(), request(t, c.route, c.options)) {
				says(t, err, peer.CodeInvalid, c.words)
			}
		}
		for _, err := range d.RequestChannel(t.Context(), request(t, api.RouteInfo, ""), nil) {
			says(t, err, peer.CodeInvalid, "asked for as a channel")
		}
		if d.front.Starts() > 1 || d.back.Starts() > 0 {
			t.Errorf("the cameras were started %d and %d times", d.front.Starts(), d.back.Starts())
		}
	})
}

func TestNoCamera(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDevice(t, func(c *service.Config) { c.Cameras = func() []*camera.Hub { return nil } })
		_, err := d.ask(t, api.RouteSnapshot, "")
		says(t, err, peer.CodeRejected, "this device has no camera")
		v, err := d.ask(t, api.RouteCameras, "")
		if err != nil || string(v.Data) != `{"cameras":[]}` {
			t.Errorf("camera.list: %s, %v", v.Data, err)
		}
	})
}

func TestSnapshotIsNewerThanTheRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDevice(t, nil)
		for i, options := range []string{"", "{}", "[]", `{"camera":"back"}`} {
			asked := camera.Mono()
			v, err := d.ask(t, api.RouteSnapshot, options)
			if err != nil {
				t.Fatal(err)
			}
			h := header(t, v)
			want := [...]string{"front 64x48", "front 64x48", "front 64x48", "back 32x16"}[i]
			if got := fmt.Sprintf("%s %dx%d", h.Camera, h.Width, h.Height); got != want {
				t.Errorf("%s: got %s, want %s", options, got, want)
			}
			if h.MonoNS < int64(asked) || h.Boot != "boot-1" || !h.Synced || h.Format != api.FormatJPEG || h.Skipped != 0 || len(v.Data) == 0 {
				t.Errorf("%s: asked at %d, got %+v with %d bytes", options, asked, h, len(v.Data))
			}
			if d := time.Since(h.At); d < 0 || d > time.Second {
				t.Errorf("it was taken %v ago by the wall clock", d)
			}
			time.Sleep(time.Second)
		}
	})
}

func TestSnapshotWhileTheLinkIsAwayIsTakenAfterwards(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDevice(t, nil)
		d.front.Start = time.Second // the link is lost while the camera starts
		got := make(chan api.FrameHeader)
		go func() {
			v, err := d.ask(t, api.RouteSnapshot, "")
			if err != nil {
				t.Error(err)
			}
			got <- header(t, v)
		}()
		time.Sleep(500 * time.Millisecond)
		d.net.Down(true)
		time.Sleep(20 * time.Second)
		back := camera.Mono()
		d.net.Down(false)
		if h := <-got; h.MonoNS < int64(back) {
			t.Errorf("the picture was taken %v before the link was back", back-time.Duration(h.MonoNS))
		}
	})
}

func TestCameraInTrouble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDevice(t, nil)
		for _, c := range []struct {
			err   error
			code  peer.Code
			words string
			state string
		}{
			{fmt.Errorf("cannot open /dev/video0: %w", camera.ErrAbsent), peer.CodeRejected, "the camera is not there", api.CameraMissing},
			{fmt.Errorf("cannot open /dev/video0: %w", camera.ErrBusy), peer.CodeRejected, "in use by another program", api.CameraBusy},
			{fmt.Errorf("cannot open /dev/video0: %w", camera.ErrDenied), peer.CodeRejected, "no permission", api.CameraFailed},
			{fmt.Errorf("cannot start: %w", camera.ErrUnsupported), peer.CodeInvalid, "not supported", api.CameraFailed},
			{errors.New("it smokes"), peer.CodeApplicationError, "it smokes", api.CameraFailed},
		} {
			d.front.Break(c.err)
			_, err := d.ask(t, api.RouteSnapshot, "")
			says(t, err, c.code, c.words)
			for _, err := range d.RequestStream(t.Context(), request(t, api.RouteStream, "")) {
				says(t, err, c.code, c.words)
			}
			time.Sleep(time.Minute)
			v, err := d.ask(t, api.RouteCameras, "")
			if err != nil {
				t.Fatal(err)
			}
			list, err := api.Decode[api.CameraList](v.Data)
			if err != nil || len(list.Cameras) != 2 || list.Cameras[0].State != c.state || !strings.Contains(list.Cameras[0].Error, c.words) {
				t.Errorf("%v: camera.list says %s", c.err, v.Data)
			}
			d.front.Mend()
			// One that is plugged in again is idle before somebody looks.
			if c.state == api.CameraMissing {
				v, err := d.ask(t, api.RouteCameras, "")
				if err != nil {
					t.Fatal(err)
				}
				list, err := api.Decode[api.CameraList](v.Data)
				if err != nil || list.Cameras[0].State != api.CameraIdle || list.Cameras[0].Error != "" {
					t.Errorf("plugged in again: camera.list says %s", v.Data)
				}
			}
		}
		if _, err := d.ask(t, api.RouteSnapshot, ""); err != nil {
			t.Errorf("after all is mended: %v", err)
		}
	})
}

func TestList(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDevice(t, nil)
		ctx, cancel := context.WithCancel(t.Context())
		watching := make(chan struct{})
		go func() {
			for range d.RequestStream(ctx, request(t, api.RouteStream, `{"camera":"back"}`)) {
			}
			close(watching)
		}()
		time.Sleep(time.Second)
		v, err := d.ask(t, api.RouteCameras, "")
		if err != nil {
			t.Fatal(err)
		}
		list, err := api.Decode[api.CameraList](v.Data)
		if err != nil || len(list.Cameras) != 2 {
			t.Fatalf("%s: %v", v.Data, err)
		}
		front, back := list.Cameras[0], list.Cameras[1]
		if front.Name != "front" || front.State != api.CameraIdle || front.Viewers != 0 || front.Mode != nil || front.Model == "" || len(front.Modes) != 1 {
			t.Errorf("front: %+v", front)
		}
		if back.State != api.CameraActive || back.Viewers != 1 || back.Mode == nil || back.Mode.Width != 32 || back.Mode.FPS[0] != 10 {
			t.Errorf("back: %+v", back)
		}
		cancel()
		<-watching
	})
}

func TestInfoAndClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDevice(t, nil)
		v, err := d.ask(t, api.RouteInfo, "{}")
		if err != nil {
			t.Fatal(err)
		}
		in, err := api.Decode[api.Info](v.Data)
		if err != nil || in.Device != "nest" || in.Version != "1.2.3" || in.Boot != "boot-1" || !in.Synced || in.MonoNS != int64(camera.Mono()) || !in.At.Equal(time.Now()) {
			t.Errorf("%s: %v", v.Data, err)
		}
		if v, err = d.ask(t, api.RouteClock, ""); err != nil {
			t.Fatal(err)
		}
		c, err := api.Decode[api.ClockReply](v.Data)
		if err != nil || c.Boot != "boot-1" || c.MonoNS != int64(camera.Mono()) || !c.Synced {
			t.Errorf("%s: %v", v.Data, err)
		}
	})
}

func TestPushesAndForgetsAreIgnored(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDevice(t, nil)
		if err := d.FireAndForget(t.Context(), request(t, api.RouteInfo, "")); err != nil {
			t.Error(err)
		}
		if err := d.MetadataPush(t.Context(), []byte(`{"specversion":"1.0"}`)); err != nil {
			t.Error(err)
		}
		if _, err := d.ask(t, api.RouteInfo, ""); err != nil {
			t.Errorf("afterwards: %v", err)
		}
	})
}

func TestNewChecks(t *testing.T) {
	if _, err := service.New(service.Config{}); err == nil {
		t.Error("an empty configuration is taken")
	}
}
