package api

import (
	"fmt"
	"slices"
	"time"
)

// What a stream does with pictures that its viewer has no room for.
const (
	KeepNewest = "newest" // skip to the newest, and say how many were skipped
	KeepAll    = "all"    // keep them, up to what the device may retain
)

// How a watch of sensors treats changes that its reader has no room for.
const (
	ModeAll    = "all"    // every change, a loss stated as a gap
	ModeLatest = "latest" // the last state of each sensor
)

const (
	maxSide = 16384 // pixels
	maxFPS  = 240
	maxWait = Duration(time.Hour)
)

// Position is a place in a device's sequence of pictures or of readings. Sequence numbers start anew with each boot.
type Position struct {
	Boot string `json:"boot"`
	Seq  uint64 `json:"seq"`
}

func (p *Position) check(field string) error {
	if p != nil && (p.Boot == "" || len(p.Boot) > maxText) {
		return fmt.Errorf("%q needs the boot that the sequence number belongs to", field)
	}
	return nil
}

// SnapshotRequest are the options of RouteSnapshot.
type SnapshotRequest struct {
	Camera  string   `json:"camera,omitempty"`  // "" is the first
	Width   int      `json:"width,omitempty"`   // pixels, clamped to what the camera has; 0 is the camera's own
	Height  int      `json:"height,omitempty"`  // pixels, likewise
	Quality int      `json:"quality,omitempty"` // of the JPEG, 1 to 100; 0 is the device's own
	MaxAge  Duration `json:"max_age,omitempty"` // takes a picture that is no older; 0 takes one that is newer than the request
	Settled bool     `json:"settled,omitempty"` // waits until exposure and colour have settled
}

// Check implements Checker.
func (q SnapshotRequest) Check() error {
	if err := checkPicture(q.Camera, q.Width, q.Height, q.Quality); err != nil {
		return err
	}
	return checkSpan("max_age", q.MaxAge)
}

// StreamRequest are the options of RouteStream.
type StreamRequest struct {
	Camera  string    `json:"camera,omitempty"` // "" is the first
	FPS     float64   `json:"fps,omitempty"`    // pictures per second at most; 0 is the camera's own
	Quality int       `json:"quality,omitempty"`
	Width   int       `json:"width,omitempty"`
	Height  int       `json:"height,omitempty"`
	Format  string    `json:"format,omitempty"` // FormatJPEG (the default) or FormatH264
	Keep    string    `json:"keep,omitempty"`   // KeepNewest (the default) or KeepAll
	From    *Position `json:"from,omitempty"`   // the first picture wanted, to go on after an interruption
	Share   bool      `json:"share,omitempty"`  // one stream from the device for all; the broker reads it as wire.ParamShare
}

// Check implements Checker.
func (q StreamRequest) Check() error {
	if err := checkPicture(q.Camera, q.Width, q.Height, q.Quality); err != nil {
		return err
	}
	switch {
	case q.FPS < 0 || q.FPS > maxFPS:
		return fmt.Errorf(`"fps" is %v: it must be 0 to %d`, q.FPS, maxFPS)
	case q.Share && q.Keep == KeepAll:
		return fmt.Errorf(`"share" gives every viewer the newest picture: it cannot be combined with "keep":"all"`)
	case q.Share && q.From != nil:
		return fmt.Errorf(`"share" gives every viewer the newest picture: it cannot be combined with "from"`)
	}
	if err := checkChoice("format", q.Format, FormatJPEG, FormatH264); err != nil {
		return err
	}
	if err := checkChoice("keep", q.Keep, KeepNewest, KeepAll); err != nil {
		return err
	}
	return q.From.check("from")
}

// ControlRequest is one item that a requester of RouteControl sends: controls to change, by the names that CameraList gives
// them. Without any it asks for the present values.
type ControlRequest struct {
	Camera string           `json:"camera,omitempty"`
	Set    map[string]int64 `json:"set,omitempty"`
}

// Check implements Checker.
func (q ControlRequest) Check() error {
	for name := range q.Set {
		if err := checkText("control", name); err != nil {
			return err
		}
	}
	return checkCamera(q.Camera)
}

