// Package gpiotest has lines and sensors made of memory, and the contract that every gpio.Opener keeps, the kernel's included.
//
// A fake line behaves as the kernel's does: it keeps the last 64 edges nobody has taken and drops the oldest, numbers every edge, honours
// debounce, bias, active-low and the initial level, belongs to one holder at a time, and dies with its chip.
package gpiotest

import (
	"context"
	"fmt"
	"io/fs"
	"sync"
	"syscall"
	"time"

	"github.com/perchcam/perch/pkg/gpio"
)

// fifo is how many edges a line keeps for its reader; package host asks the kernel for as many.
const fifo = 64

// Lines is a gpio.Opener of memory. Any line that is asked for exists.
type Lines struct {
	mu    sync.Mutex
	lines map[string]*Line
}

// NewLines returns an opener whose lines are all at low and held by nobody.
func NewLines() *Lines { return &Lines{lines: map[string]*Line{}} }

// Line returns the outside of a line: what a wire at the pin sees.
func (l *Lines) Line(name string) *Line {
	l.mu.Lock()
	defer l.mu.Unlock()
	line, ok := l.lines[name]
	if !ok {
		line = &Line{name: name, wake: make(chan struct{})}
		l.lines[name] = line
	}
	return line
}

// Find implements gpio.Opener.
func (l *Lines) Find(name, chip string) (gpio.Place, error) {
	line := l.Line(name)
	line.mu.Lock()
	defer line.mu.Unlock()
	if line.err != nil {
		return gpio.Place{}, line.err
	}
	return gpio.Place{Label: "fake", Path: "/dev/gpiochip0", Name: name, Consumer: line.consumer}, nil
}

// OpenInput implements gpio.Opener.
func (l *Lines) OpenInput(c gpio.InputConfig) (gpio.Input, error) {
	line := l.Line(c.Line)
	line.mu.Lock()
	defer line.mu.Unlock()
	if err := line.take(c.Consumer); err != nil {
		return nil, err
	}
	line.in, line.events, line.seq = &c, nil, 0
	if c.Pull != gpio.PullNone && !line.driven {
		line.high = c.Pull == gpio.PullUp
	}
	line.stable = line.high
	return &input{line: line, held: line.held}, nil
}

// OpenOutput implements gpio.Opener.
func (l *Lines) OpenOutput(c gpio.OutputConfig) (gpio.Output, error) {
	line := l.Line(c.Line)
	line.mu.Lock()
	defer line.mu.Unlock()
	if err := line.take(c.Consumer); err != nil {
		return nil, err
	}
	line.out = &c
	line.put(c.Initial)
	return &output{line: line, held: line.held}, nil
}

// Line is the outside of a fake line.
type Line struct {
	name string

	mu       sync.Mutex // guards the following
	high     bool       // the level at the pin
	driven   bool       // by the outside, so that a bias does not matter
	stable   bool       // the level that lasted longer than debounce
	err      error      // the chip is gone
	consumer string
	held     int // numbers the holders; 0 = never held
	in       *gpio.InputConfig
	out      *gpio.OutputConfig
	events   []gpio.Event
	seq      uint32
	drop     int
	bounce   *time.Timer
	levels   []bool
	wake     chan struct{}
}

// Drive puts the pin to a level from outside.
func (l *Line) Drive(high bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.driven, l.high = true, high
	if l.in == nil {
		return
	}
	if l.bounce != nil {
		l.bounce.Stop()
	}
	if l.in.Debounce == 0 {
		l.edge()
		return
	}
	l.bounce = time.AfterFunc(l.in.Debounce, func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.edge()
	})
}

// Push drives the pin to its active level or away from it.
func (l *Line) Push(active bool) {
	l.mu.Lock()
	low := l.in != nil && l.in.ActiveLow
	l.mu.Unlock()
	l.Drive(active != low)
}

// Drop lets the next n edges be lost as the kernel loses them: numbered, and not delivered.
func (l *Line) Drop(n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.drop = n
}

