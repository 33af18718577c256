package service_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/perchcam/perch/internal/agent/service"
	"github.com/perchcam/perch/pkg/api"
	"github.com/perchcam/perch/pkg/camera"
	"github.com/perchcam/perch/pkg/peer"
)

// errEnough is what a test's viewer ends its stream with.
var errEnough = errors.New("enough")

// watch takes pictures until each returns false.
func (d *device) watch(t *testing.T, options string, each func(api.FrameHeader) bool, opts ...peer.Option) {
	t.Helper()
	ctx, cancel := context.WithCancelCause(t.Context())
	defer cancel(errEnough)
	for v, err := range d.RequestStream(ctx, request(t, api.RouteStream, options), opts...) {
		if err != nil {
			t.Fatal(err)
		}
		if !each(header(t, v)) {
			break
		}
	}
}

func TestStreamCountsEveryPicture(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDevice(t, nil)
		n, next := 0, uint64(0)
		d.watch(t, "", func(h api.FrameHeader) bool {
			if n > 0 && h.Seq != next+h.Skipped {
				t.Errorf("picture %d has number %d and %d skipped, the one before was %d", n, h.Seq, h.Skipped, next-1)
			}
			if h.Skipped > 0 {
				t.Errorf("%d were skipped for a viewer that keeps up", h.Skipped)
			}
			next = h.Seq + 1
			n++
			return n < 100
		})
		time.Sleep(time.Second)
		if d.front.Running() || d.front.Starts() != 1 {
			t.Errorf("after the stream the camera runs: %v; it was started %d times", d.front.Running(), d.front.Starts())
		}
	})
}

func TestStreamGivesASlowViewerTheNewest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDevice(t, nil)
		n, next := 0, uint64(0)
		d.watch(t, "", func(h api.FrameHeader) bool {
			if age := camera.Mono() - time.Duration(h.MonoNS); n > 0 && age > 2*time.Second/30 {
				t.Errorf("picture %d is %v old", n, age)
			}
			if n > 0 && (h.Seq != next+h.Skipped || h.Skipped < 29) {
				t.Errorf("number %d with %d skipped after %d", h.Seq, h.Skipped, next-1)
			}
			next = h.Seq + 1
			n++
			time.Sleep(time.Second)
			return n < 10
		}, peer.Window(1))
	})
}

func TestStreamOverAnOutageSkips(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDevice(t, nil)
		n, next := 0, uint64(0)
		var back time.Duration
		d.watch(t, "", func(h api.FrameHeader) bool {
			if n > 0 && h.Seq != next+h.Skipped {
				t.Errorf("number %d with %d skipped after %d", h.Seq, h.Skipped, next-1)
			}
			if n > 10 && time.Duration(h.MonoNS) < back-2*time.Second/30 {
				t.Errorf("a picture %v older than the link", back-time.Duration(h.MonoNS))
			}
			next = h.Seq + 1
			if n++; n == 10 {
				d.net.Down(true)
				time.Sleep(20 * time.Second)
				back = camera.Mono()
				d.net.Down(false)
			}
			return n < 30
		}, peer.Window(1))
		if n != 30 {
			t.Errorf("%d pictures", n)
		}
	})
}

// The link is lost while the next picture is being waited for: that one is not sent, and counts as skipped.
func TestStreamCountsWhatWasChosenAndNotSent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDevice(t, nil)
		n, next := 0, uint64(0)
		d.watch(t, "", func(h api.FrameHeader) bool {
			if n > 0 && h.Seq != next+h.Skipped {
				t.Errorf("number %d with %d skipped after %d", h.Seq, h.Skipped, next-1)
			}
			next = h.Seq + 1
			if n++; n%10 == 0 {
				go func() {
					time.Sleep(5 * time.Millisecond) // it has been asked for the next one
					d.net.Down(true)
					time.Sleep(3 * time.Second)
					d.net.Down(false)
				}()
			}
			return n < 45
		}, peer.Window(1))
	})
}

func TestStreamKeepsToTheRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDevice(t, nil)
		began, n := time.Now(), 0
		d.watch(t, `{"fps":5}`, func(api.FrameHeader) bool { n++; return n < 50 })
		if took := time.Since(began); took < 9500*time.Millisecond || took > 10500*time.Millisecond {
			t.Errorf("50 pictures at 5 a second took %v", took)
		}
	})
}

