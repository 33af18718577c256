package gpio_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/perchcam/perch/pkg/gpio"
	"github.com/perchcam/perch/pkg/gpio/gpiotest"
)

const two = "door=gpio:GPIO17,class=door,debounce=0; hatch=gpio:GPIO27,class=door,debounce=0"

// A watcher that takes nothing costs nothing and is told exactly what it has missed; the others notice nothing.
func TestASlowWatcherIsToldWhatItMissed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := run(t, two, "")
		slow, hatch := b.watch(gpio.WatchOptions{}), b.watch(gpio.WatchOptions{Sensors: []string{"hatch"}})
		for range 2 {
			b.want(slow, gpio.TypeState)
		}
		b.want(hatch, gpio.TypeState)
		b.press("GPIO27", 1) // seq 3 and 4, then 2,000 changes of the door
		b.press("GPIO17", 1000)

		gap := b.want(slow, gpio.TypeGap)
		const head, ring = 2004, 1024
		if gap.Missed != head-2-ring || gap.From != 3 || gap.To != head-ring || gap.Reason != "ring" || gap.Boot != "boot" {
			t.Errorf("%+v", gap)
		}
		// The door's last change is still there and will come; the hatch's is not, so it is told anew, before.
		if it := b.want(slow, gpio.TypeState); it.Sensor != "hatch" || it.Seq != 4 || it.Count != 1 {
			t.Errorf("%+v", it)
		}
		for seq := uint64(head - ring + 1); seq <= head; seq++ {
			if it := b.want(slow, gpio.TypeChange); it.Seq != seq || it.Sensor != "door" {
				t.Fatalf("%+v, want seq %d", it, seq)
			}
		}
		b.nothing(slow)

		if gap := b.want(hatch, gpio.TypeGap); gap.Missed != 2 {
			t.Errorf("of its own sensor it has missed 2: %+v", gap)
		}
		b.want(hatch, gpio.TypeState)
		b.nothing(hatch)
		if st := b.Stats(); st.MissedRing != gap.Missed+2 || st.Edges != 2002 {
			t.Errorf("%+v", st)
		}

		b.press("GPIO17", 600) // only the door: the hatch's watcher has missed nothing
		b.nothing(hatch)
	})
}

func TestAWatcherComesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := run(t, two+"; air=iio:bme280,every=10s", "")
		b.devices.Measure("air", gpio.Value{Quantity: "temperature", Value: 1, Unit: "Cel"})
		time.Sleep(10 * time.Second)
		w := b.watch(gpio.WatchOptions{})
		for range 3 {
			b.want(w, gpio.TypeState)
		}
		b.press("GPIO17", 1)
		after := b.want(w, gpio.TypeChange)
		pos := gpio.Position{Boot: after.Boot, Seq: after.Seq}
		b.press("GPIO27", 1)

		// What came since follows, without a state, and the reading, which has no history.
		again := b.watch(gpio.WatchOptions{After: &pos})
		for i := range uint64(3) {
			if it := b.want(again, gpio.TypeChange); it.Seq != pos.Seq+1+i {
				t.Errorf("%+v", it)
			}
		}
		if it := b.want(again, gpio.TypeReading); it.Sensor != "air" {
			t.Errorf("%+v", it)
		}

		// Back for one sensor only.
		hatch := b.watch(gpio.WatchOptions{Sensors: []string{"hatch"}, After: &pos})
		for range 2 {
			if it := b.want(hatch, gpio.TypeChange); it.Sensor != "hatch" {
				t.Errorf("%+v", it)
			}
		}
		b.nothing(hatch)

		// Too late: the gap is exact for all sensors, and of unknown size for some.
		b.press("GPIO17", 1000)
		head, _ := b.Read("door")
		lost := head[0].Seq - 1024 - pos.Seq
		late := b.watch(gpio.WatchOptions{After: &pos})
		if gap := b.want(late, gpio.TypeGap); gap.Missed != lost || gap.From != pos.Seq+1 || gap.To != pos.Seq+lost {
			t.Errorf("%+v, want %d missed", gap, lost)
		}
		if it := b.want(late, gpio.TypeState); it.Sensor != "hatch" {
			t.Errorf("%+v", it)
		}
		if it := b.want(late, gpio.TypeState); it.Sensor != "air" {
			t.Errorf("%+v", it)
		}
		if it := b.want(late, gpio.TypeChange); it.Seq != pos.Seq+lost+1 {
			t.Errorf("%+v", it)
		}
		part := b.watch(gpio.WatchOptions{Sensors: []string{"hatch"}, After: &pos})
		if gap := b.want(part, gpio.TypeGap); gap.Missed != 0 || gap.To != pos.Seq+lost {
			t.Errorf("%+v", gap)
		}
		b.want(part, gpio.TypeState)
		b.nothing(part)

		// Another boot, or a number that never was: everything anew.
		for _, p := range []gpio.Position{{Boot: "other", Seq: 1}, {Boot: "boot", Seq: head[0].Seq + 1}, {}} {
			w := b.watch(gpio.WatchOptions{After: &p})
			if gap := b.want(w, gpio.TypeGap); gap.Reason != "restart" || gap.Missed != 0 {
				t.Errorf("%+v", gap)
			}
			for range 3 {
				b.want(w, gpio.TypeState)
			}
			b.nothing(w)
		}
		b.nothing(b.watch(gpio.WatchOptions{Sensors: []string{"door"}, After: &gpio.Position{Boot: "boot", Seq: head[0].Seq}}))
	})
}