// SensorsRequest are the options of RouteRead and RouteWatch.
type SensorsRequest struct {
	Sensors []string  `json:"sensors,omitempty"` // none is all
	After   *Position `json:"after,omitempty"`   // the last reading seen, to go on after an interruption; RouteWatch only
	Mode    string    `json:"mode,omitempty"`    // ModeAll (the default) or ModeLatest; RouteWatch only
}

// Check implements Checker.
func (q SensorsRequest) Check() error {
	for _, name := range q.Sensors {
		if err := CheckName("sensor", name); err != nil {
			return err
		}
	}
	if err := checkChoice("mode", q.Mode, ModeAll, ModeLatest); err != nil {
		return err
	}
	return q.After.check("after")
}

// SetRequest are the options of RouteSet.
type SetRequest struct {
	Output string   `json:"output"`
	On     *bool    `json:"on"`            // there is no default: nothing is switched by an empty request
	For    Duration `json:"for,omitempty"` // returns to the safe state after this; 0 and more than the output's own limit are that limit
}

// Check implements Checker.
func (q SetRequest) Check() error {
	if q.Output == "" {
		return fmt.Errorf(`"output" is missing: name the output to switch`)
	}
	if q.On == nil {
		return fmt.Errorf(`"on" is missing: say true or false`)
	}
	if err := CheckName("output", q.Output); err != nil {
		return err
	}
	return checkSpan("for", q.For)
}

// LogsRequest are the options of RouteLogs.
type LogsRequest struct {
	Lines  int    `json:"lines,omitempty"`  // of the past, at most
	Level  string `json:"level,omitempty"`  // debug, info (the default), warn, error
	Follow bool   `json:"follow,omitempty"` // goes on with new ones
}

// Check implements Checker.
func (q LogsRequest) Check() error {
	if q.Lines < 0 {
		return fmt.Errorf(`"lines" is %d: it must be 0 or more`, q.Lines)
	}
	return checkChoice("level", q.Level, "debug", "info", "warn", "error")
}

// DevicesRequest are the options of RouteDevices and RouteDevicesWatch.
type DevicesRequest struct {
	Device string            `json:"device,omitempty"` // "" is all that the requester may see
	Tags   map[string]string `json:"tags,omitempty"`   // that a device must have
	After  string            `json:"after,omitempty"`  // RouteDevices only: begins behind this name, see Devices.Next
}

const maxTags = 32 // in a request

// Check implements Checker.
func (q DevicesRequest) Check() error {
	for field, name := range map[string]string{"device": q.Device, "after": q.After} {
		if name == "" {
			continue
		}
		if err := CheckName(field, name); err != nil {
			return err
		}
	}
	if len(q.Tags) > maxTags {
		return fmt.Errorf(`"tags" has %d entries, %d are allowed`, len(q.Tags), maxTags)
	}
	for key, value := range q.Tags {
		if err := checkText("tags", key); err != nil {
			return err
		}
		if err := checkText(key, value); err != nil {
			return err
		}
	}
	return nil
}

// Meets reports whether a device has what the request asks for.
func (q DevicesRequest) Meets(d *Device) bool {
	if q.Device != "" && d.Name != q.Device {
		return false
	}
	for key, value := range q.Tags {
		if d.Tags[key] != value {
			return false
		}
	}
	return true
}

// NoOptions is for the routes that have none.
type NoOptions struct{}

// Check implements Checker.
func (NoOptions) Check() error { return nil }

func checkPicture(camera string, width, height, quality int) error {
	switch {
	case width < 0 || width > maxSide:
		return fmt.Errorf(`"width" is %d: it must be 0 to %d pixels`, width, maxSide)
	case height < 0 || height > maxSide:
		return fmt.Errorf(`"height" is %d: it must be 0 to %d pixels`, height, maxSide)
	case quality < 0 || quality > 100:
		return fmt.Errorf(`"quality" is %d: it must be 0 to 100`, quality)
	}
	return checkCamera(camera)
}

func checkCamera(name string) error {
	if name == "" {
		return nil
	}
	return CheckName("camera", name)
}

func checkSpan(field string, d Duration) error {
	if d < 0 || d > maxWait {
		return fmt.Errorf("%q is %v: it must be 0 to %v", field, d, maxWait)
	}
	return nil
}

func checkChoice(field, value string, choices ...string) error {
	if value == "" || slices.Contains(choices, value) {
		return nil
	}
	return fmt.Errorf("%q is %q: it must be one of %q", field, value, choices)
}
