package camera_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/perchcam/perch/pkg/camera"
	"github.com/perchcam/perch/pkg/camera/cameratest"
)

func TestAllGivesEveryPictureInOrder(t *testing.T) {
	for _, format := range []camera.Format{camera.MJPEG, camera.YUYV} {
		synctest.Test(t, func(t *testing.T) {
			h := run(t, &cameratest.Source{Format: format})
			v := h.View(camera.ViewOptions{All: true})
			defer v.Close()
			last := next(t, v)
			for i := range 300 {
				if i%50 == 0 {
					time.Sleep(20 * period)
				}
				p := next(t, v)
				if p.Seq != last.Seq+1 || p.Skipped != 0 {
					t.Fatalf("%s: picture %d after %d, %d skipped", format, p.Seq, last.Seq, p.Skipped)
				}
				last = p
			}
		})
	}
}

func TestAllIsBoundedAndTellsWhatIsLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		picture := cameratest.Grey(64, 48, 1)
		h := run(t, &cameratest.Source{Skip: func(n uint64) bool { return n%13 == 5 }, Data: func(uint64) []byte { return picture }},
			func(c *camera.Config) { c.Hold = 10 * len(picture) })
		v := h.View(camera.ViewOptions{All: true})
		defer v.Close()
		last := next(t, v)
		time.Sleep(100 * period)
		p := next(t, v)
		var failed, all uint64 // from here on
		if age := camera.Mono() - p.Mono; p.Skipped < 80 || age > 12*period {
			t.Errorf("after 100 frames: %d skipped, %v old", p.Skipped, age)
		}
		for range 100 {
			if p.Seq != last.Seq+1+p.Skipped {
				t.Fatalf("picture %d after %d says %d skipped", p.Seq, last.Seq, p.Skipped)
			}
			failed += p.Failed
			all += 1 + p.Skipped
			last, p = p, next(t, v)
		}
		if want := all / 13; failed < want-1 || failed > want+1 {
			t.Errorf("of %d pictures the camera lost %d, which says %d", all, want, failed)
		}
	})
}

func TestFromGoesOnWhereAViewerStopped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		picture := cameratest.Grey(64, 48, 1)
		h := run(t, &cameratest.Source{Data: func(uint64) []byte { return picture }},
			func(c *camera.Config) { c.Hold = 60 * len(picture) })
		v := h.View(camera.ViewOptions{All: true})
		var last camera.Picture
		for range 5 {
			last = next(t, v)
		}
		v.Close()
		time.Sleep(time.Second) // within the linger time
		v = h.View(camera.ViewOptions{All: true, From: last.Seq + 1})
		for range 60 {
			p := next(t, v)
			if p.Seq != last.Seq+1 || p.Skipped != 0 {
				t.Fatalf("picture %d after %d, %d skipped", p.Seq, last.Seq, p.Skipped)
			}
			last = p
		}
		v.Close()
		time.Sleep(4 * time.Second) // 120 frames, of which 60 are held
		v = h.View(camera.ViewOptions{All: true, From: last.Seq + 1})
		p := next(t, v)
		if p.Seq != last.Seq+1+p.Skipped || p.Skipped < 50 || p.Skipped > 70 {
			t.Errorf("picture %d after %d says %d skipped", p.Seq, last.Seq, p.Skipped)
		}
		v.Close()
		// A viewer of the newest is told as well.
		v = h.View(camera.ViewOptions{From: 10})
		defer v.Close()
		if p := next(t, v); p.Skipped != p.Seq-10 {
			t.Errorf("picture %d of a viewer that wants from 10 says %d skipped", p.Seq, p.Skipped)
		}
	})
}

func TestAllAtARate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := run(t, &cameratest.Source{})
		v := h.View(camera.ViewOptions{All: true, FPS: 10})
		defer v.Close()
		first := next(t, v)
		time.Sleep(2 * time.Second)
		p := first
		for range 40 {
			p = next(t, v)
		}
		if d := (p.Mono - first.Mono).Seconds(); d < 3.9 || d > 4.1 {
			t.Errorf("40 pictures are from %.2f s", d)
		}
	})
}

func TestAllPassesOverWhatCannotBeDecoded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		good := cameratest.Grey(64, 48, 90)
		bad := append([]byte(nil), good...)
		for i := len(bad) - 40; i < len(bad)-2; i++ {
			bad[i] = 0xfe // whole as far as one can see, and nonsense
		}
		h := run(t, &cameratest.Source{Data: func(n uint64) []byte {
			if n%3 == 1 {
				return bad
			}
			return good
		}})
		v := h.View(camera.ViewOptions{All: true, Width: 32})
		defer v.Close()
		last := next(t, v)
		for range 30 {
			p := next(t, v)
			if p.Seq != last.Seq+1+p.Skipped || p.Skipped > 1 {
				t.Fatalf("picture %d after %d says %d skipped", p.Seq, last.Seq, p.Skipped)
			}
			last = p
		}
		if h.Stats().Dropped[camera.DropTorn] == 0 {
			t.Error("nothing was undecodable: the test is no test")
		}
	})
}
