package gpio

import (
	"context"
	"errors"
	"time"
)

const (
	// checkEvery is how often the level of an input is asked for besides its edges. A chip that was removed did not wake a waiting
	// reader in Linux 6.1; and a loop that turns can be told from one that hangs.
	checkEvery = time.Second

	// stormLimit is how many items a second one input may cause, the storm item and the one at the end of the second included.
	stormLimit  = 50
	stormWindow = time.Second
)

// input is the loop of one input. Everything in it is owned by run, except what s says of itself.
type input struct {
	b     *Board
	s     *sensor
	diary diary

	line  Input
	level bool   // after the last edge
	seq   uint32 // of the last edge
	odd   bool   // the last look found another level, and no edge has come since

	check time.Time // when to ask for the level
	off   time.Time // when the hold ends; zero = no hold runs
	guard storm
	flush time.Time // when a meter's count is to be told; zero = it did not change
}

// storm is the guard against pins that float: it allots the items of each second.
type storm struct {
	window time.Time // when it began
	items  int       // in it
	held   bool      // something was held back in it
	raging bool
}

func newInput(b *Board, s *sensor) *input {
	return &input{b: b, s: s, diary: diary{log: b.log, what: "sensor", name: s.spec.Name}}
}

// config is how an input is to be held.
func (s *SensorSpec) config() InputConfig {
	return InputConfig{
		Line: s.Address, Chip: s.Chip, Consumer: "perch:" + s.Name, Pull: s.Pull,
		ActiveLow: s.ActiveLow, ActiveOnly: s.Edges == EdgesActive, Debounce: s.Debounce,
	}
}

func (in *input) run(ctx context.Context) {
	var retry backoff
	for ctx.Err() == nil {
		in.announce(lastRetry)
		err := in.open()
		if err == nil {
			in.diary.works()
			opened := time.Now()
			err = in.serve(ctx)
			in.line.Close()
			if time.Since(opened) > lastRetry {
				retry.reset()
			}
		}
		if ctx.Err() != nil {
			return
		}
		in.b.fail(in.s, err)
		in.diary.failed(err)
		wait := retry.wait()
		in.announce(wait)
		sleep(ctx, wait)
	}
}

// announce says when the loop turns again at the latest.
func (in *input) announce(d time.Duration) { in.s.due.Store(int64(in.b.now() + d)) }

// open takes the line and states its level.
func (in *input) open() error {
	line, err := in.b.lines.OpenInput(in.s.spec.config())
	if err != nil {
		return err
	}
	level, err := line.Value()
	if err != nil {
		line.Close()
		return err
	}
	in.line, in.level, in.seq, in.odd = line, level, 0, false
	in.check, in.off, in.flush = time.Now().Add(checkEvery), time.Time{}, time.Time{}

	b, s := in.b, in.s
	b.mu.Lock()
	defer b.mu.Unlock()
	s.known, s.fault = true, nil
	in.set(level, level, b.now())
	b.publish(s, TypeState, nil)
	return nil
}

// set puts levels and their stamp into the sensor. Called with the board locked.
func (in *input) set(on, level bool, mono time.Duration) {
	s := in.s
	s.on, s.raw, s.mono, s.lastOK = on, level != s.spec.ActiveLow, mono, mono
}

// serve handles edges until the line is lost or ctx ends.
func (in *input) serve(ctx context.Context) error {
	for {
		until := in.check
		for _, t := range []time.Time{in.off, in.flush, in.guard.ends()} {
			if !t.IsZero() && t.Before(until) {
				until = t
			}
		}
		in.announce(time.Until(until))
		wait, cancel := context.WithDeadline(ctx, until)
		ev, err := in.line.Next(wait)
		cancel()
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err == nil:
			in.edge(ev)
		case !errors.Is(err, context.DeadlineExceeded):
			return err
		}
		if err := in.timers(time.Now()); err != nil {
			return err
		}
	}
}

// timers does what is due.
func (in *input) timers(now time.Time) error {
	due := func(t time.Time) bool { return !t.IsZero() && !now.Before(t) }
	if due(in.off) {
		in.release()
	}
	if due(in.flush) {
		in.flush = time.Time{}
		in.b.mu.Lock()
		in.s.version++
		in.b.wake()
		in.b.mu.Unlock()
	}
	if in.guard.expired(now) {
		in.b.mu.Lock()
		in.turn(now, true)
		in.b.mu.Unlock()
	}
	if due(in.check) {
		in.check = now.Add(checkEvery)
		return in.look()
	}
	return nil
}

