package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/perchcam/perch/pkg/api"
	"github.com/perchcam/perch/pkg/client"
)

// harmless fails if text holds anything that a terminal acts on, but for line ends and the tab-free columns we write.
func harmless(t *testing.T, what, text string) {
	t.Helper()
	for line := range strings.Lines(text) {
		if line := strings.TrimSuffix(line, "\n"); api.Text(line) != line {
			t.Errorf("%s: %q", what, line)
		}
	}
}

// Whatever a broker or a device says, and wherever it says it, no escape sequence reaches the terminal.
func TestHostileText(t *testing.T) {
	hostile := []string{evil, "\x9b2J", "\u009b2J", "\u0085", "\u200f", "\U000e0001", "\x7f", "a\tb", "\xff\xfe"}
	for _, h := range hostile {
		var b bytes.Buffer
		u := &ui{stdout: &b, stderr: &b}
		d := api.Device{
			Name: h, State: h, Version: h, Reason: h, Since: noon, Tags: map[string]string{h: h},
			Cameras: []api.CameraRef{{Name: h, Kind: h}}, Sensors: []api.SensorRef{{Name: h}},
		}
		a := &app{ui: *u}
		reading := api.Reading{Sensor: h, Class: h, At: noon, Values: []api.Value{{Quantity: h, Unit: h}}, Error: &api.SensorError{Text: h}}
		camera := api.Camera{
			Name: h, Kind: h, Model: h, State: h, Error: h, Mode: &api.Mode{Format: h}, Modes: []api.Mode{{Format: h}}, Controls: []api.Control{{Name: h, Type: h}},
		}
		for _, err := range []error{
			table(&b, []api.Device{d}, noon),
			a.event(api.DeviceEvent{Type: api.EventChange, Device: &d}, false),
			readingsTable(&b, []api.Reading{reading}),
			writeInfo(&b, api.Info{Device: h, ID: h, Boot: h, Version: h, OS: h, Arch: h, Kernel: h, Model: h, Drops: map[string]uint64{h: 1}}, []api.Camera{camera}),
			writeCamera(&b, camera),
			healthTable(&b, api.Health{Loops: api.List[api.Loop]{{Name: h, State: h, Error: h}}}),
			u.json(d),
			u.jsonLine(reading),
		} {
			if err != nil {
				t.Error(err)
			}
		}
		fmt.Fprintln(&b, logText(api.LogLine{Text: h, Attrs: map[string]any{h: h}}))
		harmless(t, fmt.Sprintf("%q", h), b.String())
	}
}

func TestEscapedJSONIsTheSame(t *testing.T) {
	for _, text := range []string{evil, "ü € 😀", "\U000e0001", "\u009b\x7f", `\u0041 "`} {
		b, err := json.Marshal(text)
		if err != nil {
			t.Fatal(err)
		}
		var got string
		if err := json.Unmarshal(escape(b), &got); err != nil || got != text {
			t.Errorf("%q came back as %q: %v", text, got, err)
		}
	}
}

func TestKnown(t *testing.T) {
	many := strings.Fields("a1 b2 c3 d4 e5 f6 g7 h8 i9")
	for _, tc := range []struct {
		asked string
		names []string
		want  string
	}{
		{"hen-huose", []string{"gate", "hen-house"}, "did you mean hen-house?"},
		{"barn", nil, "no device is connected to the broker"},
		{"barn", []string{"gate", "hen-house"}, "there is: gate, hen-house"},
		{"orchard", many, "there are 9 devices: perch devices lists them"},
	} {
		if got := known(tc.asked, tc.names); got != tc.want {
			t.Errorf("%s of %q: %s", tc.asked, tc.names, got)
		}
	}
}

// The help text says what each exit code means, and no other; which of them an error has is what people's scripts rely on.
func TestExitCodes(t *testing.T) {
	_, list, ok := strings.Cut(long, "Exit codes:\n")
	if !ok {
		t.Fatal("the help text has no exit codes")
	}
	var documented []int
	for line := range strings.Lines(list) {
		code, err := strconv.Atoi(strings.Fields(line)[0])
		if err != nil {
			t.Fatal(err)
		}
		documented = append(documented, code)
	}
	all := []int{exitOK, exitFailed, exitUsage, exitNoDevice, exitTimeout, exitUnreachable, exitRefused, exitInterrupted}
	if !slices.Equal(documented, all) {
		t.Errorf("documented are %v, not %v", documented, all)
	}

	interrupted, cancel := context.WithCancel(t.Context())
	cancel()
	for _, tc := range []struct {
		err  error
		ctx  context.Context
		want int
	}{
		{nil, t.Context(), exitOK},
		{errors.New("some"), t.Context(), exitFailed},
		{&fs.PathError{Op: "cannot write", Path: "x", Err: fs.ErrExist}, t.Context(), exitFailed},
		{hinted(&usageError{errors.New("a flag")}, "another"), t.Context(), exitUsage},
		{&client.Error{Kind: client.ErrInvalid}, t.Context(), exitUsage},
		{&client.Error{Kind: client.ErrNoDevice}, t.Context(), exitNoDevice},
		{&client.Error{Kind: client.ErrAway}, t.Context(), exitNoDevice},
		{&client.Error{Kind: client.ErrTimeout}, t.Context(), exitTimeout},
		{&client.Error{Kind: client.ErrUnreachable}, t.Context(), exitUnreachable},
		{&client.Error{Kind: client.ErrRefused}, t.Context(), exitRefused},
		{&client.Error{Kind: client.ErrFailed}, t.Context(), exitFailed},
		{&someError{errors.New("2 of 3"), exitNoDevice}, t.Context(), exitNoDevice},
		{fmt.Errorf("asking: %w", context.Canceled), interrupted, exitInterrupted},
	} {
		if got := (&ui{stderr: io.Discard}).report(tc.ctx, tc.err); got != tc.want {
			t.Errorf("%v: exit code %d, not %d", tc.err, got, tc.want)
		}
	}
}

func TestShortVersion(t *testing.T) {
	for version, want := range map[string]string{
		"v0.0.0-20261125030459-1dfa9093f5b4":         "20261125-1dfa909",
		"v1.2.4-0.20261125030459-1dfa9093f5b4+dirty": "20261125-1dfa909",
		"v1.2.3": "v1.2.3", "1.0.0": "1.0.0", "devel-unknown": "devel-unknown", "": "",
	} {
		if got := shortVersion(version); got != want {
			t.Errorf("%s: %s", version, got)
		}
	}
}

func TestCounts(t *testing.T) {
	for n, want := range map[int]string{0: "0 pictures", 1: "1 picture", 2: "2 pictures"} {
		if got := count(n, "picture"); got != want {
			t.Errorf("%d: %s", n, got)
		}
	}
}

func TestNumbersForPeople(t *testing.T) {
	for n, want := range map[int64]string{0: "0 B", 999: "999 B", 1000: "1.0 kB", 84_300: "84.3 kB", 9_800_000: "9.8 MB", 12e9: "12.0 GB"} {
		if got := size(n); got != want {
			t.Errorf("%d: %s", n, got)
		}
	}
	for d, want := range map[time.Duration]string{
		-time.Second: "0s", 59 * time.Second: "59s", 61 * time.Second: "1m", 3 * time.Hour: "3h", 47 * time.Hour: "47h", 100 * time.Hour: "4d",
	} {
		if got := ago(d); got != want {
			t.Errorf("%v: %s", d, got)
		}
	}
}
