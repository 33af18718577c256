package gpio_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/perchcam/perch/pkg/gpio"
	"github.com/perchcam/perch/pkg/gpio/gpiotest"
)

// expired is a context for taking what is there.
func expired() context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), time.Nanosecond)
	_ = cancel // it ends by itself
	return ctx
}

func (b *bench) set(name string, on bool) gpio.OutputState {
	b.t.Helper()
	st, err := b.Set(name, on, 0)
	if err != nil || st.On != on || st.Error != nil {
		b.t.Errorf("Set(%s, %v) = %+v, %v", name, on, st, err)
	}
	return st
}

func TestOutputs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := run(t, "", "ir=gpio:GPIO22; lock=gpio:GPIO23,active=low,initial=on,safe=on")
		ir, lock := b.lines.Line("GPIO22"), b.lines.Line("GPIO23")
		b.set("ir", true)
		first := b.set("ir", true)
		time.Sleep(time.Minute)
		if again := b.set("ir", true); !again.Since.Equal(first.Since) {
			t.Errorf("on since %v, then since %v", first.Since, again.Since)
		}
		b.set("lock", false)
		b.stop()
		// The first level is the initial one, and the last the safe one.
		if d := cmp.Diff([]bool{false, true, true, true, false}, ir.Levels()); d != "" {
			t.Errorf("ir %s", d)
		}
		if d := cmp.Diff([]bool{false, true, false}, lock.Levels()); d != "" {
			t.Errorf("lock, at the pin %s", d)
		}
		if ir.Consumer() != "" {
			t.Error("the line was not given back")
		}
		if _, err := b.Set("ir", true, 0); !errors.Is(err, gpio.ErrStopped) {
			t.Errorf("after the end: %v", err)
		}
	})
}

func TestMaxOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := run(t, "", "ir=gpio:GPIO22,max_on=60s; heat=gpio:GPIO23,max_on=60s,initial=on")
		ir := b.lines.Line("GPIO22")
		if st := b.set("ir", true); st.Until.Sub(st.Since) != time.Minute {
			t.Errorf("%+v", st)
		}
		time.Sleep(59 * time.Second)
		b.set("ir", true) // anew
		time.Sleep(59 * time.Second)
		if !ir.High() {
			t.Error("off too early")
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if ir.High() || b.Outputs()[0].On || !b.Outputs()[0].Until.IsZero() {
			t.Errorf("on too long: %+v", b.Outputs()[0])
		}
		if b.lines.Line("GPIO23").High() {
			t.Error("an output that starts on has no limit")
		}
		b.set("ir", true)
		b.set("ir", false) // ends the limit, which must not strike later
		b.set("ir", true)
		time.Sleep(59 * time.Second)
		if !ir.High() {
			t.Error("an old limit struck")
		}
	})
}

func TestSetForATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := run(t, "", "ir=gpio:GPIO22,max_on=60s; lamp=gpio:GPIO24; lock=gpio:GPIO23,initial=on,safe=on")
		ir, lamp, lock := b.lines.Line("GPIO22"), b.lines.Line("GPIO24"), b.lines.Line("GPIO23")
		set := func(name string, on bool, span, until time.Duration) {
			t.Helper()
			st, err := b.Set(name, on, span)
			if err != nil || st.On != on || time.Until(st.Until).Round(time.Millisecond) != until {
				t.Errorf("Set(%s, %v, %v) = %+v, %v", name, on, span, st, err)
			}
		}
		set("ir", true, 10*time.Second, 10*time.Second)
		set("lamp", true, time.Hour, time.Hour)
		set("lock", false, 5*time.Second, 5*time.Second)
		time.Sleep(5*time.Second + time.Millisecond)
		if !ir.High() || !lamp.High() || !lock.High() {
			t.Errorf("after 5 s: ir %v, lamp %v, lock %v", ir.High(), lamp.High(), lock.High())
		}
		time.Sleep(5 * time.Second)
		if ir.High() || !b.Outputs()[0].Until.IsZero() {
			t.Errorf("after 10 s: %+v", b.Outputs()[0])
		}
		set("ir", true, 2*time.Minute, time.Minute) // no longer than its owner allows

		// The time goes on while the line is missing.
		lamp.Unplug()
		time.Sleep(time.Minute)
		lamp.Fail(nil)
		time.Sleep(time.Minute)
		if !lamp.High() {
			t.Error("the lamp did not come back on")
		}
		lamp.Unplug()
		time.Sleep(time.Hour)
		lamp.Fail(nil)
		time.Sleep(time.Minute)
		if lamp.High() || b.Outputs()[1].On || !b.Outputs()[1].Until.IsZero() {
			t.Errorf("the lamp came back on after its time: %+v", b.Outputs()[1])
		}

		for name, on := range map[string]bool{"ir": false, "lock": true} {
			_, err := b.Set(name, on, time.Second)
			if _, refused := errors.AsType[gpio.RefusedError](err); !refused {
				t.Errorf("%s: %v", name, err)
			}
		}
	})
}

