package gpio

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Config is what a Board is made of.
type Config struct {
	Sensors []SensorSpec
	Outputs []OutputSpec

	Lines   Opener  // needed when there are inputs or outputs
	Devices Devices // needed when there are measured sensors

	// Boot tells this run of the agent from every other: sequence numbers start anew with each. So the kernel's boot_id alone will not
	// do. Default: random.
	Boot   string
	Synced func() bool // whether the wall clock is set; default ClockSynced
	Log    *slog.Logger
}

// Errors for decisions.
var (
	ErrUnknown = errors.New("not configured")           // a name that is not in the configuration
	ErrStopped = errors.New("the board is not running") // Run has ended, or not begun
)

// Board is the sensors and outputs of one Pi.
type Board struct {
	boot    string
	lines   Opener
	devices Devices
	log     *slog.Logger

	sensors []*sensor // fixed by New
	outputs []*output // fixed by New
	viewers atomic.Int64

	mu      sync.Mutex // guards the following, and the fields of sensor below its own mark
	clock   clock
	ring    ring
	changed chan struct{} // closed at the next change; nil while nobody waits
	running bool
	stopped bool
	stats   Stats
}

// Stats counts since the start.
type Stats struct {
	Edges        uint64 `json:"edges_total"`
	MissedKernel uint64 `json:"edges_missed_kernel"` // dropped by the kernel, counted all the same
	MissedRing   uint64 `json:"items_missed_ring"`   // overwritten before a watcher took them, over all watchers
	Storms       uint64 `json:"storms"`
	Held         uint64 `json:"items_held_back"` // by the storm guard
	Errors       uint64 `json:"errors"`          // times a sensor went from working to failing
}

// sensor is what the board knows of one sensor.
type sensor struct {
	spec  SensorSpec
	index int
	due   atomic.Int64 // by when its loop turns again, in nanoseconds of Board.clock

	// guarded by Board.mu

	known   bool // something is known: a level, values or an error
	on, raw bool
	count   uint64
	mono    time.Duration
	seq     uint64 // of its last change
	changes uint64 // how many of the ring's entries were its own, ever
	values  []Value
	version uint64 // raised by every reading
	fault   *Fault // nil while it works
	lastOK  time.Duration
}

