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
	off   time.Time // when max_on ends; zero = never
	err   error     // why line is nil
}

// OutputState is how an output is.
type OutputState struct {
	Name   string    `json:"name"`
	On     bool      `json:"on"`
	Since  time.Time `json:"since,omitzero"`  // UTC
	OffAt  time.Time `json:"off_at,omitzero"` // when its time limit switches it off
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

// Set puts an output on or off. It may be repeated: each on starts the time limit of the output anew. Off is remembered while the line
// is missing, on is not: nothing switches itself on long after it was asked to.
func (b *Board) Set(name string, on bool) (OutputState, error) {
	for _, o := range b.outputs {
		if o.spec.Name != name {
			continue
		}
		if o.spec.Viewing {
			return OutputState{}, fmt.Errorf("the output %s shows whether anybody watches and cannot be set", quote(name))
		}
		o.mu.Lock()
		defer o.mu.Unlock()
		err := o.set(on)
		return o.state(), err
	}
	return OutputState{}, fmt.Errorf("no output is named %s: %w", quote(name), ErrUnknown)
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
			_ = o.set(b.viewers.Load() > 0) // a failure is the output's state
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
	now := time.Now()
	if !o.off.IsZero() && !now.Before(o.off) {
		o.b.log.Info("an output reached its time limit", "output", o.spec.Name, "max_on", o.spec.MaxOn)
		_ = o.set(false)
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
	if !o.off.IsZero() {
		return min(outputCheck, time.Until(o.off))
	}
	return outputCheck
}

// open takes the line and drives it at once, with no other level between.
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
	o.note(on)
	return nil
}

// set switches the line and starts or ends the time limit.
func (o *output) set(on bool) error {
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
		if !on {
			o.on, o.off = false, time.Time{}
		}
		return fmt.Errorf("the output %s cannot be set: %w", quote(o.spec.Name), o.err)
	}
	o.note(on)
	return nil
}

// note takes down that the line is driven to a level.
func (o *output) note(on bool) {
	if o.on != on || o.since == 0 {
		o.since = o.b.now()
	}
	o.on, o.off = on, time.Time{}
	if on && o.spec.MaxOn > 0 {
		o.off = time.Now().Add(o.spec.MaxOn)
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
		o.note(o.spec.Safe)
		o.line.Close()
	}
	o.line, o.err, o.off = nil, ErrStopped, time.Time{}
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
	if !o.off.IsZero() {
		st.OffAt = o.b.clock.wall(o.b.now() + time.Until(o.off))
	}
	return st
}
