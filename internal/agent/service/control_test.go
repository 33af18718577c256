package service_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/perchcam/perch/internal/agent/service"
	"github.com/perchcam/perch/pkg/api"
	"github.com/perchcam/perch/pkg/camera"
	"github.com/perchcam/perch/pkg/camera/cameratest"
	"github.com/perchcam/perch/pkg/peer"
)

// knobs is a camera with controls.
type knobs struct {
	cameratest.Source
	all []camera.Control
}

func (k *knobs) Controls(context.Context) ([]camera.Control, error) { return slices.Clone(k.all), nil }

func (k *knobs) SetControl(_ context.Context, name string, value int64) (int64, error) {
	for i := range k.all {
		if c := &k.all[i]; c.Name == name {
			c.Value = min(max(value, c.Min), c.Max) // as drivers do
			return c.Value, nil
		}
	}
	return 0, errors.New("there is no such control")
}

func withKnobs(t *testing.T) *device {
	t.Helper()
	k := &knobs{all: []camera.Control{
		{Name: "brightness", Type: camera.ControlInt, Min: -10, Max: 10, Step: 1, Value: 3},
		{Name: "mode", Type: camera.ControlMenu, Max: 1, Menu: []camera.MenuItem{{Value: 0, Name: "day"}, {Value: 1, Name: "night"}}, Inactive: true},
		{Name: "reset", Type: camera.ControlButton},
	}}
	h, err := camera.NewHub(camera.Config{Name: "eye", Source: k})
	if err != nil {
		t.Fatal(err)
	}
	return newDevice(t, func(c *service.Config) {
		others := c.Cameras
		c.Cameras = func() []*camera.Hub { return append([]*camera.Hub{h}, others()...) }
	})
}

func TestControl(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := withKnobs(t)
		items := func(yield func(peer.Payload, error) bool) {
			for _, set := range []string{`{"set":{"brightness":99,"zoom":1}}`, `{"set":{"brightness":-1,"mode":1}}`} {
				if !yield(peer.Payload{Data: []byte(set)}, nil) {
					return
				}
			}
		}
		var got []string
		for v, err := range d.RequestChannel(t.Context(), request(t, api.RouteControl, ""), items) {
			if err != nil {
				t.Fatal(err)
			}
			r, err := api.Decode[api.ControlReply](v.Data)
			if err != nil || r.Camera != "eye" {
				t.Fatalf("%s, %v", v.Data, err)
			}
			got = append(got, fmt.Sprint(r.Values, r.Errors))
		}
		want := "map[brightness:3 mode:0] map[]; map[brightness:10 mode:0] map[zoom:there is no such control]; map[brightness:-1 mode:1] map[]"
		if s := strings.Join(got, "; "); s != want {
			t.Errorf("got  %s\nwant %s", s, want)
		}

		v, err := d.ask(t, api.RouteControl, `{"set":{"brightness":5}}`)
		if r, bad := api.Decode[api.ControlReply](v.Data); err != nil || bad != nil || r.Values["brightness"] != 5 {
			t.Errorf("as a response: %s, %v", v.Data, err)
		}
		v, err = d.ask(t, api.RouteCameras, "")
		list, bad := api.Decode[api.CameraList](v.Data)
		if err != nil || bad != nil || len(list.Cameras[0].Controls) != 3 || list.Cameras[0].Controls[1].Menu[1] != "night" || !list.Cameras[0].Controls[1].Off || list.Cameras[1].Controls != nil {
			t.Errorf("camera.list: %s, %v", v.Data, err)
		}
	})
}

func TestControlRefusals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := withKnobs(t)
		for options, words := range map[string]string{
			`{"camera":"front"}`: `camera "front" has no controls`, `{"camera":"side"}`: "not known here", `{"set":{"brightness":"x"}}`: "is a whole number",
		} {
			next, stop := iter.Pull2(d.RequestChannel(t.Context(), request(t, api.RouteControl, options), nil))
			_, err, _ := next()
			says(t, err, peer.CodeInvalid, words)
			stop()
		}
	})
}
