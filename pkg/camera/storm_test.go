package camera_test

import (
	"bytes"
	"context"
	"errors"
	"image/jpeg"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/perchcam/perch/pkg/camera"
	"github.com/perchcam/perch/pkg/camera/cameratest"
)

// Viewers of every sort come and go while the camera breaks, stalls and comes
// back. Every picture must be whole, and every count exact; at the end nothing
// is left, or the bubble would not end.
func TestViewersInDisorder(t *testing.T) {
	for _, format := range []camera.Format{camera.MJPEG, camera.YUYV, camera.GREY} {
		t.Run(format.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				src := &cameratest.Source{Format: format, Skip: func(n uint64) bool { return n%11 == 3 }}
				h := run(t, src, func(c *camera.Config) { c.Linger = 300 * time.Millisecond; c.Hold = 100 << 10 })
				ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
				defer cancel()
				var all sync.WaitGroup
				all.Go(func() {
					rnd := rand.New(rand.NewPCG(1, 1))
					for ctx.Err() == nil {
						time.Sleep(time.Duration(rnd.IntN(2000)) * time.Millisecond)
						if rnd.IntN(2) == 0 {
							src.Stall()
						} else {
							src.Break([]error{camera.ErrAbsent, camera.ErrBusy, errors.New("odd")}[rnd.IntN(3)])
						}
						time.Sleep(time.Duration(rnd.IntN(1000)) * time.Millisecond)
						src.Mend()
					}
				})
				for i := range 10 {
					all.Go(func() {
						rnd := rand.New(rand.NewPCG(2, uint64(i)))
						for ctx.Err() == nil {
							look(t, ctx, h, rnd)
							time.Sleep(time.Duration(rnd.IntN(300)) * time.Millisecond)
						}
					})
				}
				all.Wait()
			})
		})
	}
}

// look is one viewer's or one snapshot's life.
func look(t *testing.T, ctx context.Context, h *camera.Hub, rnd *rand.Rand) {
	sizes := []int{0, 0, 32, 40, 48}
	ctx, cancel := context.WithTimeout(ctx, time.Duration(rnd.IntN(3000))*time.Millisecond)
	defer cancel()
	if rnd.IntN(3) == 0 {
		asked := camera.Mono()
		p, err := h.Snapshot(ctx, camera.SnapshotOptions{Width: sizes[rnd.IntN(5)], Settled: rnd.IntN(2) == 0})
		if err == nil && (p.Mono <= asked || p.Skipped != 0) {
			t.Errorf("a picture taken %v after it was asked for, %d skipped", p.Mono-asked, p.Skipped)
		}
		return
	}
	v := h.View(camera.ViewOptions{Width: sizes[rnd.IntN(5)], Quality: rnd.IntN(2) * 50, FPS: float64(rnd.IntN(3) * 10), All: rnd.IntN(4) == 0})
	defer v.Close()
	var last uint64
	for range rnd.IntN(60) {
		p, err := v.Next(ctx)
		if err != nil {
			return
		}
		if last > 0 && p.Seq != last+1+p.Skipped {
			t.Errorf("picture %d after %d says %d skipped", p.Seq, last, p.Skipped)
		}
		last = p.Seq
		img, err := jpeg.Decode(bytes.NewReader(p.Data))
		if err != nil || img.Bounds().Dx() != p.Width || img.Bounds().Dy() != p.Height {
			t.Errorf("picture %d of %d×%d: %v", p.Seq, p.Width, p.Height, err)
		}
		if rnd.IntN(4) == 0 {
			time.Sleep(time.Duration(rnd.IntN(200)) * time.Millisecond)
		}
	}
}

// One goroutine waits for a picture while another closes the viewer.
func TestCloseWakesNext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := &cameratest.Source{Start: time.Hour}
		h := run(t, src)
		v := h.View(camera.ViewOptions{})
		time.AfterFunc(time.Second, v.Close)
		if _, err := v.Next(t.Context()); !errors.Is(err, camera.ErrClosed) {
			t.Errorf("got %v, want ErrClosed", err)
		}
	})
}

func BenchmarkHub(b *testing.B) {
	for _, viewers := range []int{1, 3, 10, 50} {
		b.Run(map[int]string{1: "1", 3: "3", 10: "10", 50: "50"}[viewers], func(b *testing.B) {
			picture := cameratest.Grey(1280, 720, 128)
			for len(picture) < 114<<10 { // as large as those of a webcam
				picture = append(picture[:len(picture)-2], 0x11, 0xff, 0xd9)
			}
			src := make(feed)
			h, err := camera.NewHub(camera.Config{Name: "bench", Source: src})
			if err != nil {
				b.Fatal(err)
			}
			ctx, cancel := context.WithCancel(context.Background())
			var all sync.WaitGroup
			all.Go(func() { h.Run(ctx) })
			got := make(chan struct{}, viewers)
			for range viewers {
				v := h.View(camera.ViewOptions{})
				all.Go(func() {
					defer v.Close()
					for {
						if _, err := v.Next(ctx); err != nil {
							return
						}
						got <- struct{}{}
					}
				})
			}
			b.ReportAllocs()
			b.SetBytes(int64(len(picture)))
			for b.Loop() { // one frame to every viewer
				src <- picture
				for range viewers {
					<-got
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*viewers), "ns/viewer-frame")
			cancel()
			all.Wait()
		})
	}
}
