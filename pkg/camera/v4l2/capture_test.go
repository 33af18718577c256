//go:build linux && cgo

package v4l2

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/perchcam/perch/pkg/camera"
)

// fake is a node in the kernel's place. Frames come from send; the poller sees
// them through a real descriptor, an eventfd used as a semaphore.
type fake struct {
	lists  []camera.Format
	sized  []sizes
	chosen picture
	period time.Duration
	count  int              // buffers granted
	fail   map[string]error // by call

	streams chan struct{} // closed by on
	event   int
	mu      sync.Mutex
	// mu guards the following.
	calls  []string
	queued []int
	done   []buffer
	dead   error // what dequeue gives
}

func newFake(t *testing.T) *fake {
	t.Helper()
	f := newNode(t)
	t.Cleanup(func() { unix.Close(f.event) })
	return f
}

// newNode is a fake whose event the caller closes.
func newNode(t *testing.T) *fake {
	t.Helper()
	event, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK|unix.EFD_SEMAPHORE)
	if err != nil {
		t.Fatal(err)
	}
	return &fake{
		lists:  []camera.Format{camera.YUYV},
		sized:  []sizes{{minW: 640, minH: 480, maxW: 640, maxH: 480}},
		chosen: picture{camera.YUYV, 640, 480, 1280, camera.Color{Limited: true}},
		period: time.Second / 30,
		count:  4,
		event:  event,

		streams: make(chan struct{}),
	}
}

func (f *fake) call(name string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls = append(f.calls, name)
	return f.fail[name]
}

func (f *fake) fd() int                           { return f.event }
func (f *fake) formats() ([]camera.Format, error) { return f.lists, f.call("formats") }
func (f *fake) sizes(camera.Format) []sizes       { return f.sized }
func (f *fake) setFormat(camera.Mode) error       { return f.call("setFormat") }
func (f *fake) format() (picture, error)          { return f.chosen, f.call("format") }
func (f *fake) setRate(float64) (time.Duration, error) {
	return f.period, f.call("setRate")
}
func (f *fake) request(int) (int, error) { return f.count, f.call("request") }
func (f *fake) on() error                { close(f.streams); return f.call("on") }
func (f *fake) off() error               { return f.call("off") }
func (f *fake) release() error           { return f.call("release") }

func (f *fake) queue(i int) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.queued = append(f.queued, i)
	return f.fail["queue"]
}

// send fills a queued buffer.
func (f *fake) send(b buffer) {
	f.mu.Lock()
	b.index = f.queued[0]
	f.queued = f.queued[1:]
	f.done = append(f.done, b)
	f.mu.Unlock()
	unix.Write(f.event, []byte{1, 0, 0, 0, 0, 0, 0, 0})
}

// offer fills a queued buffer, if there is one.
func (f *fake) offer(b buffer) {
	f.mu.Lock()
	none := len(f.queued) == 0
	f.mu.Unlock()
	if !none {
		f.send(b)
	}
}

// die makes every later dequeue fail.
func (f *fake) die(err error) {
	f.mu.Lock()
	f.dead = err
	f.mu.Unlock()
	unix.Write(f.event, []byte{1, 0, 0, 0, 0, 0, 0, 0})
}

func (f *fake) dequeue() (buffer, error) {
	var n [8]byte
	unix.Read(f.event, n[:])
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.done) == 0 {
		if f.dead != nil {
			return buffer{}, f.dead
		}
		return buffer{}, unix.EAGAIN
	}
	b := f.done[0]
	f.done = f.done[1:]
	return b, nil
}

// ended tells whether everything was undone, in the right order.
func (f *fake) ended(t *testing.T, on bool) {
	t.Helper()
	f.mu.Lock()
	defer f.mu.Unlock()
	off, release := slices.Index(f.calls, "off"), slices.Index(f.calls, "release")
	if release < 0 || on && (off < 0 || off > release) {
		t.Errorf("not undone: %v", f.calls)
	}
}

func now() buffer {
	return buffer{stamp: camera.Mono(), monotonic: true, data: make([]byte, 640*480*2)}
}