// New checks the configuration. All mistakes are reported, joined.
func New(c Config) (*Board, error) {
	b := &Board{boot: c.Boot, lines: c.Lines, devices: c.Devices, log: c.Log}
	if b.boot == "" {
		b.boot = rand.Text()
	}
	if b.log == nil {
		b.log = slog.New(slog.DiscardHandler)
	}
	if c.Synced == nil {
		c.Synced = ClockSynced
	}
	b.clock = newClock(c.Synced)

	var errs []error
	lines := map[string]string{}
	claim := func(name, line, chip string) {
		if chip != "" {
			line = chip + "/" + line
		}
		if other, twice := lines[line]; twice {
			errs = append(errs, fmt.Errorf("the line %s is used by %s and by %s", line, quote(other), quote(name)))
		}
		lines[line] = name
	}
	for i, spec := range c.Sensors {
		if slices.ContainsFunc(b.sensors, func(s *sensor) bool { return s.spec.Name == spec.Name }) {
			errs = append(errs, fmt.Errorf("two sensors are named %s", quote(spec.Name)))
		}
		switch {
		case spec.IsInput():
			claim(spec.Name, spec.Address, spec.Chip)
			if c.Lines == nil {
				errs = append(errs, fmt.Errorf("the sensor %s needs a GPIO line, and there is nothing to open one with", quote(spec.Name)))
			}
		case c.Devices == nil:
			errs = append(errs, fmt.Errorf("the sensor %s needs a device, and there is nothing to open one with", quote(spec.Name)))
		}
		b.sensors = append(b.sensors, &sensor{spec: spec, index: i})
	}
	for _, spec := range c.Outputs {
		if slices.ContainsFunc(b.outputs, func(o *output) bool { return o.spec.Name == spec.Name }) {
			errs = append(errs, fmt.Errorf("two outputs are named %s", quote(spec.Name)))
		}
		claim(spec.Name, spec.Line, spec.Chip)
		if c.Lines == nil {
			errs = append(errs, fmt.Errorf("the output %s needs a GPIO line, and there is nothing to open one with", quote(spec.Name)))
		}
		b.outputs = append(b.outputs, newOutput(b, spec))
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return b, nil
}

// Run works until ctx ends and returns nil after its last goroutine. Outputs are then in their safe state and everything is closed.
// A device that is missing is no reason to return.
func (b *Board) Run(ctx context.Context) error {
	b.mu.Lock()
	if b.running || b.stopped {
		b.mu.Unlock()
		return errors.New("a board runs only once")
	}
	b.running = true
	b.mu.Unlock()

	var wg sync.WaitGroup
	for _, o := range b.outputs {
		wg.Go(func() { o.run(ctx) })
	}
	for _, s := range b.sensors {
		if s.spec.IsInput() {
			wg.Go(func() { newInput(b, s).run(ctx) })
		} else {
			wg.Go(func() { newMeter(b, s).run(ctx) })
		}
	}
	<-ctx.Done()
	wg.Wait()

	b.mu.Lock()
	defer b.mu.Unlock()
	b.running, b.stopped = false, true
	b.wake()
	return nil
}

// Read returns how things are, one item per sensor, without touching a device: a request cannot make the Pi work. No names means all.
func (b *Board) Read(names ...string) ([]Item, error) {
	which, err := b.pick(names)
	if err != nil {
		return nil, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	items := make([]Item, 0, len(which))
	for _, i := range which {
		items = append(items, b.stateItem(b.sensors[i]))
	}
	return items, nil
}

// pick turns names into indices, each once, in the order of the configuration.
func (b *Board) pick(names []string) ([]int, error) {
	var which []int
	for _, s := range b.sensors {
		if len(names) == 0 || slices.Contains(names, s.spec.Name) {
			which = append(which, s.index)
		}
	}
	for _, name := range names {
		if !slices.ContainsFunc(b.sensors, func(s *sensor) bool { return s.spec.Name == name }) {
			return nil, fmt.Errorf("no sensor is named %s: %w", quote(name), ErrUnknown)
		}
	}
	return which, nil
}

// SensorInfo is what is advertised of a sensor.
type SensorInfo struct {
	Name  string   `json:"name"`
	Kind  string   `json:"kind"`
	Class string   `json:"class,omitempty"`
	Units []string `json:"units,omitempty"` // known once it was read
	Error *Fault   `json:"error,omitempty"`
}

// Sensors describes the sensors in the order of the configuration; a missing one is among them, with its error.
func (b *Board) Sensors() []SensorInfo {
	b.mu.Lock()
	defer b.mu.Unlock()
	list := make([]SensorInfo, 0, len(b.sensors))
	for _, s := range b.sensors {
		info := SensorInfo{Name: s.spec.Name, Kind: s.spec.Kind, Class: s.spec.Class, Error: s.fault}
		for _, v := range s.values {
			if v.Unit != "" && !slices.Contains(info.Units, v.Unit) {
				info.Units = append(info.Units, v.Unit)
			}
		}
		list = append(list, info)
	}
	return list
}

// Stats returns the counters.
func (b *Board) Stats() Stats {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.stats
}

// Alive returns an error that names every loop that has not turned for grace beyond the time it had announced. A missing device never
// makes a loop stand still: it waits for its next try.
func (b *Board) Alive(grace time.Duration) error {
	now := b.now()
	var errs []error
	stuck := func(name string, due int64) {
		if late := now - time.Duration(due); due != 0 && late > grace {
			errs = append(errs, fmt.Errorf("%s has stood still for %v", quote(name), late.Round(time.Second)))
		}
	}
	for _, s := range b.sensors {
		stuck(s.spec.Name, s.due.Load())
	}
	for _, o := range b.outputs {
		stuck(o.spec.Name, o.due.Load())
	}
	return errors.Join(errs...)
}

// Mono is CLOCK_MONOTONIC now, as the stamps of items have it.
func (b *Board) Mono() time.Duration { return b.now() }

// WallTime is the time of a stamp by the wall clock as it is set now.
func (b *Board) WallTime(mono time.Duration) time.Time { return b.clock.wall(mono) }

func (b *Board) now() time.Duration { return b.clock.now() }

// publish puts a change of a sensor into the ring. Called with mu held.
func (b *Board) publish(s *sensor, kind string, more func(*change)) {
	c := b.ring.push(change{sensor: s.index, kind: kind, on: s.on, raw: s.raw, count: s.count, mono: s.mono, lastOK: s.lastOK, fault: s.fault})
	if more != nil {
		more(c)
	}
	s.seq = c.seq
	s.changes++
	b.wake()
}

// fail makes an error the state of a sensor. An error that was known already is not told again.
func (b *Board) fail(s *sensor, err error) {
	f := fault(err)
	b.mu.Lock()
	defer b.mu.Unlock()
	if s.fault != nil && s.fault.Code == f.Code && s.fault.Text == f.Text {
		return
	}
	if s.known && s.fault == nil {
		b.stats.Errors++
	}
	s.known, s.fault, s.mono = true, f, b.now()
	b.publish(s, TypeError, nil)
}

// reading makes values the state of a measured sensor; quiet ones are not told to watchers.
func (b *Board) reading(s *sensor, values []Value, quiet bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	s.known, s.fault, s.values, s.mono = true, nil, values, b.now()
	s.lastOK, s.seq = s.mono, b.ring.head
	if !quiet {
		s.version++
		b.wake()
	}
}

// wake tells the waiting watchers. Called with mu held.
func (b *Board) wake() {
	if b.changed != nil {
		close(b.changed)
		b.changed = nil
	}
}

// Items are made when they are handed over, with mu held, so that their wall time is right by the clock as it is set then.

func (b *Board) item(kind string, s *sensor, seq uint64, mono time.Duration) Item {
	return Item{
		V: 1, Boot: b.boot, Seq: seq, Sensor: s.spec.Name, Class: s.spec.Class, Type: kind,
		At: b.clock.wall(mono), Mono: int64(mono), Synced: b.clock.isSynced(),
	}
}

func (b *Board) stateItem(s *sensor) Item {
	f := s.fault
	if !s.known {
		f = &Fault{Code: "unread", Text: "not read yet"}
	}
	mono := s.mono
	if mono == 0 {
		mono = b.now()
	}
	if f != nil {
		it := b.item(TypeError, s, s.seq, mono)
		return b.withFault(it, f, s.lastOK)
	}
	it := b.item(TypeState, s, s.seq, mono)
	if s.spec.IsInput() {
		return withLevel(it, s.on, s.raw, s.count)
	}
	it.Values = s.values
	return it
}

func (b *Board) readingItem(s *sensor) Item {
	it := b.stateItem(s)
	if it.Type == TypeState {
		it.Type = TypeReading
	}
	return it
}

func (b *Board) changeItem(c *change) Item {
	it := b.item(c.kind, b.sensors[c.sensor], c.seq, c.mono)
	switch c.kind {
	case TypeError:
		return b.withFault(it, c.fault, c.lastOK)
	case TypeGap:
		it.Missed, it.Reason, it.Count = c.missed, "kernel", c.count
		return it
	}
	return withLevel(it, c.on, c.raw, c.count)
}

func (b *Board) withFault(it Item, f *Fault, lastOK time.Duration) Item {
	it.Error = f
	if lastOK != 0 {
		it.LastOK = b.clock.wall(lastOK)
	}
	return it
}

func withLevel(it Item, on, raw bool, count uint64) Item {
	level := 0
	if raw {
		level = 1
	}
	it.On, it.Raw, it.Count = &on, &level, count
	return it
}
