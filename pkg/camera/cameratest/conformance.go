package cameratest

import (
	"context"
	"errors"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/perchcam/perch/pkg/camera"
)

// Options say how a source is tested.
type Options struct {
	Want   camera.Want
	Cycles int           // of start and stop; 0 means 20
	Frames int           // in the long run; 0 means 20
	Limit  time.Duration // for anything to happen; 0 means 10 s
	// Break makes the camera fail, running or not, and Mend makes it whole
	// again. nil leaves these rules untested.
	Break, Mend func()
}

// Conformance checks that a source keeps the rules of [camera.Source], in real
// time. Cameras made of files, of a process and of a kernel's device run it alike.
func Conformance(t *testing.T, src camera.Source, opt Options) {
	if opt.Cycles == 0 {
		opt.Cycles = 20
	}
	if opt.Frames == 0 {
		opt.Frames = 20
	}
	if opt.Limit == 0 {
		opt.Limit = 10 * time.Second
	}
	c := conformance{src, opt}
	t.Run("describes itself", c.describes)
	t.Run("yields frames in order", c.yields)
	t.Run("starts again", c.restarts)
	t.Run("ends with its context", c.cancels)
	t.Run("does not start in an ended context", c.starts)
	if opt.Break != nil {
		t.Run("ends with an error and survives it", c.breaks)
	}
	t.Run("keeps nothing", c.keepsNothing)
}

type conformance struct {
	src camera.Source
	opt Options
}

// take reads n frames and gives their number and what ended them.
func (c conformance) take(ctx context.Context, n int, each func(camera.Frame)) (int, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, c.opt.Limit*time.Duration(1+n/20), errors.New("nothing came in time"))
	defer cancel()
	got := 0
	for f, err := range c.src.Frames(ctx, c.opt.Want) {
		if err != nil {
			return got, err
		}
		got++
		if each != nil {
			each(f)
		}
		if got >= n {
			return got, nil
		}
	}
	return got, context.Cause(ctx)
}

