package camera_test

import (
	"context"
	"errors"
	"iter"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/perchcam/perch/pkg/camera"
	"github.com/perchcam/perch/pkg/camera/cameratest"
)

const period = time.Second / 30

// run starts a Hub on src that ends with the test. It must be called inside a bubble.
func run(t *testing.T, src camera.Source, change ...func(*camera.Config)) *camera.Hub {
	t.Helper()
	cfg := camera.Config{Name: "yard", Source: src}
	for _, c := range change {
		c(&cfg)
	}
	h, err := camera.NewHub(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- h.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	return h
}

func next(t *testing.T, v *camera.Viewer) camera.Picture {
	t.Helper()
	p, err := v.Next(t.Context())
	if err != nil {
		t.Fatalf("Next: %v", err)
	}
	return p
}

func TestHubRunsTheSensorOnlyWhileSomebodyLooks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := &cameratest.Source{}
		h := run(t, src)
		time.Sleep(time.Hour)
		if src.Starts() != 0 {
			t.Fatalf("%d starts with nobody looking", src.Starts())
		}
		a, b := h.View(camera.ViewOptions{}), h.View(camera.ViewOptions{})
		next(t, a)
		next(t, b)
		if src.Starts() != 1 {
			t.Errorf("%d starts for two viewers, want one", src.Starts())
		}
		a.Close()
		b.Close()
		time.Sleep(5*time.Second - time.Millisecond)
		if !src.Running() {
			t.Error("stopped before the linger time was over")
		}
		time.Sleep(2 * time.Millisecond)
		synctest.Wait()
		if src.Running() {
			t.Error("still running after the linger time")
		}
		if s := h.State(); s.Phase != camera.Idle {
			t.Errorf("state %s, want idle", s.Phase)
		}
	})
}

func TestHubTellsThatItRests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var rested atomic.Int32
		var h *camera.Hub
		src := &cameratest.Source{}
		h = run(t, src, func(c *camera.Config) {
			c.Rested = func() {
				rested.Add(1)
				if p := h.State().Phase; p != camera.Idle {
					t.Errorf("says that it rests and is %s", p)
				}
			}
		})
		for n := range int32(3) {
			v := h.View(camera.ViewOptions{})
			next(t, v)
			v.Close()
			if got := rested.Load(); got != n {
				t.Errorf("said %d times that it rests before look %d was over", got, n)
			}
			time.Sleep(6 * time.Second)
		}
		if got := rested.Load(); got != 3 {
			t.Errorf("said %d times that it rests, after 3 looks", got)
		}
		v := h.View(camera.ViewOptions{})
		defer v.Close()
		next(t, v) // and ends with the test: that is no rest
	})
}

func TestViewerCountsWhatItSkipped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := run(t, &cameratest.Source{Skip: func(n uint64) bool { return n%7 == 3 }})
		v := h.View(camera.ViewOptions{})
		defer v.Close()
		last := next(t, v)
		for i := range 100 {
			time.Sleep(time.Duration(i) * period / 10)
			p := next(t, v)
			if p.Seq != last.Seq+1+p.Skipped {
				t.Fatalf("picture %d after %d says %d skipped", p.Seq, last.Seq, p.Skipped)
			}
			if age := camera.Mono() - p.Mono; age > 2*period {
				t.Fatalf("picture %d is %v old", p.Seq, age)
			}
			last = p
		}
	})
}

func TestSlowViewerDelaysNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := run(t, &cameratest.Source{})
		for range 50 { // look and never take a picture
			defer h.View(camera.ViewOptions{}).Close()
		}
		v := h.View(camera.ViewOptions{})
		defer v.Close()
		next(t, v)
		for range 300 {
			if p := next(t, v); p.Skipped != 0 || camera.Mono() != p.Mono {
				t.Fatalf("picture %d: %d skipped, %v old", p.Seq, p.Skipped, camera.Mono()-p.Mono)
			}
		}
		if s := h.Stats(); s.Copied > s.Frames {
			t.Errorf("%d copies of %d frames", s.Copied, s.Frames)
		}
	})
}

func TestViewerRate(t *testing.T) {
	for _, fps := range []float64{0.1, 0.5, 1, 5, 7, 10, 12.5, 29, 30} {
		synctest.Test(t, func(t *testing.T) {
			h := run(t, &cameratest.Source{})
			v := h.View(camera.ViewOptions{FPS: fps})
			defer v.Close()
			first := next(t, v)
			const n = 30
			last := first
			for range n {
				p := next(t, v)
				if p.Seq != last.Seq+1+p.Skipped {
					t.Fatalf("picture %d after %d says %d skipped", p.Seq, last.Seq, p.Skipped)
				}
				if age := camera.Mono() - p.Mono; age > 2*period {
					t.Errorf("%.1f fps: picture %v old", fps, age)
				}
				last = p
			}
			got := n / (last.Mono - first.Mono).Seconds()
			if got < fps*0.95 || got > fps*1.05 {
				t.Errorf("%.2f pictures a second, want %.2f", got, fps)
			}
		})
	}
}

func TestSnapshotIsNewerThanTheRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := run(t, &cameratest.Source{})
		v := h.View(camera.ViewOptions{}) // keeps the sensor running
		defer v.Close()
		next(t, v)
		for i := range 200 {
			time.Sleep(time.Duration(i) * time.Millisecond)
			asked := camera.Mono()
			p, err := h.Snapshot(t.Context(), camera.SnapshotOptions{})
			if err != nil {
				t.Fatal(err)
			}
			if p.Mono <= asked || camera.Mono()-asked > period {
				t.Fatalf("asked at %v, taken at %v, had at %v", asked, p.Mono, camera.Mono())
			}
			asked = camera.Mono()
			p, err = h.Snapshot(t.Context(), camera.SnapshotOptions{MaxAge: 2 * period})
			if err != nil {
				t.Fatal(err)
			}
			if camera.Mono() != asked || asked-p.Mono > 2*period {
				t.Fatalf("a picture %v old after %v, want one at once", asked-p.Mono, camera.Mono()-asked)
			}
		}
	})
}

func TestCameraInTroubleIsAStateAndComesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := &cameratest.Source{}
		h := run(t, src)
		src.Break(camera.ErrBusy)
		_, err := h.Snapshot(t.Context(), camera.SnapshotOptions{})
		if !errors.Is(err, camera.ErrBusy) || !strings.Contains(err.Error(), "camera yard:") {
			t.Fatalf("got %v, want a sentence on a busy camera", err)
		}
		if s := h.State(); s.Phase != camera.Busy || s.Err == nil {
			t.Errorf("state %+v, want busy", s)
		}
		src.Mend()
		time.Sleep(300 * time.Millisecond) // the source says when it is back
		v := h.View(camera.ViewOptions{})
		defer v.Close()
		last := next(t, v)

		src.Break(camera.ErrAbsent) // unplugged while it runs
		time.Sleep(time.Minute)
		if s := h.State(); s.Phase != camera.Absent {
			t.Errorf("state %+v, want absent", s)
		}
		starts := src.Starts()
		src.Mend()
		back := camera.Mono()
		p := next(t, v)
		for p.Mono < back { // the last picture before
			last, p = p, next(t, v)
		}
		if d := camera.Mono() - back; d > 7*time.Second {
			t.Errorf("back after %v", d)
		}
		if p.Seq != last.Seq+1+p.Skipped {
			t.Errorf("picture %d after %d says %d skipped", p.Seq, last.Seq, p.Skipped)
		}
		if starts > 20 {
			t.Errorf("%d attempts in a minute", starts)
		}
	})
}

func TestStallIsFoundAndEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := &cameratest.Source{}
		h := run(t, src)
		v := h.View(camera.ViewOptions{})
		defer v.Close()
		last := next(t, v)
		src.Stall()
		state, turned := h.Turned()
		for state.Phase != camera.Stalled {
			<-turned
			state, turned = h.Turned()
		}
		if d := camera.Mono() - last.Mono; d > 500*time.Millisecond+period {
			t.Errorf("stall found after %v", d)
		}
		src.Mend()
		next(t, v)
		if src.Starts() != 2 {
			t.Errorf("%d starts, want 2", src.Starts())
		}
	})
}

func TestRenditionIsMadeOnceForAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := run(t, &cameratest.Source{Format: camera.YUYV})
		var views []*camera.Viewer
		for range 10 {
			v := h.View(camera.ViewOptions{Width: 32})
			defer v.Close()
			views = append(views, v)
		}
		for range 20 {
			var seq uint64
			for i, v := range views {
				p := next(t, v)
				if p.Width != 32 || p.Height != 24 || p.Format != camera.MJPEG {
					t.Fatalf("got %d×%d %s", p.Width, p.Height, p.Format)
				}
				if i > 0 && p.Seq != seq {
					t.Fatalf("viewer %d has picture %d, the first has %d", i, p.Seq, seq)
				}
				seq = p.Seq
			}
		}
		if s := h.Stats(); s.Encoded != 20 {
			t.Errorf("%d pictures encoded for 10 viewers of 20, want 20", s.Encoded)
		}
	})
}

