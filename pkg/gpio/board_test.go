package gpio_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/perchcam/perch/pkg/gpio"
	"github.com/perchcam/perch/pkg/gpio/gpiotest"
)

// bench is a board with fakes around it, running in a bubble.
type bench struct {
	*gpio.Board
	t       *testing.T
	lines   *gpiotest.Lines
	devices *gpiotest.Devices
	stop    func() // ends Run and waits for it
}

// run is a board of these sensors and outputs, started and settled. Call it in a bubble.
func run(t *testing.T, sensors, outputs string) *bench {
	t.Helper()
	b := build(t, sensors, outputs, gpiotest.NewLines(), gpiotest.NewDevices())
	b.start()
	return b
}

func build(t *testing.T, sensors, outputs string, lines *gpiotest.Lines, devices *gpiotest.Devices) *bench {
	t.Helper()
	specs, err := gpio.ParseSensors(sensors)
	if err != nil {
		t.Fatal(err)
	}
	outs, err := gpio.ParseOutputs(outputs)
	if err != nil {
		t.Fatal(err)
	}
	board, err := gpio.New(gpio.Config{
		Sensors: specs, Outputs: outs, Lines: lines, Devices: devices, Boot: "boot", Synced: func() bool { return true },
	})
	if err != nil {
		t.Fatal(err)
	}
	return &bench{Board: board, t: t, lines: lines, devices: devices}
}

func (b *bench) start() {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- b.Run(ctx) }()
	stopped := false
	b.stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-done; err != nil {
			b.t.Errorf("Run = %v", err)
		}
	}
	b.t.Cleanup(b.stop)
	synctest.Wait()
}

func (b *bench) watch(o gpio.WatchOptions) *gpio.Watcher {
	b.t.Helper()
	w, err := b.Watch(o)
	if err != nil {
		b.t.Fatal(err)
	}
	return w
}

// want takes the next item, which must be of this type.
func (b *bench) want(w *gpio.Watcher, kind string) gpio.Item {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Hour)
	defer cancel()
	item, err := w.Next(ctx)
	if err != nil {
		b.t.Fatalf("no %s: %v", kind, err)
	}
	if item.Type != kind {
		b.t.Fatalf("got %+v, want a %s", item, kind)
	}
	return item
}

// nothing checks that nothing is to be told now.
func (b *bench) nothing(w *gpio.Watcher) {
	b.t.Helper()
	synctest.Wait()
	ctx, cancel := context.WithTimeout(context.Background(), time.Nanosecond)
	defer cancel()
	if item, err := w.Next(ctx); !errors.Is(err, context.DeadlineExceeded) {
		b.t.Fatalf("got %+v, %v, want nothing", item, err)
	}
}

// press pushes a line and lets it go, n times, slowly enough for the storm guard.
func (b *bench) press(line string, n int) {
	for range n {
		b.lines.Line(line).Push(true)
		time.Sleep(50 * time.Millisecond)
		b.lines.Line(line).Push(false)
		time.Sleep(50 * time.Millisecond)
	}
}

func TestStateFirstThenChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := run(t, "door=gpio:GPIO17,class=door,debounce=0; pir=gpio:GPIO27,class=motion,debounce=0", "")
		w := b.watch(gpio.WatchOptions{})
		for _, name := range []string{"door", "pir"} {
			if it := b.want(w, gpio.TypeState); it.Sensor != name || it.On == nil || *it.On {
				t.Errorf("state of %s: %+v", name, it)
			}
		}
		b.nothing(w)
		b.press("GPIO17", 2)
		for i := range 4 {
			it := b.want(w, gpio.TypeChange)
			on := i%2 == 0
			if it.Sensor != "door" || *it.On != on || *it.Raw != map[bool]int{true: 0, false: 1}[on] || it.Count != uint64(i/2+1) {
				t.Errorf("change %d: %+v", i, it)
			}
			if it.Seq != uint64(i+3) || it.Boot != "boot" || it.V != 1 || !it.Synced || it.Mono == 0 {
				t.Errorf("change %d: %+v", i, it)
			}
			if at := time.Now().Add(time.Duration(-200+50*i) * time.Millisecond); !it.At.Equal(at.Truncate(time.Microsecond)) {
				t.Errorf("change %d is at %v, want %v", i, it.At, at)
			}
		}
		b.nothing(w)
	})
}

func TestNewReportsEveryMistake(t *testing.T) {
	sensors, _ := gpio.ParseSensors("door=gpio:GPIO17; air=iio:bme280")
	outputs, _ := gpio.ParseOutputs("ir=gpio:17")
	_, err := gpio.New(gpio.Config{Sensors: append(sensors, sensors[0]), Outputs: append(outputs, outputs[0])})
	for _, want := range []string{
		`two sensors are named "door"`, `two outputs are named "ir"`, `line GPIO17 is used by "door" and by "ir"`,
		`sensor "door" needs a GPIO line`, `sensor "air" needs a device`, `output "ir" needs a GPIO line`,
	} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("no %q in %v", want, err)
		}
	}
}

