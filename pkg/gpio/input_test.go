package gpio_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/perchcam/perch/pkg/gpio"
	"github.com/perchcam/perch/pkg/gpio/gpiotest"
)

// Edges the kernel dropped are a gap of exactly that size, and are counted: edges alternate.
func TestEdgesLostInTheKernelAreStatedAndCounted(t *testing.T) {
	for lost := range 12 {
		synctest.Test(t, func(t *testing.T) {
			b := run(t, "door=gpio:GPIO17,debounce=0", "")
			line := b.lines.Line("GPIO17")
			w := b.watch(gpio.WatchOptions{})
			b.want(w, gpio.TypeState)
			line.Push(true)
			b.want(w, gpio.TypeChange)
			level, count := true, uint64(1)
			edge := func() {
				level = !level
				if level {
					count++
				}
				line.Push(level)
			}
			line.Drop(lost)
			for range lost + 1 {
				edge()
			}
			if lost > 0 {
				gap := b.want(w, gpio.TypeGap)
				if gap.Sensor != "door" || gap.Reason != "kernel" || gap.Missed != uint64(lost) || gap.From != 0 {
					t.Errorf("%+v", gap)
				}
			}
			if it := b.want(w, gpio.TypeChange); it.Count != count || *it.On != level {
				t.Errorf("%d lost: %+v, want count %d", lost, it, count)
			}
			if st := b.Stats(); st.MissedKernel != uint64(lost) || st.Edges != uint64(lost+2) {
				t.Errorf("%+v", st)
			}
		})
	}
}

// A reader that has no turn for longer than the kernel's buffer lasts loses edges, and counts them all the same.
func TestAHeldReader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := run(t, "button=gpio:GPIO17,debounce=0,edges=active", "")
		line := b.lines.Line("GPIO17")
		for i := range 2000 { // faster than anybody reads
			line.Push(i%2 == 0)
		}
		time.Sleep(2 * time.Second)
		items, _ := b.Read()
		st := b.Stats()
		if items[0].Count != 1000 || st.Edges != 1000 || st.MissedKernel > 1000-64 {
			t.Errorf("%+v, %+v", items[0], st)
		}
	})
}

func TestHold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := run(t, "pir=gpio:GPIO27,class=motion,debounce=0,hold=10s", "")
		w := b.watch(gpio.WatchOptions{})
		b.want(w, gpio.TypeState)
		began := time.Now()
		for range 3 { // motion for 1 s each 5 s
			b.lines.Line("GPIO27").Push(true)
			time.Sleep(time.Second)
			b.lines.Line("GPIO27").Push(false)
			time.Sleep(4 * time.Second)
		}
		if it := b.want(w, gpio.TypeChange); !*it.On || it.Count != 1 {
			t.Errorf("%+v", it)
		}
		it := b.want(w, gpio.TypeChange)
		if d := time.Since(began); *it.On || it.Count != 3 || d != 21*time.Second {
			t.Errorf("off after %v: %+v", d, it)
		}
		b.nothing(w)
	})
	synctest.Test(t, func(t *testing.T) { // with active edges only, the hold starts at the edge
		b := run(t, "bell=gpio:GPIO27,debounce=0,hold=10s,edges=active", "")
		w := b.watch(gpio.WatchOptions{})
		b.want(w, gpio.TypeState)
		began := time.Now()
		b.press("GPIO27", 2)
		b.want(w, gpio.TypeChange)
		if it := b.want(w, gpio.TypeChange); *it.On || it.Count != 2 || time.Since(began) != 10*time.Second+100*time.Millisecond {
			t.Errorf("off after %v: %+v", time.Since(began), it)
		}
		b.nothing(w)
	})
}

