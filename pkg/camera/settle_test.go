package camera_test

import (
	"context"
	"math"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/perchcam/perch/pkg/camera"
	"github.com/perchcam/perch/pkg/camera/cameratest"
)

// ramp is how a sensor's brightness comes up after its start: at rest in the
// dark, or too bright, while exposure has not yet reacted, then towards its
// target by a share of the difference with each frame, with noise.
type ramp struct {
	start, target, share, noise float64
	still                       uint64 // frames before exposure reacts
}

func (r ramp) luma(n uint64, rnd *rand.Rand) byte {
	l := r.start
	if n > r.still {
		l = r.target + (r.start-r.target)*math.Pow(1-r.share, float64(n-r.still))
	}
	return byte(min(max(l+r.noise*(2*rnd.Float64()-1), 0), 255))
}

func TestSettledPicturesAreNeverDark(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	rests, dark := 0, 0
	for range 1000 {
		r := ramp{
			start: rnd.Float64() * 60, target: 80 + rnd.Float64()*80,
			share: 0.08 + rnd.Float64()*0.5, noise: rnd.Float64(), still: rnd.Uint64N(8),
		}
		synctest.Test(t, func(t *testing.T) {
			src := &cameratest.Source{Format: camera.GREY, Width: 16, Height: 16, Start: period}
			src.Data = func(n uint64) []byte {
				b := make([]byte, 256)
				l := r.luma(n, rnd)
				for i := range b {
					b[i] = l
				}
				return b
			}
			h := run(t, src, func(c *camera.Config) { c.Linger = -1 })
			began := camera.Mono()
			p, err := h.Snapshot(t.Context(), camera.SnapshotOptions{Settled: true})
			if err != nil {
				t.Fatal(err)
			}
			if d := camera.Mono() - began; d > 2*time.Second+2*period {
				t.Errorf("took %v", d)
			}
			if p.Settled == nil {
				t.Fatal("nothing is said of it")
			}
			if !*p.Settled {
				return
			}
			rests++
			if l := float64(r.luma(p.Seq-1, rnd)); l < 0.85*r.target {
				dark++
				t.Logf("%+v: settled at frame %d with %.0f", r, p.Seq, l)
			}
		})
	}
	t.Logf("%d of 1000 came to rest within the limit", rests)
	if dark > 0 {
		t.Errorf("%d dark pictures in 1000", dark)
	}
	if rests < 900 {
		t.Errorf("only %d of 1000 ramps were seen to settle", rests)
	}
}

func TestSettledIsBoundedAndSaysSo(t *testing.T) {
	for name, c := range map[string]struct {
		period time.Duration
		luma   func(n uint64) byte
		want   bool
		frames uint64
	}{
		"never at rest": {time.Second / 30, func(n uint64) byte { return byte(n * 10) }, false, 30},
		"slow camera":   {time.Second / 4, func(n uint64) byte { return byte(n * 10) }, false, 9},
		"night":         {time.Second / 30, func(uint64) byte { return 5 }, true, 30},
		"steady":        {time.Second / 30, func(uint64) byte { return 100 }, true, 13},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				src := &cameratest.Source{Period: c.period, Start: c.period, Data: func(n uint64) []byte { return cameratest.Grey(32, 32, c.luma(n)) }}
				h := run(t, src)
				p, err := h.Snapshot(t.Context(), camera.SnapshotOptions{Settled: true})
				if err != nil {
					t.Fatal(err)
				}
				if *p.Settled != c.want || p.Seq != c.frames {
					t.Errorf("settled %v with frame %d, want %v with %d", *p.Settled, p.Seq, c.want, c.frames)
				}
				if !c.want {
					return
				}
				// The camera runs and is at rest: a few frames are enough now.
				time.Sleep(time.Second)
				before := p.Seq + uint64(time.Second/c.period)
				p, err = h.Snapshot(t.Context(), camera.SnapshotOptions{Settled: true})
				if err != nil || !*p.Settled || c.luma(0) > 20 && p.Seq > before+6 {
					t.Errorf("again: %v with frame %d, asked after %d, %v", *p.Settled, p.Seq, before, err)
				}
			})
		})
	}
}

func TestSettledEndsWithItsContextAndTheCamera(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := &cameratest.Source{Data: func(n uint64) []byte { return cameratest.Grey(32, 32, byte(n*10)) }}
		h := run(t, src)
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		defer cancel()
		if _, err := h.Snapshot(ctx, camera.SnapshotOptions{Settled: true}); err == nil {
			t.Error("no error when its time was over")
		}
		time.AfterFunc(200*time.Millisecond, func() { src.Break(camera.ErrAbsent) })
		if _, err := h.Snapshot(t.Context(), camera.SnapshotOptions{Settled: true}); err == nil {
			t.Error("no error when the camera went away")
		}
	})
}
