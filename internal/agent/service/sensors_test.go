package service_test

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/perchcam/perch/internal/agent/service"
	"github.com/perchcam/perch/pkg/api"
	"github.com/perchcam/perch/pkg/gpio"
	"github.com/perchcam/perch/pkg/gpio/gpiotest"
	"github.com/perchcam/perch/pkg/peer"
)

// wired is a device with a door, a thermometer and two outputs.
func wired(t *testing.T) (*device, *gpiotest.Lines, *gpiotest.Devices) {
	t.Helper()
	var c struct {
		gpio.Sensors
		gpio.Outputs
	}
	if err := c.Sensors.Decode("door=gpio:GPIO17,pull=down,class=door;air=iio:bme280,every=1s"); err != nil {
		t.Fatal(err)
	}
	if err := c.Outputs.Decode("ir=gpio:GPIO22,max_on=60s;live=gpio:GPIO23,show=viewing"); err != nil {
		t.Fatal(err)
	}
	lines, devices := gpiotest.NewLines(), gpiotest.NewDevices()
	devices.Measure("air", gpio.Value{Quantity: "temperature", Value: 21.5, Unit: "Cel"})
	board, err := gpio.New(gpio.Config{
		Sensors: c.Sensors, Outputs: c.Outputs, Lines: lines, Devices: devices, Boot: "boot-1", Synced: func() bool { return true },
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error)
	go func() { ended <- board.Run(ctx) }()
	d := newDevice(t, func(c *service.Config) { c.Board = board })
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	time.Sleep(time.Second)
	return d, lines, devices
}

func TestReadSensors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, lines, _ := wired(t)
		lines.Line("GPIO17").Drive(true)
		time.Sleep(time.Second)
		v, err := d.ask(t, api.RouteRead, "")
		if err != nil {
			t.Fatal(err)
		}
		all, err := api.Decode[api.Readings](v.Data)
		if err != nil || len(all.Readings) != 2 {
			t.Fatalf("%s: %v", v.Data, err)
		}
		door, air := all.Readings[0], all.Readings[1]
		if door.Sensor != "door" || door.On == nil || !*door.On || door.Boot != "boot-1" || door.Class != "door" {
			t.Errorf("door: %+v", door)
		}
		if air.Sensor != "air" || len(air.Values) != 1 || air.Values[0] != (api.Value{Quantity: "temperature", Value: 21.5, Unit: "Cel"}) {
			t.Errorf("air: %+v", air)
		}
		v, err = d.ask(t, api.RouteRead, `{"sensors":["air"]}`)
		if one, _ := api.Decode[api.Readings](v.Data); err != nil || len(one.Readings) != 1 {
			t.Errorf("%s, %v", v.Data, err)
		}
		_, err = d.ask(t, api.RouteRead, `{"sensors":["attic"]}`)
		says(t, err, peer.CodeInvalid, "attic")
	})
}

func TestWatchSensors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, lines, _ := wired(t)
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		next, stop := iter.Pull2(d.RequestStream(ctx, request(t, api.RouteWatch, `{"sensors":["door"]}`), peer.Window(64)))
		defer stop()
		defer cancel()
		take := func() api.Reading {
			t.Helper()
			v, err, _ := next()
			if err != nil {
				t.Fatal(err)
			}
			r, err := api.ParseReading(v.Data)
			if err != nil {
				t.Fatalf("%s: %v", v.Data, err)
			}
			return r
		}
		first := take()
		if first.Type != api.ReadingState || *first.On {
			t.Errorf("the first item is %+v", first)
		}
		seq := first.Seq
		edge := func(up bool) {
			lines.Line("GPIO17").Drive(up)
			time.Sleep(100 * time.Millisecond)
		}
		edge(true)
		edge(false)
		d.net.Down(true) // what happens now must not be lost with the link
		for range 50 {
			edge(true)
			edge(false)
		}
		d.net.Down(false)
		for i := range 102 {
			if r := take(); r.Type != api.ReadingChange || r.Seq != seq+1 || *r.On != (i%2 == 0) {
				t.Fatalf("item %d is %+v after number %d", i, r, seq)
			}
			seq++
		}
	})
}

func TestWatchGoesOnAfterAPosition(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, lines, _ := wired(t)
		for range 3 {
			lines.Line("GPIO17").Drive(true)
			time.Sleep(time.Second)
			lines.Line("GPIO17").Drive(false)
			time.Sleep(time.Second)
		}
		v, err := d.ask(t, api.RouteRead, `{"sensors":["door"]}`)
		if err != nil {
			t.Fatal(err)
		}
		now, err := api.Decode[api.Readings](v.Data)
		if err != nil {
			t.Fatal(err)
		}
		after, err := json.Marshal(api.SensorsRequest{Sensors: []string{"door"}, After: &api.Position{Boot: "boot-1", Seq: now.Readings[0].Seq - 2}})
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		for v, err := range d.RequestStream(t.Context(), request(t, api.RouteWatch, string(after))) {
			r, bad := api.ParseReading(v.Data)
			if err != nil || bad != nil || r.Type != api.ReadingChange {
				t.Fatalf("%s: %v, %v", v.Data, err, bad)
			}
			if n++; n == 2 {
				break
			}
		}
	})
}

