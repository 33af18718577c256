package gpio

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// outputCheck is how often a line that is held is asked whether it is still there.
const outputCheck = 5 * time.Second

// output is one output and its loop.
type output struct {
	b    *Board
	spec OutputSpec
	due  atomic.Int64 // by when its loop turns again
	turn chan struct{}

	mu    sync.Mutex // guards the following; held across ioctls, which do not wait
	diary diary
	line  Output // nil = not held
	on    bool
	since time.Duration
	back  time.Time // when it goes back to its safe level by itself; zero = never
	err   error     // why line is nil
}

// OutputState is how an output is.
type OutputState struct {
	Name   string    `json:"name"`
	On     bool      `json:"on"`
	Since  time.Time `json:"since,omitzero"`  // UTC
	Until  time.Time `json:"until,omitzero"`  // when it goes back to its safe level by itself
	Shows  string    `json:"shows,omitempty"` // "viewing": cannot be set
	Error  *Fault    `json:"error,omitempty"` // then On says nothing
	Synced bool      `json:"synced"`
}

func newOutput(b *Board, spec OutputSpec) *output {
	return &output{
		b: b, spec: spec, on: spec.Initial, turn: make(chan struct{}, 1), err: ErrStopped,
		diary: diary{log: b.log, what: "output", name: spec.Name},
	}
}

// RefusedError says why an output cannot be set as asked, for its owner configured it otherwise.
type RefusedError string

func (e RefusedError) Error() string { return string(e) }

func refuse(format string, args ...any) error { return RefusedError(fmt.Sprintf(format, args...)) }

// Set puts an output on or off, for a time: then it goes back to its safe level by itself. 0 means for as long as the output's own limit
// allows, and so does more than that. It may be repeated: each time the limit starts anew. Off is remembered while the line is missing,
// on is not, and neither is what was asked for a time: nothing switches itself on long after it was asked to.
func (b *Board) Set(name string, on bool, span time.Duration) (OutputState, error) {
	for _, o := range b.outputs {
		if o.spec.Name != name {
			continue
		}
		if o.spec.Viewing {
			return OutputState{}, refuse("the output %s shows whether anybody watches and cannot be set", quote(name))
		}
		if span > 0 && on == o.spec.Safe {
			return OutputState{}, refuse("the output %s cannot be %s for %v: that is its safe state, which has no time limit", quote(name), onOff(on), span)
		}
		o.mu.Lock()
		defer o.mu.Unlock()
		err := o.set(on, span)
		return o.state(), err
	}
	return OutputState{}, fmt.Errorf("no output is named %s: %w", quote(name), ErrUnknown)
}

func onOff(on bool) string {
	if on {
		return "on"
	}
	return "off"
}

// Outputs says how the outputs are, in the order of the configuration.
func (b *Board) Outputs() []OutputState {
	list := make([]OutputState, 0, len(b.outputs))
	for _, o := range b.outputs {
		o.mu.Lock()
		list = append(list, o.state())
		o.mu.Unlock()
	}
	return list
}

// Viewing counts a viewer until end is called, once or more. While there is any, the outputs with show=viewing are on.
func (b *Board) Viewing() (end func()) {
	b.viewersChanged(1)
	var once sync.Once
	return func() { once.Do(func() { b.viewersChanged(-1) }) }
}

func (b *Board) viewersChanged(by int64) {
	n := b.viewers.Add(by)
	if n > 1 || n == 1 && by < 0 {
		return
	}
	for _, o := range b.outputs {
		if o.spec.Viewing {
			o.mu.Lock()
			_ = o.set(b.viewers.Load() > 0, 0) // a failure is the output's state
			o.mu.Unlock()
		}
	}
}

// SafeState drives every output to its safe level and lets it go: for what runs after the agent, when it could not do so itself. All
// errors are joined. What a pin does after that is up to the chip: most Pis make it an input, and the pull of the circuit decides.
func SafeState(lines Opener, outputs []OutputSpec) error {
	var errs []error
	for _, spec := range outputs {
		line, err := lines.OpenOutput(spec.config(spec.Safe))
		if err != nil {
			errs = append(errs, fmt.Errorf("the output %s may not be safe: %w", quote(spec.Name), err))
			continue
		}
		errs = append(errs, line.Close())
	}
	return errors.Join(errs...)
}

