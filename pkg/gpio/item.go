package gpio

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"syscall"
	"time"
)

// The types of an Item.
const (
	TypeState   = "state"   // how things are: the first item of a sensor, and whenever it has to be stated anew
	TypeChange  = "change"  // an edge
	TypeReading = "reading" // what was measured
	TypeError   = "error"   // the sensor cannot be read, and why
	TypeGap     = "gap"     // items that are lost
	TypeStorm   = "storm"   // more edges than are handed out one by one, until
	TypeCalm    = "calm"    // a second with no more than that
)

// Item is one thing a watcher is told. Its JSON is the wire form of sensors.read and sensors.watch.
type Item struct {
	V      int    `json:"v"` // 1
	Boot   string `json:"boot,omitempty"`
	Seq    uint64 `json:"seq,omitempty"` // of the last change of the board this item knows; see Position
	Sensor string `json:"sensor,omitempty"`
	Class  string `json:"class,omitempty"`
	Type   string `json:"type"`

	On    *bool  `json:"on,omitempty"`  // the logical level, after hold
	Raw   *int   `json:"raw,omitempty"` // the level at the pin, 0 or 1
	Count uint64 `json:"count,omitempty"`

	At     time.Time `json:"at,omitzero"`       // UTC, whole microseconds
	Mono   int64     `json:"mono_ns,omitempty"` // CLOCK_MONOTONIC
	Synced bool      `json:"synced"`            // whether At was worked out from a clock that is set

	Values []Value `json:"values,omitempty"`

	Error  *Fault    `json:"error,omitempty"`
	LastOK time.Time `json:"last_ok,omitzero"`

	// Of a gap. Missed is left out where it cannot be known: after a restart of the agent, or when a watcher of some sensors comes back
	// after more than the ring holds. Reason is "kernel" (edges of Sensor the kernel dropped), "ring" (items that were overwritten
	// before this watcher took them, From to To) or "restart".
	Missed uint64 `json:"missed,omitempty"`
	From   uint64 `json:"from,omitempty"`
	To     uint64 `json:"to,omitempty"`
	Reason string `json:"reason,omitempty"`
}

// Fault says why a sensor or an output cannot be used.
type Fault struct {
	Code string `json:"code"` // missing, busy, denied, timeout, io, unread
	Text string `json:"text"`
	Hint string `json:"hint,omitempty"` // what to do about it
}

func (f *Fault) Error() string { return f.Text }

// Position is where a watcher stood: the boot of the items it got and the highest seq among them.
type Position struct {
	Boot string `json:"boot"`
	Seq  uint64 `json:"seq"`
}

// Hinter is an error that knows what its reader can do about it.
type Hinter interface {
	error
	Hint() string
}

// fault puts an error into the words of the wire.
func fault(err error) *Fault {
	f := &Fault{Code: "io", Text: err.Error()}
	if h, ok := errors.AsType[Hinter](err); ok {
		f.Hint = h.Hint()
	}
	_, busy := errors.AsType[*BusyError](err)
	switch {
	case busy, errors.Is(err, syscall.EBUSY):
		f.Code = "busy"
	case errors.Is(err, fs.ErrPermission):
		f.Code = "denied"
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ENODEV), errors.Is(err, syscall.ENXIO):
		f.Code = "missing"
	case errors.Is(err, syscall.ETIMEDOUT), errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, context.DeadlineExceeded):
		f.Code = "timeout"
	}
	return f
}