func TestNothingConfiguredIsFine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := run(t, "", "")
		if items, err := b.Read(); err != nil || len(items) != 0 {
			t.Errorf("Read = %v, %v", items, err)
		}
		b.stop()
		if _, err := b.watch(gpio.WatchOptions{}).Next(context.Background()); !errors.Is(err, gpio.ErrStopped) {
			t.Errorf("Next = %v", err)
		}
		if err := b.Run(context.Background()); err == nil {
			t.Error("it runs twice")
		}
	})
}

func TestUnknownNames(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := run(t, "door=gpio:GPIO17", "ir=gpio:GPIO22")
		_, read := b.Read("door", "attic")
		_, watch := b.Watch(gpio.WatchOptions{Sensors: []string{"attic"}})
		_, set := b.Set("attic", true, 0)
		for _, err := range []error{read, watch, set} {
			if !errors.Is(err, gpio.ErrUnknown) || !strings.Contains(err.Error(), `"attic"`) {
				t.Errorf("%v", err)
			}
		}
	})
}

// The wire form is kept by a golden text: neighbouring versions of agent, broker and CLI read each other's.
func TestItemJSON(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := run(t, "door=gpio:GPIO17,class=door,debounce=0; air=iio:bme280,every=30s; out=w1:28-3c01d607", "")
		w := b.watch(gpio.WatchOptions{})
		b.devices.Measure("air", gpio.Value{Quantity: "temperature", Value: 21.3700001, Unit: "Cel"}, gpio.Value{Quantity: "humidity", Value: 45.3, Unit: "%RH"})
		time.Sleep(time.Second)
		synctest.Wait()
		b.press("GPIO17", 1)
		mono := regexp.MustCompile(`"mono_ns":[0-9]+`)
		var got []string
		for {
			ctx, cancel := context.WithTimeout(context.Background(), time.Nanosecond)
			item, err := w.Next(ctx)
			cancel()
			if err != nil {
				break
			}
			j, err := json.Marshal(item)
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, mono.ReplaceAllString(string(j), `"mono_ns":1`))
		}
		want := []string{
			`{"v":1,"boot":"boot","seq":1,"sensor":"door","class":"door","type":"state","on":false,"raw":1,"at":"2000-01-01T00:00:00Z","mono_ns":1,"synced":true}`,
			`{"v":1,"boot":"boot","seq":2,"sensor":"air","type":"error","at":"2000-01-01T00:00:00Z","mono_ns":1,"synced":true,"error":{"code":"missing","text":"no iio bme280: file does not exist"}}`,
			`{"v":1,"boot":"boot","seq":3,"sensor":"out","type":"error","at":"2000-01-01T00:00:00Z","mono_ns":1,"synced":true,"error":{"code":"missing","text":"no w1 28-3c01d607: file does not exist"}}`,
			`{"v":1,"boot":"boot","seq":4,"sensor":"door","class":"door","type":"change","on":true,"raw":0,"count":1,"at":"2000-01-01T00:00:01Z","mono_ns":1,"synced":true}`,
			`{"v":1,"boot":"boot","seq":5,"sensor":"door","class":"door","type":"change","on":false,"raw":1,"count":1,"at":"2000-01-01T00:00:01.05Z","mono_ns":1,"synced":true}`,
			`{"v":1,"boot":"boot","seq":3,"sensor":"air","type":"reading","at":"2000-01-01T00:00:01Z","mono_ns":1,"synced":true,"values":[{"q":"temperature","v":21.37,"u":"Cel"},{"q":"humidity","v":45.3,"u":"%RH"}]}`,
		}
		for i := range got[:3] { // the loops started in any order
			got[i] = regexp.MustCompile(`"seq":[0-9]+`).ReplaceAllString(got[i], fmt.Sprintf(`"seq":%d`, i+1))
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Error(d)
		}
		items, err := b.Read("door")
		j, _ := json.Marshal(items[0])
		if want := strings.Replace(want[4], `"change"`, `"state"`, 1); err != nil || mono.ReplaceAllString(string(j), `"mono_ns":1`) != want {
			t.Errorf("Read = %s", j)
		}
	})
}

func TestAMissingDeviceIsAStateAndComesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := build(t, "door=gpio:GPIO17,class=door,debounce=0", "", gpiotest.NewLines(), nil)
		line := b.lines.Line("GPIO17")
		line.Missing()
		b.start()
		w := b.watch(gpio.WatchOptions{})
		if it := b.want(w, gpio.TypeError); it.Error.Code != "missing" || !strings.Contains(it.Error.Text, "GPIO17") || !it.LastOK.IsZero() {
			t.Errorf("%+v", it)
		}
		if info := b.Sensors(); len(info) != 1 || info[0].Error == nil || info[0].Class != "door" {
			t.Errorf("it is not advertised with its error: %+v", info)
		}
		time.Sleep(time.Hour)
		b.nothing(w) // the same error is not told again
		line.Fail(nil)
		b.want(w, gpio.TypeState)
		b.press("GPIO17", 1)
		b.want(w, gpio.TypeChange)
		last := b.want(w, gpio.TypeChange)

		line.Unplug()
		if it := b.want(w, gpio.TypeError); it.Error.Code != "missing" || !it.LastOK.Equal(last.At) {
			t.Errorf("%+v, last ok %v", it, last.At)
		}
		line.Drive(false) // while nobody looks
		line.Fail(nil)
		if it := b.want(w, gpio.TypeState); !*it.On || it.Count != 1 {
			t.Errorf("back with %+v", it)
		}
		if st := b.Stats(); st.Errors != 1 {
			t.Errorf("%+v", st)
		}
	})
}

func TestABusyLineNamesItsHolder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := build(t, "door=gpio:GPIO17", "", gpiotest.NewLines(), nil)
		b.lines.Line("GPIO17").Busy("gpiomon")
		b.start()
		w := b.watch(gpio.WatchOptions{})
		if it := b.want(w, gpio.TypeError); it.Error.Code != "busy" || it.Error.Text != `line GPIO17 is in use by "gpiomon"` {
			t.Errorf("%+v", it.Error)
		}
		b.lines.Line("GPIO17").Busy("")
		b.want(w, gpio.TypeState)
		if c := b.lines.Line("GPIO17").Consumer(); c != "perch:door" {
			t.Errorf("the line's consumer is %q", c)
		}
	})
}

// The watchdog is fed from Alive: it must not call a Pi with a missing device dead, and must not take a stuck loop for alive.
func TestAliveTellsStuckFromMissing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stuck := &stuckSensor{until: make(chan struct{})}
		specs, _ := gpio.ParseSensors("door=gpio:GPIO17; gone=iio:bme280,every=24h; stuck=w1:28-1")
		outputs, _ := gpio.ParseOutputs("ir=gpio:GPIO22")
		lines := gpiotest.NewLines()
		lines.Line("GPIO22").Missing()
		board, err := gpio.New(gpio.Config{Sensors: specs, Outputs: outputs, Lines: lines, Devices: stuck, Boot: "boot"})
		if err != nil {
			t.Fatal(err)
		}
		b := &bench{Board: board, t: t, lines: lines}
		b.start()
		if err := b.Alive(10 * time.Second); err != nil {
			t.Errorf("at start: %v", err)
		}
		time.Sleep(time.Hour)
		err = b.Alive(10 * time.Second)
		if err == nil || !strings.HasPrefix(err.Error(), `"stuck" has stood still for 59m`) || strings.Contains(err.Error(), "\n") {
			t.Errorf("after an hour: %v", err)
		}
		close(stuck.until)
	})
}

// stuckSensor hangs in a read, deaf to its context, as a bus of the kernel may.
type stuckSensor struct{ until chan struct{} }

func (s *stuckSensor) OpenSensor(spec gpio.SensorSpec) (gpio.Sensor, error) {
	if spec.Name == "stuck" {
		return s, nil
	}
	return nil, fs.ErrNotExist
}

func (s *stuckSensor) Read(context.Context) ([]gpio.Value, error) {
	<-s.until
	return nil, io.ErrUnexpectedEOF
}

func (s *stuckSensor) Close() error { return nil }

// A log must not fill up because a device is missing or comes and goes.
func TestALastingFailureIsLoggedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log strings.Builder
		specs, _ := gpio.ParseSensors("door=gpio:GPIO17; air=iio:bme280,every=1s")
		outputs, _ := gpio.ParseOutputs("ir=gpio:GPIO22")
		lines := gpiotest.NewLines()
		board, err := gpio.New(gpio.Config{
			Sensors: specs, Outputs: outputs, Lines: lines, Devices: gpiotest.NewDevices(), Log: slog.New(slog.NewTextHandler(&log, nil)),
		})
		if err != nil {
			t.Fatal(err)
		}
		b := &bench{Board: board, t: t, lines: lines}
		b.start()
		for range 60 {
			lines.Line("GPIO17").Unplug()
			lines.Line("GPIO22").Unplug()
			time.Sleep(40 * time.Second)
			lines.Line("GPIO17").Fail(nil)
			lines.Line("GPIO22").Fail(nil)
			time.Sleep(40 * time.Second)
		}
		b.stop()
		if n := strings.Count(log.String(), "\n"); n < 3 || n > 40 {
			t.Errorf("%d lines in 80 minutes:\n%s", n, log.String())
		}
	})
}