// What a watcher is told adds up whatever the pace: every number once, as an item or within a gap.
func TestNumbersAddUpUnderAnyPace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := run(t, two, "")
		var wg sync.WaitGroup
		ctx, cancel := context.WithCancel(context.Background())
		for i, pause := range []time.Duration{0, 10 * time.Millisecond, 60 * time.Millisecond, 30 * time.Second} {
			w := b.watch(gpio.WatchOptions{})
			wg.Go(func() {
				pos, count := uint64(2), map[string]uint64{}
				for {
					item, err := w.Next(ctx)
					if err != nil {
						break
					}
					switch item.Type {
					case gpio.TypeChange:
						if item.Seq != pos+1 {
							t.Errorf("watcher %d: %d follows %d", i, item.Seq, pos)
						}
						pos = item.Seq
						count[item.Sensor] = item.Count
					case gpio.TypeGap:
						if item.From != pos+1 || item.Missed != item.To-item.From+1 {
							t.Errorf("watcher %d: %+v after %d", i, item, pos)
						}
						pos = item.To
					case gpio.TypeState:
						if item.Seq > pos {
							t.Errorf("watcher %d: state %d before change %d", i, item.Seq, pos)
						}
						count[item.Sensor] = item.Count
					}
					time.Sleep(pause)
				}
				if pause < time.Second && (pos != 4802 || count["door"] != 1200 || count["hatch"] != 1200) {
					t.Errorf("watcher %d ended at %d with %v", i, pos, count)
				}
			})
		}
		for range 1200 {
			b.press("GPIO17", 1)
			b.press("GPIO27", 1)
		}
		time.Sleep(10 * time.Minute)
		cancel()
		wg.Wait()
	})
}

