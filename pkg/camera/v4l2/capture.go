//go:build linux && cgo

package v4l2

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"github.com/perchcam/perch/pkg/camera"
)

// node is an open capture node: the system calls of one capture, in the order
// of the package comment. Tests put another in the kernel's place.
type node interface {
	fd() int                           // non-blocking, for epoll(7)
	formats() ([]camera.Format, error) // those that this program knows
	sizes(camera.Format) []sizes       // none if the driver does not list them
	setFormat(camera.Mode) error
	format() (picture, error)
	setRate(fps float64) (time.Duration, error) // gives the period chosen, 0 if unknown
	request(n int) (int, error)                 // REQBUFS and mmap; fewer may be given
	queue(i int) error
	on() error
	dequeue() (buffer, error)
	off() error
	release() error // munmap and REQBUFS(0)
}

// picture is the format that the driver chose.
type picture struct {
	format                camera.Format
	width, height, stride int
	color                 camera.Color
}

// buffer is a filled buffer; data is the kernel's memory until it is queued again.
type buffer struct {
	index     int
	seq       uint32
	stamp     time.Duration
	monotonic bool // stamp is CLOCK_MONOTONIC
	damaged   bool
	data      []byte
}

// buffers is how many the driver is asked for. With three, one is being
// filled, one waits and one is with us.
const buffers = 4

// stampLimit is how far in the past a stamp is believed: some webcams count
// their own clock and lose it.
const stampLimit = 2 * time.Second

// capture runs n from its format to the end of ctx, when it returns nil. What
// it set up is undone in any case; n is left open.
func capture(ctx context.Context, n node, path string, want camera.Want, yield func(camera.Frame, error) bool) (err error) {
	pic, period, err := negotiate(n, path, want)
	if err != nil {
		return err
	}
	defer func() {
		if e := n.release(); err == nil && e != nil && !gone(e) {
			err = sentence("free the buffers of", path, e)
		}
	}()
	count, err := n.request(buffers)
	if err != nil {
		return sentence("get buffers from", path, err)
	}
	for i := range count {
		if err := n.queue(i); err != nil {
			return sentence("give a buffer to", path, err)
		}
	}
	defer func() {
		if e := n.off(); err == nil && e != nil && !gone(e) {
			err = sentence("stop", path, e)
		}
	}()
	if err := n.on(); err != nil {
		return sentence("start", path, err)
	}

	w := watch{node: n}
	defer w.close()
	var seq sequence
	for {
		// No time limit here: the Hub notices when frames stop, and ends ctx.
		b, err := w.next(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return sentence("read", path, err)
		}
		s := seq.next(b.seq)
		switch {
		case b.damaged:
			dropped(want, camera.DropCorrupt)
		case len(b.data) == 0:
			dropped(want, camera.DropEmpty)
		default:
			f := camera.Frame{
				Seq: s, Mono: taken(b), Format: pic.format,
				Width: pic.width, Height: pic.height, Stride: pic.stride,
				Period: period, Color: pic.color, Data: b.data,
			}
			if !yield(f, nil) {
				return errStopped
			}
		}
		if err := n.queue(b.index); err != nil {
			return sentence("give a buffer back to", path, err)
		}
	}
}

// errStopped: the consumer has had enough.
var errStopped = errors.New("stopped")

// negotiate sets format, size and rate to the nearest of what is wanted, and
// gives what the driver made of it.
func negotiate(n node, path string, want camera.Want) (picture, time.Duration, error) {
	list, err := n.formats()
	if err != nil {
		return picture{}, 0, sentence("list the formats of", path, err)
	}
	format := chooseFormat(list, want.Format)
	if format == 0 {
		return picture{}, 0, fmt.Errorf("%s gives %s, not %s: %w", path, formatNames(list), want.Format, camera.ErrUnsupported)
	}
	mode := chooseSize(n.sizes(format), format, want)
	if err := n.setFormat(mode); err != nil {
		return picture{}, 0, sentence("set the format of", path, err)
	}
	pic, err := n.format()
	if err != nil {
		return picture{}, 0, sentence("read the format of", path, err)
	}
	if pic.format != format {
		return picture{}, 0, fmt.Errorf("%s was asked for %s and chose %s: %w", path, mode.Format, pic.format, camera.ErrUnsupported)
	}
	period, err := n.setRate(mode.FPS)
	if err != nil { // many drivers have no rate to set
		period = 0
	}
	return pic, period, nil
}

func dropped(want camera.Want, reason string) {
	if want.Dropped != nil {
		want.Dropped(reason)
	}
}

// gone tells whether err means that the device is not there any more; it has
// freed everything then.
func gone(err error) bool { return errors.Is(err, unix.ENODEV) }

// taken is when the frame of b was taken. A stamp of another clock, one that
// lies ahead (vivid's by up to a period) or far back is worth less than now.
func taken(b buffer) time.Duration {
	now := camera.Mono()
	if !b.monotonic || b.stamp > now || b.stamp < now-stampLimit {
		return now
	}
	return b.stamp
}

// sequence makes 64 bit of the driver's 32.
type sequence struct {
	last uint64
	any  bool
}

func (s *sequence) next(n uint32) uint64 {
	switch d := int32(n - uint32(s.last)); {
	case !s.any:
		s.last, s.any = uint64(n), true
	case d <= 0: // a driver that does not count, or began anew
		s.last++
	default:
		s.last += uint64(d)
	}
	return s.last
}
