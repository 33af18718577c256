package camera

import (
	"errors"
	"time"
)

// Phase is what a camera is doing.
type Phase string

// The phases of a camera. Busy, Absent and Failed last until the next attempt
// succeeds or nobody looks any more.
const (
	Idle      Phase = "idle"      // nobody looks; nothing is open
	Starting  Phase = "starting"  // opened or being opened, no frame yet
	Streaming Phase = "streaming" // frames come
	Busy      Phase = "busy"      // another program holds it
	Absent    Phase = "absent"    // not plugged in, or its program is not installed
	Stalled   Phase = "stalled"   // frames stopped; it is being opened again
	Failed    Phase = "failed"    // any other error
	Closed    Phase = "closed"    // Run has ended
)

// State is a camera's phase and why.
type State struct {
	Phase Phase
	Since time.Time
	Err   error // why, if the phase is one of trouble
	// What the driver chose, while Streaming; the last known otherwise.
	Mode Mode
}

// phaseOf sorts an error of a Source.
func phaseOf(err error) Phase {
	switch {
	case errors.Is(err, ErrAbsent):
		return Absent
	case errors.Is(err, ErrBusy):
		return Busy
	case errors.Is(err, ErrStalled):
		return Stalled
	}
	return Failed
}

// Stats are a Hub's counters since it was made.
type Stats struct {
	Frames   uint64            // frames that the source yielded
	Lost     uint64            // frames that the camera counted but never yielded
	Copied   uint64            // frames copied because somebody wanted them
	Encoded  uint64            // pictures computed, that is not passed through
	Starts   uint64            // captures begun
	Failures uint64            // captures that ended with an error
	Dropped  map[string]uint64 // frames thrown away, by reason
	Viewers  int               // now
}