func TestListOutputs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, lines, _ := wired(t)
		list := func() string {
			v, err := d.ask(t, api.RouteOutputs, "")
			all, bad := api.Decode[api.Outputs](v.Data)
			if err != nil || bad != nil {
				t.Fatalf("%s, %v", v.Data, err)
			}
			var text []string
			for _, o := range all.Outputs {
				text = append(text, fmt.Sprint(o.Output, " ", o.On, " ", !o.Until.IsZero(), " ", o.Shows, " ", o.Error))
			}
			return strings.Join(text, "; ")
		}
		if got, want := list(), "ir false false  ; live false false viewing "; got != want {
			t.Errorf("%q, want %q", got, want)
		}
		if _, err := d.ask(t, api.RouteSet, `{"output":"ir","on":true}`); err != nil {
			t.Fatal(err)
		}
		if got, want := list(), "ir true true  ; live false false viewing "; got != want {
			t.Errorf("%q, want %q", got, want)
		}
		lines.Line("GPIO22").Busy("somebody")
		time.Sleep(time.Minute)
		if got := list(); !strings.Contains(got, "in use") {
			t.Errorf("of a line that somebody else has: %q", got)
		}
	})
}

func TestSetOutput(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, lines, _ := wired(t)
		v, err := d.ask(t, api.RouteSet, `{"output":"ir","on":true}`)
		st, bad := api.Decode[api.OutputState](v.Data)
		if err != nil || bad != nil || st.Output != "ir" || !st.On || time.Until(st.Until) > time.Minute || time.Until(st.Until) < 59*time.Second || !lines.Line("GPIO22").High() {
			t.Errorf("%s, %v, %v; the line is high: %v", v.Data, err, bad, lines.Line("GPIO22").High())
		}
		if err := d.FireAndForget(t.Context(), request(t, api.RouteSet, `{"output":"ir","on":false}`)); err != nil {
			t.Error(err)
		}
		time.Sleep(time.Second)
		if lines.Line("GPIO22").High() {
			t.Error("fire-and-forget did nothing")
		}
		for options, words := range map[string]string{
			`{"output":"uv","on":true}`:              "uv",
			`{"output":"ir"}`:                        `"on" is missing`,
			`{"output":"ir","on":false,"for":"1s"}`:  "that is its safe state",
			`{"output":"live","on":true,"for":"1s"}`: "shows whether anybody watches",
		} {
			_, err := d.ask(t, api.RouteSet, options)
			says(t, err, peer.CodeInvalid, words)
		}
		for span, until := range map[string]time.Duration{"2s": 2 * time.Second, "2m": time.Minute} {
			v, err := d.ask(t, api.RouteSet, `{"output":"ir","on":true,"for":"`+span+`"}`)
			st, bad := api.Decode[api.OutputState](v.Data)
			if err != nil || bad != nil || time.Until(st.Until).Round(time.Second) != until {
				t.Errorf("for %s: %s, %v, %v", span, v.Data, err, bad)
			}
			time.Sleep(until + time.Millisecond)
			if lines.Line("GPIO22").High() {
				t.Errorf("on after %v", until)
			}
		}
		lines.Line("GPIO22").Busy("somebody")
		time.Sleep(time.Minute)
		_, err = d.ask(t, api.RouteSet, `{"output":"ir","on":true}`)
		says(t, err, peer.CodeRejected, "in use")
	})
}

func TestViewingIsShown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, lines, _ := wired(t)
		light := lines.Line("GPIO23")
		n := 0
		d.watch(t, "", func(api.FrameHeader) bool {
			if !light.High() {
				t.Error("somebody watches, and it is not shown")
			}
			n++
			return n < 3
		})
		time.Sleep(time.Second)
		if light.High() {
			t.Error("nobody watches any more, and it is shown")
		}
	})
}

func TestRoutesAreThoseThatAreServed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		if got := strings.Join(newDevice(t, nil).service.Routes(), " "); got != "agent.clock agent.health agent.info agent.logs agent.metrics camera.control camera.list camera.snapshot camera.stream" {
			t.Errorf("without sensors: %s", got)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		d, _, _ := wired(t)
		if got := strings.Join(d.service.Routes(), " "); got != "agent.clock agent.health agent.info agent.logs agent.metrics camera.control camera.list camera.snapshot camera.stream gpio.list gpio.set sensors.read sensors.watch" {
			t.Errorf("with sensors: %s", got)
		}
	})
}

// A device without sensors or outputs says so in a person's words, not in those of routes.
func TestNothingIsWired(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDevice(t, nil)
		for route, words := range map[string]string{
			api.RouteRead: "this device has no sensors; PERCH_SENSORS gives it some",
			api.RouteSet:  "this device has no outputs; PERCH_OUTPUTS gives it some",
		} {
			_, err := d.RequestResponse(t.Context(), request(t, route, ""))
			says(t, err, peer.CodeRejected, words)
		}
		for _, err := range d.RequestStream(t.Context(), request(t, api.RouteWatch, "")) {
			says(t, err, peer.CodeRejected, "this device has no sensors")
		}
	})
}