// A pin that floats costs its watchers 50 items a second and one warning; the count stays exact and the last level is always told.
func TestStormGuard(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := run(t, "door=gpio:GPIO17,debounce=0", "")
		w := b.watch(gpio.WatchOptions{})
		b.want(w, gpio.TypeState)
		kinds := map[string]int{}
		var last gpio.Item
		drain := func() {
			synctest.Wait()
			for {
				it, err := w.Next(expired())
				if err != nil {
					return
				}
				kinds[it.Type]++
				last = it
			}
		}
		time.Sleep(time.Second)
		const rate, seconds = 2000, 10
		for i := range rate * seconds {
			b.lines.Line("GPIO17").Push(i%2 == 0)
			time.Sleep(time.Second / rate)
			if i%rate == 0 {
				drain()
			}
		}
		b.lines.Line("GPIO17").Push(true)
		time.Sleep(2 * time.Second)
		drain()
		if kinds[gpio.TypeStorm] != 1 || kinds[gpio.TypeCalm] != 1 || kinds[gpio.TypeChange] > 50*(seconds+1) || kinds[gpio.TypeChange] < 40*seconds || kinds[gpio.TypeGap] != 0 {
			t.Errorf("%v", kinds)
		}
		if last.Type != gpio.TypeCalm || !*last.On || last.Count != rate*seconds/2+1 {
			t.Errorf("the last item is %+v", last)
		}
		if st := b.Stats(); st.Edges != rate*seconds+1 || st.Storms != 1 || st.MissedKernel != 0 {
			t.Errorf("%+v", st)
		}

		// After a calm second the next storm is one more.
		time.Sleep(5 * time.Second)
		for i := range 100 {
			b.lines.Line("GPIO17").Push(i%2 == 1)
			time.Sleep(time.Millisecond)
		}
		time.Sleep(3 * time.Second)
		drain()
		if kinds[gpio.TypeStorm] != 2 || kinds[gpio.TypeCalm] != 2 || last.Type != gpio.TypeCalm || !*last.On {
			t.Errorf("%v, %+v", kinds, last)
		}
	})
}

func TestCount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := run(t, "rain=gpio:GPIO5,count=true,debounce=0,every=5s", "")
		w := b.watch(gpio.WatchOptions{})
		b.want(w, gpio.TypeState)
		began := time.Now()
		b.press("GPIO5", 20) // 2 s
		if it := b.want(w, gpio.TypeReading); it.Count != 20 || it.Class != "counter" || time.Since(began) != 5*time.Second {
			t.Errorf("after %v: %+v", time.Since(began), it)
		}
		b.lines.Line("GPIO5").Drop(7)
		b.press("GPIO5", 8)
		if it := b.want(w, gpio.TypeReading); it.Count != 28 { // lost by the kernel, counted, and no gap
			t.Errorf("%+v", it)
		}
		b.press("GPIO5", 1000) // far beyond the storm guard's and the ring's measure
		time.Sleep(time.Minute)
		if it := b.want(w, gpio.TypeReading); it.Count != 1028 {
			t.Errorf("%+v", it)
		}
		b.nothing(w)
	})
}

// An edge that raised no interrupt is found by asking; two looks must agree, since an edge may be on its way.
func TestALevelThatNoEdgeToldOf(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := run(t, "door=gpio:GPIO17,debounce=0", "")
		w := b.watch(gpio.WatchOptions{})
		b.want(w, gpio.TypeState)
		time.Sleep(5 * time.Second)
		b.lines.Line("GPIO17").Drop(1)
		b.lines.Line("GPIO17").Push(true)
		began := time.Now()
		if it := b.want(w, gpio.TypeChange); !*it.On || it.Count != 1 || time.Since(began) > 2*time.Second {
			t.Errorf("after %v: %+v", time.Since(began), it)
		}
		if st := b.Stats(); st.MissedKernel != 1 {
			t.Errorf("%+v", st)
		}
	})
}

func TestDebounceIsTheLines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := run(t, "door=gpio:GPIO17,debounce=50ms", "")
		w := b.watch(gpio.WatchOptions{})
		b.want(w, gpio.TypeState)
		for range 10 {
			b.lines.Line("GPIO17").Push(true)
			time.Sleep(10 * time.Millisecond)
			b.lines.Line("GPIO17").Push(false)
			time.Sleep(10 * time.Millisecond)
		}
		b.nothing(w)
		b.lines.Line("GPIO17").Push(true)
		b.want(w, gpio.TypeChange)
	})
}

// A clock that is set later moves the stamps of what happened before.
func TestStampsFollowTheClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		synced := false
		specs, _ := gpio.ParseSensors("door=gpio:GPIO17,debounce=0")
		lines := gpiotest.NewLines()
		board, err := gpio.New(gpio.Config{Sensors: specs, Lines: lines, Synced: func() bool { return synced }})
		if err != nil {
			t.Fatal(err)
		}
		b := &bench{Board: board, t: t, lines: lines}
		b.start()
		w := b.watch(gpio.WatchOptions{})
		if it := b.want(w, gpio.TypeState); it.Synced || it.Boot == "" {
			t.Errorf("%+v", it)
		}
		pushed := time.Now()
		lines.Line("GPIO17").Push(true)
		time.Sleep(time.Hour)
		synced = true
		if it := b.want(w, gpio.TypeChange); !it.Synced || !it.At.Equal(pushed) {
			t.Errorf("%+v, pushed at %v", it, pushed)
		}
	})
}
