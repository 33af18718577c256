// Package camera turns cameras into pictures.
//
// Frames go one way: a [Source] (a V4L2 node, a rpicam-vid child, a folder of
// files, a test pattern) yields frames; the [Hub], one for each camera, runs
// the Source only while somebody looks and shares each frame among all who
// look; a [Viewer] takes pictures from the Hub at its own pace.
//
// The order of calls: NewHub, then Run in a goroutine of its own; View or
// Snapshot from any goroutine at any time, before Run too. Every Viewer is closed.
//
// What a Hub promises:
//   - The sensor runs from the first viewer until the linger time after the
//     last one; in between nothing is open, nothing is held, no timer runs.
//   - One capture and one copy of a frame, however many look. A picture size
//     is made once per frame, in the goroutine of the first viewer that asks.
//   - Next gives the newest picture not yet seen. Nothing is queued, so a slow
//     viewer gets fewer pictures, never older ones, and delays nobody. Only who
//     asks for all of them gets those that waited, within a bound for all viewers.
//   - Picture.Seq rises by one for each frame of the camera, over restarts
//     too. For one viewer, Seq = previous Seq + 1 + Skipped, always.
//   - A camera that is missing, busy, stalled or broken is a [State]: logged
//     once, retried with back-off, and woken at once when it is plugged in.
//
// Who owns the bytes: Frame.Data belongs to the Source and is valid only
// inside its iteration. Picture.Data belongs to nobody: it is shared by all
// viewers and must not be written.
package camera

import (
	"context"
	"errors"
	"iter"
	"time"
)

// Sentinels for decisions; a Source wraps one of them where it applies.
var (
	// ErrAbsent: the device is not there (unplugged, no such file, no such program).
	ErrAbsent = errors.New("the camera is not there")
	// ErrBusy: another process holds the camera.
	ErrBusy = errors.New("the camera is in use by another program")
	// ErrDenied: this process may not open the camera.
	ErrDenied = errors.New("no permission to open the camera")
	// ErrStalled: the camera is open but frames stopped coming.
	ErrStalled = errors.New("the camera stopped sending frames")
	// ErrUnsupported: the camera, or this build, cannot do what was asked; trying again will not help.
	ErrUnsupported = errors.New("not supported")
	// ErrTooMany: a limit of the Hub; try again with less.
	ErrTooMany = errors.New("too many different pictures at once")
	// ErrClosed: the Hub or the Viewer has ended.
	ErrClosed = errors.New("the camera is closed")
)

// Frame is one frame of a camera as the Source gave it. It is valid only
// inside the iteration that yielded it.
type Frame struct {
	Seq    uint64        // the source's own count in this run; a gap means frames lost below us
	Mono   time.Duration // CLOCK_MONOTONIC when the frame was taken, as near as the source knows
	Format Format
	Width  int
	Height int
	Stride int           // bytes per row of the first plane; 0 means packed or compressed
	Period time.Duration // time between frames as the driver chose it; 0 if unknown
	Color  Color         // of a raw frame
	Data   []byte
}

// Color says what the numbers of a raw frame mean. The zero value is what a
// JPEG has: the full range, by Rec. 601.
type Color struct {
	Limited bool // luma is 16 … 235, chroma 16 … 240
	Rec709  bool // made of red, green and blue by Rec. 709, as high definition is
}

// Want says what a capture should look like. Zero values leave the choice to
// the source; the nearest that the camera can do is taken, and every Frame
// says what that was.
type Want struct {
	Width, Height int
	FPS           float64
	Format        Format
	// Dropped, if not nil, is called for each frame that the source threw
	// away, with the reason: one of the Drop constants. It is called by the
	// goroutine that iterates.
	Dropped func(reason string)
}

// Reasons for which a frame is dropped, as they appear in [Stats].
const (
	DropCorrupt = "corrupt"  // the driver flagged the buffer as damaged
	DropEmpty   = "empty"    // a buffer without bytes
	DropTorn    = "torn"     // a JPEG without its beginning or its end
	DropTooBig  = "too-big"  // more bytes than a frame may have
	DropNoKey   = "no-key"   // H.264 before the first key picture
	DropBadSize = "bad-size" // fewer bytes than the format and size need
)

// Mode is one way in which a camera can be run. Zero numbers mean unknown.
type Mode struct {
	Format        Format
	Width, Height int
	FPS           float64 // the highest
}

// Info is what a source says of its camera.
type Info struct {
	Kind    string // v4l2, rpicam, pattern, replay
	Address string // device path, camera number, file or folder
	Card    string // what the camera calls itself
	Bus     string // where it is attached, if known
	Modes   []Mode
}

// Source is one camera.
//
// Frames starts the sensor, yields its frames, and on return has stopped it
// and freed everything; it may then be called again, but not twice at a time.
// A yielded error is the last element and the frame beside it is empty. The
// iteration ends without an error when ctx ends, within 100 ms, or when the
// consumer stops. It never ends for another reason without an error.
//
// Describe asks what is there now, without starting the sensor, and may be
// called while Frames runs.
//
// [github.com/perchcam/perch/pkg/camera/cameratest.Conformance] checks these rules.
type Source interface {
	Describe(ctx context.Context) (Info, error)
	Frames(ctx context.Context, want Want) iter.Seq2[Frame, error]
}

// Awaiter is a Source that can tell when its camera may have come back.
// Await returns nil when it is worth trying again, or ctx's error. A Hub
// calls it between attempts, never while Frames runs.
type Awaiter interface {
	Await(ctx context.Context) error
}