func TestCaptureYieldsWhatIsWholeAndCountsTheRest(t *testing.T) {
	f := newFake(t)
	var got []camera.Frame
	dropped := map[string]int{}
	want := camera.Want{Dropped: func(reason string) { dropped[reason]++ }}
	next := []func(*buffer){
		func(b *buffer) { b.seq = 8 },                      // one lost before it
		func(b *buffer) { b.seq, b.damaged = 9, true },     // flagged by the driver
		func(b *buffer) { b.seq, b.data = 10, nil },        // empty
		func(b *buffer) { b.seq, b.monotonic = 11, false }, // another clock
		func(b *buffer) { b.seq, b.stamp = 12, b.stamp+time.Hour },
		func(b *buffer) { b.seq, b.stamp = 13, b.stamp-time.Hour },
		func(b *buffer) { b.seq = 13 }, // a driver that counts badly
	}
	began := camera.Mono()
	first := now()
	first.seq = 6
	err := feed(f, t.Context(), want, func() { f.send(first) }, func(fr camera.Frame) bool {
		got = append(got, fr)
		for len(next) > 0 {
			b := now()
			next[0](&b)
			next = next[1:]
			f.send(b)
			if b.damaged || len(b.data) == 0 {
				continue // it is not yielded, so the next one must come with it
			}
			break
		}
		return len(got) < 6
	})
	if !errors.Is(err, errStopped) {
		t.Errorf("ended with %v", err)
	}
	var seqs []uint64
	for _, fr := range got {
		seqs = append(seqs, fr.Seq)
		if fr.Mono < began || fr.Mono > camera.Mono() {
			t.Errorf("frame %d: stamp %v is not between %v and now", fr.Seq, fr.Mono, began)
		}
		if fr.Width != 640 || fr.Height != 480 || fr.Stride != 1280 || fr.Format != camera.YUYV || fr.Color != f.chosen.color || fr.Period != f.period {
			t.Errorf("frame %d is %+v", fr.Seq, fr)
		}
	}
	if want := []uint64{6, 8, 11, 12, 13, 14}; !slices.Equal(seqs, want) {
		t.Errorf("frames %v, want %v", seqs, want)
	}
	if dropped[camera.DropCorrupt] != 1 || dropped[camera.DropEmpty] != 1 {
		t.Errorf("dropped %v", dropped)
	}
	f.ended(t, true)
}

// feed runs a capture and calls started once it streams.
func feed(f *fake, ctx context.Context, want camera.Want, started func(), yield func(camera.Frame) bool) error {
	go func() {
		<-f.streams
		started()
	}()
	return capture(ctx, f, "/dev/video9", want, func(fr camera.Frame, _ error) bool { return yield(fr) })
}

func TestCaptureEndsWithItsContext(t *testing.T) {
	f := newFake(t)
	ctx, cancel := context.WithCancel(t.Context())
	if err := feed(f, ctx, camera.Want{}, cancel, func(camera.Frame) bool { return true }); err != nil {
		t.Errorf("ended with %v", err)
	}
	f.ended(t, true)
}

func TestCaptureUndoesWhateverFailed(t *testing.T) {
	for call, says := range map[string]string{
		"formats": "list the formats", "setFormat": "set the format", "format": "read the format",
		"request": "get buffers", "queue": "give a buffer", "on": "start",
	} {
		f := newFake(t)
		f.fail = map[string]error{call: unix.EBUSY}
		err := capture(t.Context(), f, "/dev/video9", camera.Want{}, func(camera.Frame, error) bool { return true })
		if !errors.Is(err, camera.ErrBusy) || !errors.Is(err, unix.EBUSY) || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v", call, err)
		}
		if slices.Contains(f.calls, "request") {
			f.ended(t, false)
		}
	}
}

func TestADriverWithoutARateToSetWorks(t *testing.T) {
	f := newFake(t)
	f.fail = map[string]error{"setRate": unix.ENOTTY}
	n := 0
	err := feed(f, t.Context(), camera.Want{}, func() { f.send(now()) }, func(fr camera.Frame) bool {
		if fr.Period != 0 {
			t.Errorf("period %v of a driver that has none", fr.Period)
		}
		n++
		return false
	})
	if n != 1 || !errors.Is(err, errStopped) {
		t.Errorf("%d frames, %v", n, err)
	}
}

func TestCaptureKeepsTheErrno(t *testing.T) {
	for _, c := range []struct{ errno, is error }{
		{unix.ENODEV, camera.ErrAbsent}, {unix.EIO, unix.EIO},
	} {
		f := newFake(t)
		err := feed(f, t.Context(), camera.Want{}, func() { f.die(c.errno) }, func(camera.Frame) bool { return true })
		if !errors.Is(err, c.errno) || !errors.Is(err, c.is) {
			t.Errorf("%v: %v", c.errno, err)
		}
		f.ended(t, true)
	}
}

func TestNoSpaceIsUSBBandwidth(t *testing.T) {
	f := newFake(t)
	f.fail = map[string]error{"on": unix.ENOSPC}
	err := capture(t.Context(), f, "/dev/video9", camera.Want{}, func(camera.Frame, error) bool { return true })
	if !errors.Is(err, unix.ENOSPC) || !strings.Contains(err.Error(), "USB bus has no bandwidth left") {
		t.Error(err)
	}
}

func TestADriverThatChoosesAnotherFormatIsRefused(t *testing.T) {
	f := newFake(t)
	f.chosen.format = camera.UYVY
	err := capture(t.Context(), f, "/dev/video9", camera.Want{}, func(camera.Frame, error) bool { return true })
	if !errors.Is(err, camera.ErrUnsupported) || !strings.Contains(err.Error(), "chose UYVY") {
		t.Error(err)
	}
	f = newFake(t)
	err = capture(t.Context(), f, "/dev/video9", camera.Want{Format: camera.H264}, func(camera.Frame, error) bool { return true })
	if !errors.Is(err, camera.ErrUnsupported) || !strings.Contains(err.Error(), "gives YUYV, not H264") {
		t.Error(err)
	}
}