// edge counts an edge, and what the kernel dropped before it.
func (in *input) edge(ev Event) {
	b, s := in.b, in.s
	b.mu.Lock()
	defer b.mu.Unlock()
	mono := ev.Mono
	if mono == 0 {
		mono = b.now()
	}
	var missed uint32
	if ev.Seq != 0 {
		missed = ev.Seq - in.seq - 1
		in.seq = ev.Seq
	}
	b.stats.Edges++
	if missed > 0 {
		b.stats.Edges += uint64(missed)
		b.stats.MissedKernel += uint64(missed)
		s.count += in.activeAmong(missed, ev.Active)
		if !s.spec.Count { // a meter has lost nothing: its count is exact
			in.emit(TypeGap, mono, func(c *change) { c.missed = uint64(missed) })
		}
	}
	if ev.Active {
		s.count++
	}
	in.level, in.odd = ev.Active, false
	in.settle(ev.Active, mono)
}

// activeAmong tells how many of n missed edges were active ones, given the edge that came after them: edges alternate, so they are known
// from the last one back. With active edges only, all are.
func (in *input) activeAmong(n uint32, next bool) uint64 {
	switch {
	case in.s.spec.Edges == EdgesActive:
		return uint64(n)
	case next: // the last one missed was inactive
		return uint64(n / 2)
	}
	return uint64(n/2 + n%2)
}

// settle turns an edge into the logical level with hold, and tells it. Called with the board locked.
func (in *input) settle(active bool, mono time.Duration) {
	s := in.s
	was, hold := s.on, s.spec.Hold
	switch {
	case active:
		in.off = time.Time{}
		if hold > 0 && s.spec.Edges == EdgesActive { // no inactive edge will come to start it
			in.off = time.Now().Add(hold)
		}
		in.set(true, true, mono)
		if s.spec.Count {
			in.meter()
		} else if !was || hold == 0 {
			in.emit(TypeChange, mono, nil)
		}
	case hold > 0 && was:
		in.off = time.Now().Add(hold)
		in.set(true, false, mono)
	default:
		in.set(false, false, mono)
		if s.spec.Count {
			in.meter()
		} else if hold == 0 {
			in.emit(TypeChange, mono, nil)
		}
	}
}

// release ends a hold.
func (in *input) release() {
	in.b.mu.Lock()
	defer in.b.mu.Unlock()
	in.off = time.Time{}
	in.set(false, in.level && in.s.spec.Edges == EdgesBoth, in.b.now())
	in.emit(TypeChange, in.s.mono, nil)
}

// meter lets the count be told at the end of the period that runs.
func (in *input) meter() {
	if in.flush.IsZero() {
		in.flush = time.Now().Add(in.s.spec.Every)
	}
}

// look asks for the level. With both edges it must be that of the last edge; if it is not, twice with no edge between, an edge was lost
// below the kernel (an expander that raises no interrupt), and the state is put right.
func (in *input) look() error {
	level, err := in.line.Value()
	if err != nil {
		return err
	}
	b, s := in.b, in.s
	b.mu.Lock()
	defer b.mu.Unlock()
	if s.spec.Edges == EdgesActive {
		in.level = level
		s.raw = level != s.spec.ActiveLow
		if s.spec.Hold == 0 {
			s.on = level
		}
		return nil
	}
	if level == in.level || !in.odd {
		in.odd = level != in.level
		return nil
	}
	b.log.Warn("an edge did not reach the kernel", "sensor", s.spec.Name)
	b.stats.Edges++
	b.stats.MissedKernel++
	in.level, in.odd = level, false
	if level {
		s.count++
	}
	in.settle(level, b.now())
	return nil
}

// emit publishes, if the guard allows it. Called with the board locked.
func (in *input) emit(kind string, mono time.Duration, more func(*change)) {
	g, now := &in.guard, time.Now()
	if g.expired(now) { // while an edge was on its way
		in.turn(now, kind != TypeChange)
	}
	switch {
	case g.items < stormLimit-2:
		g.items++
		in.b.publish(in.s, kind, func(c *change) {
			c.mono = mono
			if more != nil {
				more(c)
			}
		})
	case !g.raging:
		g.raging, g.held = true, true
		in.b.stats.Storms++
		in.b.stats.Held++
		in.b.log.Warn("an input storms", "sensor", in.s.spec.Name, "limit", stormLimit)
		in.b.publish(in.s, TypeStorm, nil)
	default:
		g.held = true
		in.b.stats.Held++
	}
}

// turn begins a window of the guard. What the last one held back ends in a change with the newest level and count, if that is to be told;
// a window that held nothing back ends a storm. Called with the board locked.
func (in *input) turn(now time.Time, tell bool) {
	g := &in.guard
	held, raged := g.held, g.raging
	g.window, g.items, g.held, g.raging = now, 0, false, raged && held
	switch {
	case held && tell:
		g.items++
		in.b.publish(in.s, TypeChange, nil)
	case raged && !held:
		g.items++
		in.b.publish(in.s, TypeCalm, nil)
	}
}

// ends is when the window must be looked at, zero when nothing depends on it.
func (g *storm) ends() time.Time {
	if g.held || g.raging {
		return g.window.Add(stormWindow)
	}
	return time.Time{}
}

func (g *storm) expired(now time.Time) bool { return now.Sub(g.window) >= stormWindow }
