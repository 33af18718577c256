package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/perchcam/perch/pkg/api"
	"github.com/perchcam/perch/pkg/gpio"
	"github.com/perchcam/perch/pkg/gpio/gpiotest"
	"github.com/perchcam/perch/pkg/peer"
	"github.com/perchcam/perch/pkg/wire"
)

func TestLogbook(t *testing.T) {
	b := newLogbook(slog.LevelInfo)
	log := slog.New(b)
	log.Debug("not kept")
	log.With("camera", "yard").WithGroup("g").Warn("it failed\n", "n", 3, "err", errors.New("why\x1b[31m"), slog.Group("h", "ok", true))
	lines, now, more := b.logs(0)
	want := map[string]any{"camera": "yard", "g.n": int64(3), "g.err": `why\x1b[31m`, "g.h.ok": true}
	if now != 1 || len(lines) != 1 || lines[0].Text != `it failed\n` || lines[0].Level != slog.LevelWarn || fmt.Sprint(lines[0].Attrs) != fmt.Sprint(want) {
		t.Errorf("%d: %+v, want %v", now, lines, want)
	}
	log.Info("another")
	select {
	case <-more:
	default:
		t.Error("nobody is told of another line")
	}
	for i := range 3 * keptLines {
		log.Info(fmt.Sprint(i))
	}
	lines, now, _ = b.logs(0)
	if now != 3*keptLines+2 || len(lines) != keptLines || lines[0].Text != fmt.Sprint(2*keptLines) || lines[keptLines-1].Text != fmt.Sprint(3*keptLines-1) {
		t.Errorf("%d lines of %d, from %s", len(lines), now, lines[0].Text)
	}
	if lines, _, _ = b.logs(now - 2); len(lines) != 2 {
		t.Errorf("%d lines after all but two", len(lines))
	}
	if lines, _, _ = b.logs(now + 5); len(lines) != 0 {
		t.Errorf("%d lines after more than there are", len(lines))
	}
	log.Info(strings.Repeat("x", 10*keptText))
	if lines, _, _ = b.logs(now); len(lines[0].Text) > keptText+len("…") {
		t.Errorf("a text of %d bytes is kept", len(lines[0].Text))
	}
}

func TestInside(t *testing.T) {
	b := newBroker(t)
	lines, devices := gpiotest.NewLines(), gpiotest.NewDevices()
	devices.Measure("air", gpio.Value{Quantity: "temperature", Value: 20, Unit: "Cel"})
	lines.Line("GPIO5").Busy("somebody")
	cfg := config(t, b, "test=pattern,width=64,height=48")
	for _, err := range []error{cfg.Sensors.Decode("air=iio:bme280;door=gpio:GPIO5"), cfg.Outputs.Decode("ir=gpio:GPIO6")} {
		if err != nil {
			t.Fatal(err)
		}
	}
	start(t, Options{Config: cfg, Version: `1"2`, Lines: lines, Devices: devices})
	c := within(t, b.sessions, "a session")
	r := b.peer.Requester(c)
	ask := func(route, options string) peer.Payload {
		t.Helper()
		md, err := wire.Request{Route: route, Service: api.Service}.Append(nil, wire.RSocketBroker)
		if err != nil {
			t.Fatal(err)
		}
		return peer.Payload{Metadata: md, Data: []byte(options)}
	}

	// The unit of a measured sensor is told when it is known: in SETUP, or after it.
	ad := advertOf(t, c.Setup().Metadata)
	if ad.Sensors[0].Unit == "" {
		ad = advertOf(t, within(t, b.pushes, "a push"))
	}
	if len(ad.Sensors) != 2 || ad.Sensors[0].Unit != "Cel" || len(ad.Outputs) != 1 {
		t.Errorf("advert %+v", ad)
	}

	// Lines are opened by their own goroutines, so the first answers may be of a board that is about to work.
	const want = "link true online; camera test true idle; sensor air true ; sensor door false busy; output ir true "
	var h api.Health
	for until, got := time.Now().Add(20*time.Second), ""; got != want; {
		v, err := r.RequestResponse(t.Context(), ask(api.RouteHealth, ""))
		if err != nil {
			t.Fatal(err)
		}
		if h, err = api.Decode[api.Health](v.Data); err != nil {
			t.Fatal(err)
		}
		var list []string
		for _, l := range h.Loops {
			list = append(list, fmt.Sprintf("%s %v %s", l.Name, l.OK, l.State))
		}
		if got = strings.Join(list, "; "); time.Now().After(until) {
			t.Fatalf("health: %s", got)
		}
	}
	if h.OK {
		t.Error("all is well, though the door cannot be read")
	}

	v, err := r.RequestResponse(t.Context(), ask(api.RouteMetrics, ""))
	if err != nil {
		t.Fatal(err)
	}
	text := string(v.Data)
	for _, want := range []string{
		"# TYPE perch_link_online gauge\nperch_link_online 1\n", `perch_camera_state{camera="test",state="idle"} 1`, `version="1\"2"`,
		"perch_gpio_edges_total 0\n", "perch_session_links 1\n",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("the metrics lack %q", want)
		}
	}
	sample := regexp.MustCompile(`^[a-z_]+(\{[a-z]+="([^"\\]|\\.)*"(,[a-z]+="([^"\\]|\\.)*")*\})? [0-9.]+$`)
	seen := map[string]bool{}
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		if name, ok := strings.CutPrefix(line, "# TYPE "); ok && seen[name] {
			t.Errorf("%s is there twice", name)
		} else if ok {
			seen[name] = true
		} else if !strings.HasPrefix(line, "# HELP ") && !sample.MatchString(line) {
			t.Errorf("no sample: %s", line)
		}
	}

	var past []api.LogLine
	for v, err := range r.RequestStream(t.Context(), ask(api.RouteLogs, `{"lines":100}`)) {
		if err != nil {
			t.Fatal(err)
		}
		l, err := api.Decode[api.LogLine](v.Data)
		if err != nil {
			t.Fatal(err)
		}
		past = append(past, l)
	}
	if len(past) < 2 || past[0].Text != "started" || past[0].Attrs["device"] != "nest" {
		t.Errorf("the log: %+v", past)
	}
}

func TestLogsFollowAndSayWhatIsMissing(t *testing.T) {
	b := newBroker(t)
	a, _ := start(t, Options{Config: config(t, b, "test=pattern"), Version: "1"})
	r := b.peer.Requester(within(t, b.sessions, "a session"))
	md, err := wire.Request{Route: api.RouteLogs, Service: api.Service}.Append(nil, wire.RSocketBroker)
	if err != nil {
		t.Fatal(err)
	}
	a.log.Warn("begin")
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	n, missing := 0, uint64(0)
	for v, err := range r.RequestStream(ctx, peer.Payload{Metadata: md, Data: []byte(`{"lines":1,"level":"warn","follow":true}`)}, peer.Window(1)) {
		if err != nil {
			t.Fatal(err)
		}
		l, err := api.Decode[api.LogLine](v.Data)
		if err != nil {
			t.Fatal(err)
		}
		switch {
		case l.Text == "last":
			if n+int(missing) != 10*keptLines {
				t.Errorf("%d lines came and %d are missing of %d", n, missing, 10*keptLines)
			}
			return
		case l.Text == "lines are missing here":
			missing += uint64(l.Attrs["missed"].(float64))
		case n == 0 && l.Text == "begin":
			for range 10 * keptLines {
				a.log.Warn("many")
			}
			a.log.Warn("last")
		default:
			n++
		}
	}
}
