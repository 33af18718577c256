package gpio_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

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