func (s *OutputSpec) config(initial bool) OutputConfig {
	return OutputConfig{Line: s.Line, Chip: s.Chip, Consumer: "perch:" + s.Name, ActiveLow: s.ActiveLow, Initial: initial}
}

// run holds the line until ctx ends, and leaves it safe.
func (o *output) run(ctx context.Context) {
	var retry backoff
	for ctx.Err() == nil {
		wait := o.work(&retry)
		o.due.Store(int64(o.b.now() + wait))
		t := time.NewTimer(wait)
		select {
		case <-ctx.Done():
		case <-o.turn:
		case <-t.C:
		}
		t.Stop()
	}
	o.finish()
}

// work does what is due and says how long to wait.
func (o *output) work(retry *backoff) time.Duration {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.back.IsZero() && !time.Now().Before(o.back) {
		_ = o.set(o.spec.Safe, 0)
		o.on, o.back = o.spec.Safe, time.Time{} // also where the line is missing
	}
	if o.line != nil {
		if _, err := o.line.Value(); err != nil {
			o.lost(err)
		}
	}
	if o.line == nil {
		if err := o.open(); err != nil {
			o.err = err
			o.diary.failed(err)
			return retry.wait()
		}
		retry.reset()
	}
	if !o.back.IsZero() {
		return min(outputCheck, time.Until(o.back))
	}
	return outputCheck
}

// open takes the line and drives it at once, with no other level between. A time limit that ran while it was missing runs on.
func (o *output) open() error {
	on := o.on
	if o.spec.Viewing {
		on = o.b.viewers.Load() > 0
	}
	line, err := o.b.lines.OpenOutput(o.spec.config(on))
	if err != nil {
		return err
	}
	o.line, o.err = line, nil
	o.diary.works()
	back := o.back
	o.note(on, 0)
	if !back.IsZero() {
		o.back = back
	}
	return nil
}

// set switches the line and starts or ends the time limit.
func (o *output) set(on bool, span time.Duration) error {
	if o.line != nil {
		if err := o.line.Set(on); err != nil {
			o.lost(err)
		}
		select {
		case o.turn <- struct{}{}: // the loop must know of the new limit, or of the loss
		default:
		}
	}
	if o.line == nil {
		if !on && span == 0 {
			o.on, o.back = false, time.Time{}
		}
		return fmt.Errorf("the output %s cannot be set: %w", quote(o.spec.Name), o.err)
	}
	o.note(on, span)
	return nil
}

// note takes down that the line is driven to a level, for a time or, with 0, for as long as it may be.
func (o *output) note(on bool, span time.Duration) {
	if o.on != on || o.since == 0 {
		o.since = o.b.now()
	}
	if limit := o.spec.MaxOn; on && limit > 0 && (span == 0 || span > limit) {
		span = limit
	}
	o.on, o.back = on, time.Time{}
	if span > 0 {
		o.back = time.Now().Add(span)
	}
}

func (o *output) lost(err error) {
	o.line.Close()
	o.line, o.err = nil, err
	o.diary.failed(err)
}

// finish switches to the safe level first and closes then: a line that was let go may stay as it is.
func (o *output) finish() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.line != nil {
		if err := o.line.Set(o.spec.Safe); err != nil {
			o.b.log.Error("an output may not be safe", "output", o.spec.Name, "error", err)
		}
		o.note(o.spec.Safe, 0)
		o.line.Close()
	}
	o.line, o.err, o.back = nil, ErrStopped, time.Time{}
}

func (o *output) state() OutputState {
	st := OutputState{Name: o.spec.Name, On: o.on}
	if o.spec.Viewing {
		st.Shows = "viewing"
	}
	if o.line == nil {
		st.Error = fault(o.err)
	}
	o.b.mu.Lock()
	defer o.b.mu.Unlock()
	st.Synced = o.b.clock.isSynced()
	if o.since != 0 {
		st.Since = o.b.clock.wall(o.since)
	}
	if !o.back.IsZero() {
		st.Until = o.b.clock.wall(o.b.now() + time.Until(o.back))
	}
	return st
}
