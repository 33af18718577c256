// Package gpio turns what is wired to a Pi into readings, and requests into levels: inputs (doors, motion, buttons, meters), measured
// sensors (temperature, voltage, light) and outputs (lights, relays).
//
// The conversation, in order:
//
//	specs, err := gpio.ParseSensors(os.Getenv("PERCH_SENSORS"))   // every mistake at once
//	board, err := gpio.New(gpio.Config{Sensors: specs, Lines: machine, Devices: devices})
//	go board.Run(ctx)                                             // owns every goroutine, returns after the last
//	w, err := board.Watch(gpio.WatchOptions{})
//	item, err := w.Next(ctx)                                      // one state per sensor, then what changes
//
// What it promises:
//
//   - State first: a watcher gets one state (or error) item per sensor, then changes in the order of their sequence numbers.
//   - Nothing is lost silently. The board keeps the last 1,024 changes in one ring; a watcher is a position in it, so a slow one costs
//     nothing and delays nobody. Who falls behind gets a gap item with the exact number of items lost, and fresh states where the last
//     change of a sensor was among them. Edges the kernel dropped are a gap item too, and are still counted in Count.
//   - Readings of measured sensors conflate: a watcher gets the newest of each sensor, never a queue of old ones.
//   - A missing, busy or failing device is a state, an error item that says why; it is tried again, and no value is invented for it.
//   - A pin that floats is held to 50 items per second; the rest only raises Count, between one storm and one calm item.
//   - Stamps are CLOCK_MONOTONIC, taken by the kernel at the edge. Wall time is worked out when an item is handed over, so an item from
//     before the clock was set carries the right time afterwards; Synced says whether to believe it.
//   - An output never glitches at start, is switched off by its own time limit, and is put into its safe state when Run ends.
//
// The hardware is behind three interfaces: Opener (lines), Devices and Sensor (what is asked for values). Package host has the kernel's
// lines, package sense the sensors, package gpiotest fakes and the contract they all keep.
package gpio

import (
	"context"
	"time"
)

// Opener finds and takes the lines of GPIO chips.
//
// A line is named as its owner names it: by line name ("GPIO17"), by BCM number ("17"), or as "label/offset" where lines have no names;
// chip, when not empty, is the label of the only chip to look on. Errors wrap fs.ErrNotExist for a line that is not there, and are a
// *BusyError when somebody else holds it.
type Opener interface {
	Find(line, chip string) (Place, error)
	OpenInput(InputConfig) (Input, error)
	OpenOutput(OutputConfig) (Output, error)
}

// Place says where a line was found.
type Place struct {
	Label    string // of the chip, "pinctrl-rp1"
	Path     string // of the chip's device node at this moment; the number in it means nothing
	Offset   int    // on the chip
	Name     string // of the line, "" when it has none
	Consumer string // who holds it now, "" when nobody does
}

// Input is a line held as an input. Value and Next may be called by one goroutine while another calls Close; nothing else may overlap.
type Input interface {
	// Value is the logical level now: active-low is already taken into account.
	Value() (bool, error)
	// Next waits for the next edge, or for ctx, whose error it then returns. Edges that happened before the call are kept for it, as
	// many as the kernel holds. Any other error means that the line is lost.
	Next(ctx context.Context) (Event, error)
	Close() error
}

// Output is a line held as an output. Its methods may be called from any goroutine.
type Output interface {
	Value() (bool, error)
	Set(on bool) error
	// Close gives the line back without changing it: what the pin does afterwards is up to the chip.
	Close() error
}

// Event is one edge.
type Event struct {
	Active bool          // the logical level after it
	Mono   time.Duration // CLOCK_MONOTONIC at the edge; 0 when the source has no stamp
	Seq    uint32        // numbers the edges of this line from 1 since it was opened, lost ones included; 0 when not known
}

// InputConfig is how an input is to be held.
type InputConfig struct {
	Line, Chip string
	Consumer   string // shown to others who ask who holds the line, at most 31 bytes
	Pull       Pull
	ActiveLow  bool
	ActiveOnly bool          // only edges to the active level
	Debounce   time.Duration // how long a level must last, 0 = any edge counts
}

// OutputConfig is how an output is to be held.
type OutputConfig struct {
	Line, Chip string
	Consumer   string
	ActiveLow  bool
	Initial    bool // driven from the first moment the line is an output
}

// Pull is the bias of an input.
type Pull uint8

// The biases. PullNone asks for no bias; it does not leave an earlier one in place.
const (
	PullNone Pull = iota
	PullUp
	PullDown
)

// Devices opens measured sensors.
type Devices interface {
	OpenSensor(SensorSpec) (Sensor, error)
}

// Sensor is a device that is asked for its values. One goroutine uses it.
type Sensor interface {
	// Read measures. It may take a second. An error means that the device is opened anew before the next try.
	Read(ctx context.Context) ([]Value, error)
	Close() error
}

// Value is one measured quantity.
type Value struct {
	Quantity string  `json:"q"`           // "temperature"
	Value    float64 `json:"v"`           // finite
	Unit     string  `json:"u,omitempty"` // a SenML name (RFC 8428 §12.1): Cel, %RH, Pa, V, A, W, lx
}

// BusyError is the error for a line that somebody else holds.
type BusyError struct {
	Line     string
	Consumer string // who, as the kernel knows it; may be empty
}

func (e *BusyError) Error() string {
	if e.Consumer == "" {
		return "line " + e.Line + " is in use"
	}
	return "line " + e.Line + " is in use by " + quote(e.Consumer)
}
