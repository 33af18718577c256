package gpiotest

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/perchcam/perch/pkg/gpio"
)

// Rig is an opener together with what is outside of its lines.
type Rig interface {
	gpio.Opener
	// Drive puts a pin to a level from outside, and returns when the opener's side has seen it.
	Drive(line string, high bool)
	// High is the level at a pin.
	High(line string) bool
	// Unplug takes the chip of a line away, Plug brings it back.
	Unplug(line string)
	Plug(line string)
}

// Check is one clause of the contract.
type Check struct {
	Name string
	Run  func(*testing.T)
}

// Contract returns the checks that an opener keeps what the board builds on. The lines a and b are on one chip and free.
func Contract(rig Rig, a, b string) []Check {
	var list []Check
	add := func(name string, run func(*testing.T)) { list = append(list, Check{name, run}) }
	open := func(t *testing.T, c gpio.InputConfig) gpio.Input {
		t.Helper()
		in, err := rig.OpenInput(c)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { in.Close() })
		return in
	}
	out := func(t *testing.T, c gpio.OutputConfig) gpio.Output {
		t.Helper()
		o, err := rig.OpenOutput(c)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { o.Close() })
		return o
	}

	add("edges in order, numbered, stamped", func(t *testing.T) {
		rig.Drive(a, false)
		in := open(t, gpio.InputConfig{Line: a, Consumer: "perch:a"})
		var last time.Duration
		for i := range 6 {
			rig.Drive(a, i%2 == 0)
			ev := next(t, in)
			if ev.Active != (i%2 == 0) || ev.Seq != uint32(i+1) {
				t.Errorf("edge %d: %+v", i, ev)
			}
			if ev.Mono < last {
				t.Errorf("edge %d is stamped %v, before the last one %v", i, ev.Mono, last)
			}
			last = ev.Mono
			if v, err := in.Value(); err != nil || v != (i%2 == 0) {
				t.Errorf("Value = %v, %v", v, err)
			}
		}
		none(t, in)
	})
	add("edges wait for the reader, the oldest go first, none go unnumbered", func(t *testing.T) {
		rig.Drive(a, false)
		in := open(t, gpio.InputConfig{Line: a, Consumer: "perch:a"})
		const edges = 101
		for i := range edges {
			rig.Drive(a, i%2 == 0)
		}
		var seq, got, missed uint32
		for seq < edges {
			ev := next(t, in)
			missed += ev.Seq - seq - 1
			seq = ev.Seq
			got++
			if ev.Active != (ev.Seq%2 == 1) {
				t.Errorf("edge %d has the wrong level", ev.Seq)
			}
		}
		if got+missed != edges || got < fifo || missed == 0 {
			t.Errorf("%d edges delivered and %d missed, of %d", got, missed, edges)
		}
		none(t, in)
	})
	add("active low", func(t *testing.T) {
		rig.Drive(a, true)
		in := open(t, gpio.InputConfig{Line: a, Consumer: "perch:a", ActiveLow: true})
		if v, err := in.Value(); v || err != nil {
			t.Errorf("a high pin is %v, %v", v, err)
		}
		rig.Drive(a, false)
		if ev := next(t, in); !ev.Active {
			t.Error("the falling edge is not the active one")
		}
	})
	add("active edges only", func(t *testing.T) {
		rig.Drive(a, true)
		in := open(t, gpio.InputConfig{Line: a, Consumer: "perch:a", ActiveLow: true, ActiveOnly: true})
		for i := range 4 {
			rig.Drive(a, i%2 == 1)
		}
		for i := range 2 {
			if ev := next(t, in); !ev.Active || ev.Seq != uint32(i+1) {
				t.Errorf("edge %d: %+v", i, ev)
			}
		}
		none(t, in)
	})
	add("bias", func(t *testing.T) {
		for _, up := range []bool{true, false, true} {
			c := gpio.InputConfig{Line: b, Consumer: "perch:b", Pull: gpio.PullDown}
			if up {
				c.Pull = gpio.PullUp
			}
			in := open(t, c)
			if v, err := in.Value(); v != up || err != nil {
				t.Errorf("a line that is not connected, pulled up %v, is %v, %v", up, v, err)
			}
			in.Close()
		}
	})
	add("debounce", func(t *testing.T) {
		rig.Drive(a, false)
		in := open(t, gpio.InputConfig{Line: a, Consumer: "perch:a", Debounce: 300 * time.Millisecond})
		rig.Drive(a, true)
		rig.Drive(a, false)
		rig.Drive(a, true)
		if ev := next(t, in); !ev.Active || ev.Seq != 1 {
			t.Errorf("a bouncing contact gave %+v", ev)
		}
		none(t, in)
	})
	add("a line has one holder, who is named", func(t *testing.T) {
		in := open(t, gpio.InputConfig{Line: a, Consumer: "perch:door"})
		if p, err := rig.Find(a, ""); err != nil || p.Consumer != "perch:door" {
			t.Errorf("Find = %+v, %v", p, err)
		}
		_, err := rig.OpenOutput(gpio.OutputConfig{Line: a, Consumer: "perch:other"})
		if busy, ok := errors.AsType[*gpio.BusyError](err); !ok || busy.Consumer != "perch:door" {
			t.Errorf("opening a held line: %v", err)
		}
		if err := in.Close(); err != nil {
			t.Error(err)
		}
		open(t, gpio.InputConfig{Line: a, Consumer: strings.Repeat("long", 20)})
	})
	add("Next gives up with its context, and edges are kept", func(t *testing.T) {
		rig.Drive(a, false)
		in := open(t, gpio.InputConfig{Line: a, Consumer: "perch:a"})
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := in.Next(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("cancelled before: %v", err)
		}
		none(t, in)
		ctx, cancel = context.WithCancel(t.Context())
		time.AfterFunc(50*time.Millisecond, cancel)
		if _, err := in.Next(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("cancelled while waiting: %v", err)
		}
		rig.Drive(a, true)
		if ev := next(t, in); !ev.Active || ev.Seq != 1 {
			t.Errorf("the edge after: %+v", ev)
		}
	})
	add("Close ends a waiting Next", func(t *testing.T) {
		in := open(t, gpio.InputConfig{Line: a, Consumer: "perch:a"})
		time.AfterFunc(50*time.Millisecond, func() { in.Close() })
		if _, err := in.Next(t.Context()); err == nil {
			t.Error("an edge from a closed line")
		}
		if _, err := in.Value(); err == nil {
			t.Error("a value from a closed line")
		}
	})
	add("outputs", func(t *testing.T) {
		for _, low := range []bool{false, true} {
			o := out(t, gpio.OutputConfig{Line: b, Consumer: "perch:b", Initial: true, ActiveLow: low})
			if rig.High(b) == low {
				t.Errorf("active low %v: not on from the start", low)
			}
			for _, on := range []bool{false, true, true, false} {
				if err := o.Set(on); err != nil {
					t.Fatal(err)
				}
				if v, err := o.Value(); v != on || err != nil || rig.High(b) == (on == low) {
					t.Errorf("active low %v, Set(%v): Value = %v, %v; pin high %v", low, on, v, err, rig.High(b))
				}
			}
			if err := o.Close(); err != nil {
				t.Error(err)
			}
			if err := o.Set(true); err == nil {
				t.Error("a closed output was set")
			}
		}
	})
	add("a chip that goes takes its lines along, and one that comes back has them", func(t *testing.T) {
		in := open(t, gpio.InputConfig{Line: a, Consumer: "perch:a"})
		o := out(t, gpio.OutputConfig{Line: b, Consumer: "perch:b"})
		rig.Unplug(a)
		if _, err := in.Value(); err == nil {
			t.Error("a value from a chip that is gone")
		}
		if err := o.Set(true); err == nil {
			t.Error("an output of a chip that is gone was set")
		}
		if _, err := rig.OpenInput(gpio.InputConfig{Line: a, Consumer: "perch:a"}); err == nil {
			t.Error("a line of a chip that is gone was opened")
		}
		in.Close()
		o.Close()
		rig.Plug(a)
		rig.Drive(a, false)
		in = open(t, gpio.InputConfig{Line: a, Consumer: "perch:a"})
		rig.Drive(a, true)
		if ev := next(t, in); !ev.Active || ev.Seq != 1 {
			t.Errorf("the first edge after: %+v", ev)
		}
	})
	return list
}

func next(t *testing.T, in gpio.Input) gpio.Event {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	ev, err := in.Next(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return ev
}

func none(t *testing.T, in gpio.Input) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if ev, err := in.Next(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("one more edge %+v, %v", ev, err)
	}
}