func TestReadingsConflate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := build(t, "air=iio:bme280,every=1s,digits=1; out=w1:28-1,every=1s", "", gpiotest.NewLines(), gpiotest.NewDevices())
		temperature := func(name string, v float64) {
			b.devices.Measure(name, gpio.Value{Quantity: "temperature", Value: v, Unit: "Cel"})
		}
		temperature("air", 20.04)
		temperature("out", -1.25)
		b.start()
		w := b.watch(gpio.WatchOptions{})
		if it := b.want(w, gpio.TypeState); it.Sensor != "air" || it.Values[0].Value != 20 {
			t.Errorf("%+v", it)
		}
		if it := b.want(w, gpio.TypeState); it.Sensor != "out" || it.Values[0].Value != -1.25 {
			t.Errorf("%+v", it)
		}
		for v := range 100 {
			temperature("air", float64(v))
			time.Sleep(time.Second)
			synctest.Wait()
		}
		if it := b.want(w, gpio.TypeReading); it.Values[0].Value != 99 {
			t.Errorf("not the newest: %+v", it)
		}
		b.want(w, gpio.TypeReading) // out
		b.nothing(w)

		// An error is told in its place, and the reading before it is not told after it.
		time.Sleep(time.Second)
		b.devices.Fail("air", errors.New("bus error"))
		time.Sleep(5 * time.Second)
		if it := b.want(w, gpio.TypeError); it.Sensor != "air" || it.Error.Text != "bus error" || it.LastOK.IsZero() {
			t.Errorf("%+v", it)
		}
		if it := b.want(w, gpio.TypeReading); it.Sensor != "out" {
			t.Errorf("%+v", it)
		}
		temperature("air", 5)
		for {
			if it := b.want(w, gpio.TypeReading); it.Sensor == "air" {
				if it.Values[0].Value != 5 {
					t.Errorf("%+v", it)
				}
				break
			}
		}
	})
}

func TestLatestConflatesChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := run(t, two+"; rain=gpio:5,count=true,debounce=0", "")
		w := b.watch(gpio.WatchOptions{Latest: true})
		for range 3 {
			b.want(w, gpio.TypeState)
		}
		b.press("GPIO17", 2000)
		b.press("GPIO27", 1)
		b.lines.Line("GPIO27").Push(true)
		synctest.Wait()
		if it := b.want(w, gpio.TypeChange); it.Sensor != "door" || *it.On || it.Count != 2000 {
			t.Errorf("%+v", it)
		}
		if it := b.want(w, gpio.TypeChange); it.Sensor != "hatch" || !*it.On || it.Count != 2 {
			t.Errorf("%+v", it)
		}
		b.nothing(w)
		b.press("GPIO5", 3)
		if it := b.want(w, gpio.TypeReading); it.Sensor != "rain" {
			t.Errorf("%+v", it)
		}
		b.lines.Line("GPIO17").Unplug()
		if it := b.want(w, gpio.TypeError); it.Sensor != "door" {
			t.Errorf("%+v", it)
		}
	})
}

func TestNextHonoursItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := run(t, "door=gpio:GPIO17", "")
		w := b.watch(gpio.WatchOptions{})
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		if it, err := w.Next(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("%+v, %v", it, err)
		}
		b.want(w, gpio.TypeState)
		ctx, cancel = context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if it, err := w.Next(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%+v, %v", it, err)
		}
		go func() {
			time.Sleep(time.Second)
			b.stop()
		}()
		if it, err := w.Next(context.Background()); !errors.Is(err, gpio.ErrStopped) {
			t.Errorf("%+v, %v", it, err)
		}
		synctest.Wait()
	})
}

// A watcher must not be able to make the board remember more than a state per sensor, however slowly it takes.
func TestASlowWatcherStaysSmall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var sensors strings.Builder
		for i := range 20 {
			fmt.Fprintf(&sensors, "s%d=gpio:%d,debounce=0;", i, i)
		}
		b := run(t, sensors.String(), "")
		w := b.watch(gpio.WatchOptions{})
		for round := range 8 {
			for i := range 20 {
				b.press(fmt.Sprintf("GPIO%d", i), 1)
			}
			b.press("GPIO0", 530)
			if _, err := w.Next(context.Background()); err != nil {
				t.Fatal(round, err)
			}
		}
		states := 0
		for {
			ctx, cancel := context.WithTimeout(context.Background(), time.Nanosecond)
			it, err := w.Next(ctx)
			cancel()
			if err != nil {
				break
			}
			if it.Type == gpio.TypeState {
				states++
			}
		}
		if states > 40 {
			t.Errorf("%d states were kept for 20 sensors", states)
		}
	})
}
