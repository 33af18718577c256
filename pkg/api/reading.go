package api

import (
	"fmt"
	"time"
)

// Version is the V of a Reading.
const Version = 1

// Types of a Reading.
const (
	ReadingState  = "state"   // how a sensor is when the watch begins
	ReadingChange = "change"  // a level changed
	ReadingValue  = "reading" // values were measured
	ReadingError  = "error"   // a sensor cannot be read; there is never a value in its place
	ReadingGap    = "gap"     // something is missing; Reason says why
	ReadingStorm  = "storm"   // a level changes too often to be told: only Count goes on
	ReadingCalm   = "calm"    // the storm is over
)

// Reasons of a ReadingGap.
const (
	GapKernel  = "kernel"  // the device's kernel dropped edges of Sensor; they are in Count all the same
	GapRing    = "ring"    // readings From to To were overwritten before this reader took them
	GapRestart = "restart" // the device counts anew; what was before the restart and not taken is gone
)

// Reading is one item of RouteWatch: the state of every sensor first, then what happens, in the order of Seq.
type Reading struct {
	V      int       `json:"v"`
	Type   string    `json:"type"`
	Boot   string    `json:"boot,omitempty"`
	Seq    uint64    `json:"seq,omitempty"` // one count for all sensors of a device, since boot
	Sensor string    `json:"sensor,omitempty"`
	Class  string    `json:"class,omitempty"`
	On     *bool     `json:"on,omitempty"`    // of a level: whether it is active
	Raw    *int      `json:"raw,omitempty"`   // of a level: 0 or 1 at the pin
	Count  *uint64   `json:"count,omitempty"` // of a level: how often it became active since boot
	At     time.Time `json:"at,omitzero"`
	MonoNS int64     `json:"mono_ns,omitempty"` // the device's monotonic clock, of an edge by the kernel's own stamp
	Synced bool      `json:"synced,omitempty"`  // whether the device's clock was set by NTP
	Values []Value   `json:"values,omitempty"`

	Error  *SensorError `json:"error,omitempty"`
	LastOK time.Time    `json:"last_ok,omitzero"`

	Missed uint64 `json:"missed,omitempty"` // of a gap: how many are missing; 0 is not known
	From   uint64 `json:"from,omitempty"`
	To     uint64 `json:"to,omitempty"`
	Reason string `json:"reason,omitempty"`
}

// Value is one measured quantity.
type Value struct {
	Quantity string  `json:"q"` // temperature, humidity, …
	Value    float64 `json:"v"` // neither NaN nor infinite: JSON has no such numbers, and an error says it better
	Unit     string  `json:"u"` // as SenML names it
}

// SensorError says why a sensor cannot be read.
type SensorError struct {
	Code string `json:"code"`           // one word, for programs
	Text string `json:"text"`           // a sentence
	Hint string `json:"hint,omitempty"` // what its owner can do about it
}

// ParseReading reads an item of RouteWatch.
func ParseReading(data []byte) (Reading, error) {
	return unmarshal[Reading](data, MaxReading, "reading")
}

// Encode writes the reading, or says what is wrong with it.
func (r Reading) Encode() ([]byte, error) { return marshal(r, MaxReading, "reading") }

// Check implements Checker. A type that is not known is let through: it may be a later version's.
func (r Reading) Check() error {
	switch r.Type {
	case "":
		return fmt.Errorf(`"type" is missing`)
	case ReadingState, ReadingChange, ReadingValue, ReadingError, ReadingStorm, ReadingCalm:
		if err := CheckName("sensor", r.Sensor); err != nil {
			return err
		}
	case ReadingGap:
		if r.Missed == 0 && r.Reason == "" {
			return fmt.Errorf("a gap says neither how much is missing nor why")
		}
	}
	if r.Type == ReadingError && r.Error == nil {
		return fmt.Errorf(`"error" is missing`)
	}
	return checkText("reason", r.Reason)
}

// Readings is the answer of RouteRead.
type Readings struct {
	Readings List[Reading] `json:"readings"`
}

// OutputState is the answer of RouteSet.
type OutputState struct {
	Output string    `json:"output"`
	On     bool      `json:"on"`
	Until  time.Time `json:"until,omitzero"` // when it returns to its safe state
	At     time.Time `json:"at"`
	Shows  string    `json:"shows,omitempty"` // what it shows, such as viewing: then it cannot be set
	Error  string    `json:"error,omitempty"` // why it is not in use; then On says nothing
}

// Outputs is the answer of RouteOutputs, in the order of the device's configuration.
type Outputs struct {
	Outputs List[OutputState] `json:"outputs"`
}