// A picture is new when the viewer has it, however few it asks for: two periods of the camera at most, for here the way takes no time.
func TestStreamIsNewAtEveryRate(t *testing.T) {
	for _, fps := range []float64{0.1, 0.5, 1, 5, 12, 29, 30} {
		synctest.Test(t, func(t *testing.T) {
			d := newDevice(t, nil)
			n := 0
			d.watch(t, fmt.Sprintf(`{"fps":%g}`, fps), func(h api.FrameHeader) bool {
				if age := camera.Mono() - time.Duration(h.MonoNS); age > 2*time.Second/30 {
					t.Errorf("at %g a second picture %d is %v old", fps, n, age)
				}
				n++
				return n < 30
			})
		})
	}
}

func TestStreamKeepsAllOverAnOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDevice(t, nil)
		n, next := 0, uint64(0)
		d.watch(t, `{"keep":"all"}`, func(h api.FrameHeader) bool {
			if n > 0 && (h.Seq != next || h.Lost > 0) {
				t.Fatalf("number %d with %d lost after %d", h.Seq, h.Lost, next-1)
			}
			next = h.Seq + 1
			if n++; n == 10 {
				d.net.Down(true)
				time.Sleep(10 * time.Second)
				d.net.Down(false)
			}
			return n < 400
		}, peer.Window(64))
	})
}

func TestStreamStatesWhatItCouldNotKeep(t *testing.T) {
	for _, options := range []string{`{"keep":"all"}`, `{"keep":"all","fps":10}`} {
		synctest.Test(t, func(t *testing.T) {
			d := newDevice(t, func(c *service.Config) { c.Keep = 20_000 })
			n, next := 0, uint64(0)
			lost, step := uint64(0), uint64(1)
			if options != `{"keep":"all"}` {
				step = 3 // the camera gives 30 a second
			}
			d.watch(t, options, func(h api.FrameHeader) bool {
				// At a rate below the camera's the beat begins anew after a loss, half a step away at most.
				want := next + step*(h.Lost+1)
				if off := max(h.Seq, want) - min(h.Seq, want); n > 0 && off > step/2 {
					t.Errorf("%s: number %d with %d lost after %d, want %d", options, h.Seq, h.Lost, next, want)
				}
				next = h.Seq
				lost += h.Lost
				if n++; n == 10 {
					d.net.Down(true)
					time.Sleep(30 * time.Second)
					d.net.Down(false)
				}
				return n < 100
			}, peer.Window(64))
			if lost == 0 {
				t.Errorf("%s: 30 seconds of pictures in 20 kB, and nothing was lost", options)
			}
		})
	}
}

func TestStreamGoesOnFromAPosition(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDevice(t, nil)
		first := map[string]api.FrameHeader{}
		see := func(options string) {
			d.watch(t, options, func(h api.FrameHeader) bool { first[options] = h; return false })
		}
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go func() { // keeps the camera running
			for range d.RequestStream(ctx, request(t, api.RouteStream, "")) {
			}
		}()
		time.Sleep(time.Second)
		const past, future, other = `{"from":{"boot":"boot-1","seq":5}}`, `{"from":{"boot":"boot-1","seq":300}}`, `{"from":{"boot":"boot-0","seq":5}}`
		for _, options := range []string{past, other, future} {
			see(options)
		}
		if h := first[past]; h.Skipped != h.Seq-5 {
			t.Errorf("from 5: number %d with %d skipped", h.Seq, h.Skipped)
		}
		if h := first[future]; h.Seq != 300 || h.Skipped != 0 {
			t.Errorf("from 300: number %d with %d skipped", h.Seq, h.Skipped)
		}
		if h := first[other]; h.Skipped != 0 {
			t.Errorf("from another run: %d skipped", h.Skipped)
		}
	})
}

func TestTwoViewersCostOneCapture(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDevice(t, nil)
		ended := make(chan int, 2)
		for range 2 {
			go func() {
				n := 0
				d.watch(t, "", func(api.FrameHeader) bool { n++; return n < 60 })
				ended <- n
			}()
		}
		for range 2 {
			if n := <-ended; n != 60 {
				t.Errorf("%d pictures", n)
			}
		}
		if d.front.Starts() != 1 {
			t.Errorf("the camera was started %d times", d.front.Starts())
		}
	})
}