func TestAnOutputThatIsMissing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := run(t, "", "ir=gpio:GPIO22")
		ir := b.lines.Line("GPIO22")
		b.set("ir", true)
		ir.Unplug()
		if _, err := b.Set("ir", true, 0); !errors.Is(err, syscall.ENODEV) || !strings.Contains(err.Error(), `"ir"`) {
			t.Errorf("Set = %v", err)
		}
		if st := b.Outputs()[0]; st.Error == nil || st.Error.Code != "missing" {
			t.Errorf("%+v", st)
		}
		if _, err := b.Set("ir", false, 0); err == nil {
			t.Error("an output that is missing was set")
		}
		ir.Fail(nil)
		time.Sleep(time.Minute)
		if ir.High() || b.Outputs()[0].Error != nil {
			t.Errorf("off was asked for last, and the pin is %v: %+v", ir.High(), b.Outputs()[0])
		}
		b.set("ir", true)

		// Lost without being used: found by the loop; it comes back as it was.
		ir.Unplug()
		time.Sleep(time.Minute)
		if b.Outputs()[0].Error == nil {
			t.Error("nobody noticed")
		}
		ir.Drive(false)
		ir.Fail(nil)
		time.Sleep(time.Minute)
		if !ir.High() {
			t.Error("it did not come back on")
		}
	})
	synctest.Test(t, func(t *testing.T) { // on is not remembered
		b := build(t, "", "ir=gpio:GPIO22", gpiotest.NewLines(), nil)
		b.lines.Line("GPIO22").Missing()
		b.start()
		if _, err := b.Set("ir", true, 0); err == nil {
			t.Error("an output that is missing was set")
		}
		b.lines.Line("GPIO22").Fail(nil)
		time.Sleep(time.Minute)
		if b.lines.Line("GPIO22").High() {
			t.Error("it went on long after it was asked to")
		}
	})
}

// The time limit holds while the line is away, too.
func TestMaxOnWhileTheLineIsMissing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := run(t, "", "ir=gpio:GPIO22,max_on=20s")
		ir := b.lines.Line("GPIO22")
		b.set("ir", true)
		time.Sleep(time.Second)
		ir.Unplug()
		time.Sleep(time.Minute)
		ir.Fail(nil)
		time.Sleep(time.Minute)
		if ir.High() {
			t.Error("it is on again after its time")
		}
	})
}

func TestViewing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := run(t, "", "live=gpio:GPIO23,show=viewing; ir=gpio:GPIO22")
		live := b.lines.Line("GPIO23")
		if _, err := b.Set("live", true, 0); err == nil || live.High() {
			t.Errorf("it was set by hand: %v", err)
		}
		one, two := b.Viewing(), b.Viewing()
		if !live.High() || b.Outputs()[0].Shows != "viewing" {
			t.Errorf("two watch: %+v", b.Outputs()[0])
		}
		one()
		one()
		if !live.High() {
			t.Error("one watches")
		}
		two()
		if live.High() || b.lines.Line("GPIO22").High() {
			t.Error("nobody watches")
		}
		live.Unplug()
		three := b.Viewing()
		live.Fail(nil)
		time.Sleep(time.Minute)
		if !live.High() {
			t.Error("one watches, since the line was missing")
		}
		three()
		var wg sync.WaitGroup
		for range 50 {
			wg.Go(func() { b.Viewing()() })
		}
		wg.Wait()
		if live.High() {
			t.Error("nobody watches any more")
		}
		b.Viewing()
		b.stop()
		if live.High() {
			t.Error("on at the end")
		}
	})
}

func TestSafeState(t *testing.T) {
	lines := gpiotest.NewLines()
	lines.Line("GPIO24").Busy("someone")
	outputs, _ := gpio.ParseOutputs("ir=gpio:GPIO22,initial=on; lock=gpio:GPIO23,active=low,safe=on; held=gpio:GPIO24; heat=gpio:GPIO25,active=low")
	err := gpio.SafeState(lines, outputs)
	if err == nil || !strings.Contains(err.Error(), `the output "held" may not be safe: line GPIO24 is in use by "someone"`) || strings.Contains(err.Error(), "\n") {
		t.Errorf("%v", err)
	}
	for line, want := range map[string][]bool{"GPIO22": {false}, "GPIO23": {false}, "GPIO24": nil, "GPIO25": {true}} {
		if d := cmp.Diff(want, lines.Line(line).Levels()); d != "" {
			t.Errorf("%s %s", line, d)
		}
	}
	if c := lines.Line("GPIO22").Consumer(); c != "" {
		t.Errorf("the line is held by %q", c)
	}
}