func TestTooManyRenditions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := run(t, &cameratest.Source{})
		for i := range 4 {
			v := h.View(camera.ViewOptions{Width: 10 + 2*i})
			defer v.Close()
			next(t, v)
		}
		v := h.View(camera.ViewOptions{Width: 60})
		defer v.Close()
		if _, err := v.Next(t.Context()); !errors.Is(err, camera.ErrTooMany) {
			t.Errorf("the fifth size: %v, want ErrTooMany", err)
		}
		same := h.View(camera.ViewOptions{Width: 10})
		defer same.Close()
		next(t, same)
		full := h.View(camera.ViewOptions{Width: 1000, Height: 1000})
		defer full.Close()
		if p := next(t, full); p.Width != 64 || p.Height != 48 {
			t.Errorf("asked for more than the camera has: got %d×%d", p.Width, p.Height)
		}
	})
}

func TestEndOfRunEndsViewers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, err := camera.NewHub(camera.Config{Name: "yard", Source: &cameratest.Source{}})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		go h.Run(ctx)
		v := h.View(camera.ViewOptions{})
		next(t, v)
		cancel()
		synctest.Wait()
		for {
			if _, err := v.Next(t.Context()); err != nil {
				if !errors.Is(err, camera.ErrClosed) {
					t.Errorf("got %v, want ErrClosed", err)
				}
				return
			}
		}
	})
}

// However long it was away, and however often it comes and goes.
func TestCameraThatIsBackIsUsedAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := &cameratest.Source{}
		h := run(t, src)
		v := h.View(camera.ViewOptions{})
		defer v.Close()
		for _, away := range []time.Duration{time.Second, time.Minute, time.Hour, 24 * time.Hour, 2 * time.Second, 3 * time.Second} {
			for range 40 {
				next(t, v)
			}
			src.Break(camera.ErrAbsent)
			time.Sleep(away)
			src.Mend()
			back := camera.Mono()
			p := next(t, v)
			for p.Mono < back {
				p = next(t, v)
			}
			if d := camera.Mono() - back; d > 50*time.Millisecond {
				t.Errorf("after %v away a picture came after %v", away, d)
			}
		}
	})
}

// A node may be seen some moments before it can be opened.
func TestCameraThatIsSeenTooEarlyIsTriedAgainSoon(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := &shy{}
		h := run(t, src)
		v := h.View(camera.ViewOptions{})
		defer v.Close()
		for range 100 {
			next(t, v)
			src.Break(camera.ErrAbsent)
			time.Sleep(time.Minute)
			src.fails.Store(3)
			src.Mend()
			back := camera.Mono()
			p := next(t, v)
			for p.Mono < back {
				p = next(t, v)
			}
			if d := camera.Mono() - back; d > 300*time.Millisecond {
				t.Errorf("a picture came after %v", d)
			}
		}
	})
}

// shy is away a few times more when it is back.
type shy struct {
	cameratest.Source
	fails atomic.Int32
}

func (s *shy) Frames(ctx context.Context, want camera.Want) iter.Seq2[camera.Frame, error] {
	if s.fails.Add(-1) >= 0 {
		return func(yield func(camera.Frame, error) bool) { yield(camera.Frame{}, camera.ErrAbsent) }
	}
	return s.Source.Frames(ctx, want)
}

// A source that says its camera is back, and fails, must not keep the
// processor busy.
func TestSourceThatErrsOnItsReturn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := &liar{}
		src.Break(camera.ErrBusy)
		h := run(t, src)
		v := h.View(camera.ViewOptions{})
		defer v.Close()
		time.Sleep(time.Hour)
		if n := src.Starts(); n > 3600 {
			t.Errorf("%d attempts in an hour", n)
		}
	})
}

type liar struct{ cameratest.Source }

func (*liar) Await(context.Context) error { return nil }

// stuck ignores its context, as a driver in the middle of a system call does.
type stuck struct {
	cameratest.Source
	release chan struct{}
}

func (s *stuck) Frames(ctx context.Context, want camera.Want) iter.Seq2[camera.Frame, error] {
	return func(yield func(camera.Frame, error) bool) {
		for f, err := range s.Source.Frames(ctx, want) {
			if !yield(f, err) {
				return
			}
			if s.release != nil {
				<-s.release
			}
		}
	}
}

func TestOverdueTellsOnlyOfALoopThatIsStuck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := &stuck{}
		h := run(t, src)
		well := func(when string) {
			t.Helper()
			for range 100 {
				time.Sleep(100 * time.Millisecond)
				if d := h.Overdue(); d > 0 {
					t.Fatalf("%s: overdue by %v", when, d)
				}
			}
		}
		well("off")
		v := h.View(camera.ViewOptions{})
		next(t, v)
		well("streaming")
		src.Break(camera.ErrAbsent)
		well("absent")
		src.Mend()
		next(t, v)
		v.Close()
		well("off again")

		src.release = make(chan struct{})
		v = h.View(camera.ViewOptions{})
		defer v.Close()
		next(t, v)
		time.Sleep(10 * time.Second)
		if d := h.Overdue(); d < 9*time.Second {
			t.Errorf("stuck for 10 s, overdue by %v", d)
		}
		close(src.release)
		well("let go")
	})
}