// Fail takes the chip away: everything on the line fails with err until Fail(nil).
func (l *Line) Fail(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.err = err
	if err != nil {
		l.release()
	}
	l.signal()
}

// Unplug is Fail with what the kernel says of a chip that is gone.
func (l *Line) Unplug() { l.Fail(fmt.Errorf("no line %s: %w", l.name, syscall.ENODEV)) }

// Missing is Fail with what an opener says of a line that never was.
func (l *Line) Missing() { l.Fail(fmt.Errorf("no chip has a line %s: %w", l.name, fs.ErrNotExist)) }

// Busy lets somebody else hold the line, until Busy("").
func (l *Line) Busy(consumer string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.consumer = consumer; consumer == "" {
		l.release()
		return
	}
	l.held++
}

// High is the level at the pin.
func (l *Line) High() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.high
}

// Levels are all levels the pin was driven to as an output, in order.
func (l *Line) Levels() []bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]bool(nil), l.levels...)
}

// Consumer is who holds the line.
func (l *Line) Consumer() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.consumer
}

// The rest is called with mu held.

func (l *Line) take(consumer string) error {
	if l.err != nil {
		return l.err
	}
	if l.consumer != "" {
		return &gpio.BusyError{Line: l.name, Consumer: l.consumer}
	}
	if len(consumer) > 31 { // a C string of 32 bytes
		consumer = consumer[:31]
	}
	l.consumer = consumer
	l.held++
	return nil
}

func (l *Line) release() {
	if l.bounce != nil {
		l.bounce.Stop()
	}
	l.consumer, l.in, l.out, l.events, l.bounce = "", nil, nil, nil, nil
	l.held++
	l.signal()
}

func (l *Line) signal() {
	close(l.wake)
	l.wake = make(chan struct{})
}

// edge notes an edge, if the level is another than the last that lasted.
func (l *Line) edge() {
	if l.in == nil || l.high == l.stable {
		return
	}
	l.stable = l.high
	active := l.high != l.in.ActiveLow
	if l.in.ActiveOnly && !active {
		return
	}
	l.seq++
	if l.drop > 0 {
		l.drop--
		return
	}
	l.events = append(l.events, gpio.Event{Active: active, Seq: l.seq})
	if len(l.events) > fifo {
		l.events = l.events[1:]
	}
	l.signal()
}

func (l *Line) put(on bool) {
	l.high = on != l.out.ActiveLow
	l.levels = append(l.levels, l.high)
}

// input is a fake line held as an input.
type input struct {
	line *Line
	held int
}

func (i *input) Value() (bool, error) {
	l := i.line
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.check(i.held); err != nil {
		return false, err
	}
	return l.stable != l.in.ActiveLow, nil
}

func (i *input) Next(ctx context.Context) (gpio.Event, error) {
	l := i.line
	for {
		l.mu.Lock()
		if err := l.check(i.held); err != nil {
			l.mu.Unlock()
			return gpio.Event{}, err
		}
		if len(l.events) > 0 {
			ev := l.events[0]
			l.events = l.events[1:]
			l.mu.Unlock()
			return ev, nil
		}
		wake := l.wake
		l.mu.Unlock()
		select {
		case <-wake:
		case <-ctx.Done():
			return gpio.Event{}, ctx.Err()
		}
	}
}

func (i *input) Close() error { return i.line.close(i.held) }

// output is a fake line held as an output.
type output struct {
	line *Line
	held int
}

func (o *output) Value() (bool, error) {
	l := o.line
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.check(o.held); err != nil {
		return false, err
	}
	return l.high != l.out.ActiveLow, nil
}

func (o *output) Set(on bool) error {
	l := o.line
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.check(o.held); err != nil {
		return err
	}
	l.put(on)
	return nil
}

func (o *output) Close() error { return o.line.close(o.held) }

func (l *Line) check(held int) error {
	switch {
	case l.err != nil:
		return l.err
	case held != l.held:
		return fs.ErrClosed
	}
	return nil
}

func (l *Line) close(held int) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if held != l.held {
		return fs.ErrClosed
	}
	l.release()
	return nil
}