func (c conformance) describes(t *testing.T) {
	info, err := c.src.Describe(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if info.Kind == "" || info.Card == "" || len(info.Modes) == 0 {
		t.Errorf("says too little: %+v", info)
	}
	t.Logf("%s %s (%s), %d modes", info.Kind, info.Address, info.Card, len(info.Modes))
}

func (c conformance) yields(t *testing.T) {
	var last camera.Frame
	n := 0
	began := camera.Mono()
	got, err := c.take(t.Context(), c.opt.Frames, func(f camera.Frame) {
		switch {
		case len(f.Data) == 0 || f.Width <= 0 || f.Height <= 0 || f.Format == 0:
			t.Errorf("frame %d is empty: %d×%d %s, %d bytes", f.Seq, f.Width, f.Height, f.Format, len(f.Data))
		case f.Mono > camera.Mono() || f.Mono < began-time.Second:
			t.Errorf("frame %d was taken %v from now", f.Seq, f.Mono-camera.Mono())
		case n > 0 && f.Seq <= last.Seq:
			t.Errorf("frame %d comes after %d", f.Seq, last.Seq)
		case n > 0 && f.Mono < last.Mono:
			t.Errorf("frame %d was taken %v before the last", f.Seq, last.Mono-f.Mono)
		case n > 0 && (f.Format != last.Format || f.Width != last.Width || f.Height != last.Height):
			t.Errorf("frame %d is %d×%d %s, the last was %d×%d %s", f.Seq, f.Width, f.Height, f.Format, last.Width, last.Height, last.Format)
		}
		last = f
		last.Data = nil
		n++
	})
	if err != nil {
		t.Fatalf("%d of %d frames: %v", got, c.opt.Frames, err)
	}
	t.Logf("%d×%d %s every %v, the last was number %d", last.Width, last.Height, last.Format, last.Period, last.Seq)
}

func (c conformance) restarts(t *testing.T) {
	for i := range c.opt.Cycles {
		if got, err := c.take(t.Context(), 1, nil); err != nil {
			t.Fatalf("start %d: %d frames: %v", i+1, got, err)
		}
		if i%5 == 0 { // it can be asked between runs
			if _, err := c.src.Describe(t.Context()); err != nil {
				t.Errorf("after stop %d: %v", i+1, err)
			}
		}
	}
}

func (c conformance) cancels(t *testing.T) {
	for _, after := range []int{1, 3} {
		ctx, cancel := context.WithCancel(t.Context())
		var ended time.Time
		got, err := c.take(ctx, 1000, func(f camera.Frame) {
			if after--; after == 0 {
				ended = time.Now()
				cancel()
			}
		})
		d := time.Since(ended)
		cancel()
		if !errors.Is(err, context.Canceled) {
			t.Errorf("after %d frames: %v, want an end without an error", got, err)
		}
		// 100 ms by contract; a busy test machine gets ten times that.
		if d > time.Second {
			t.Errorf("ended %v after its context", d)
		}
	}
}

func (c conformance) starts(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, err := range c.src.Frames(ctx, c.opt.Want) {
		if err != nil {
			t.Errorf("an error in an ended context: %v", err)
		}
	}
}

func (c conformance) breaks(t *testing.T) {
	broken := false
	got, err := c.take(t.Context(), 1_000_000, func(camera.Frame) {
		if !broken {
			broken = true
			c.opt.Break()
		}
	})
	if err == nil || !broken {
		t.Fatalf("broken while it ran: %d frames, %v", got, err)
	}
	t.Logf("broken while it ran: %v", err)
	if got, err := c.take(t.Context(), 1, nil); err == nil || got > 0 {
		t.Errorf("started while broken: %d frames, %v", got, err)
	} else {
		t.Logf("broken at its start: %v", err)
	}
	c.opt.Mend()
	if a, ok := c.src.(camera.Awaiter); ok {
		ctx, cancel := context.WithTimeout(t.Context(), c.opt.Limit)
		if err := a.Await(ctx); err != nil {
			t.Errorf("mended, and waits: %v", err)
		}
		cancel()
	}
	if _, err := c.take(t.Context(), 2, nil); err != nil {
		t.Errorf("mended: %v", err)
	}
}

// keepsNothing compares what the process has before and after many runs.
func (c conformance) keepsNothing(t *testing.T) {
	before, after, err := c.holdings()
	if err != nil {
		t.Fatal(err)
	}
	if after.more(before) {
		t.Errorf("before %d runs: %+v, after: %+v", c.opt.Cycles, before, after)
	}
}

func (c conformance) holdings() (before, after held, err error) {
	c.take(context.Background(), 1, nil) // whatever is made once is made now
	before = holdings()
	for range c.opt.Cycles {
		if _, err := c.take(context.Background(), 1, nil); err != nil {
			return before, after, err
		}
	}
	// A goroutine that has said its last may take a moment to go.
	deadline := time.Now().Add(time.Second)
	for after = holdings(); after.more(before) && time.Now().Before(deadline); after = holdings() {
		runtime.Gosched()
	}
	return before, after, nil
}

// KeepsNothing tells whether a source leaves nothing behind after so many runs.
func KeepsNothing(src camera.Source, cycles int) bool {
	before, after, err := conformance{src, Options{Cycles: cycles, Limit: 10 * time.Second}}.holdings()
	return err == nil && !after.more(before)
}

// held is what a process can leak.
type held struct{ Goroutines, Files, Maps, Children int }

func (h held) more(than held) bool {
	return h.Goroutines > than.Goroutines || h.Files > than.Files || h.Maps > than.Maps || h.Children > than.Children
}

// holdings counts, as far as the system shows it.
func holdings() held {
	h := held{Goroutines: runtime.NumGoroutine()}
	if fds, err := os.ReadDir("/proc/self/fd"); err == nil {
		h.Files = len(fds)
	}
	if maps, err := os.ReadFile("/proc/self/maps"); err == nil {
		h.Maps = strings.Count(string(maps), "/dev/video")
	}
	if tasks, err := os.ReadDir("/proc/self/task"); err == nil {
		for _, task := range tasks {
			b, _ := os.ReadFile("/proc/self/task/" + task.Name() + "/children") // a thread that has gone has none
			h.Children += len(strings.Fields(string(b)))
		}
	}
	return h
}
