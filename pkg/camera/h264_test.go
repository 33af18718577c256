package camera_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/perchcam/perch/pkg/camera"
	"github.com/perchcam/perch/pkg/camera/cameratest"
)

const gopLength = 10

// h264 gives access units: a key picture with parameters every gopLength frames.
func h264(n uint64) []byte {
	if n%gopLength == 0 {
		return append([]byte("\x00\x00\x00\x01\x67sps\x00\x00\x00\x01\x68pps\x00\x00\x01\x65\x88key"), byte(n))
	}
	return append([]byte("\x00\x00\x00\x01\x41\x9a..."), byte(n))
}

func isKey(p camera.Picture) bool { return bytes.Contains(p.Data, []byte("\x01\x65")) }

func TestH264BeginsWithAKeyPictureAndHasNoGaps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := run(t, &cameratest.Source{Format: camera.H264, Data: h264})
		a := h.View(camera.ViewOptions{Format: camera.H264})
		defer a.Close()
		for range 13 {
			next(t, a)
		}
		b := h.View(camera.ViewOptions{Format: camera.H264}) // in the middle of a group
		defer b.Close()
		last := next(t, b)
		if !isKey(last) || !bytes.Contains(last.Data, []byte("sps")) || last.Skipped != 0 {
			t.Fatalf("begins with %q, %d skipped", last.Data, last.Skipped)
		}
		for range 50 {
			p := next(t, b)
			if p.Seq != last.Seq+1 || p.Skipped != 0 || p.Format != camera.H264 {
				t.Fatalf("picture %d comes after %d, %d skipped", p.Seq, last.Seq, p.Skipped)
			}
			last = p
		}
	})
}

func TestH264IsSkippedByWholeGroups(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := run(t, &cameratest.Source{Format: camera.H264, Data: h264})
		v := h.View(camera.ViewOptions{Format: camera.H264})
		defer v.Close()
		last := next(t, v)
		skips := 0
		for i := range 200 {
			if i%7 == 0 {
				time.Sleep(time.Duration(i%23) * period)
			}
			p := next(t, v)
			if p.Seq != last.Seq+1+p.Skipped {
				t.Fatalf("picture %d after %d says %d skipped", p.Seq, last.Seq, p.Skipped)
			}
			if p.Skipped > 0 {
				skips++
				if !isKey(p) {
					t.Fatalf("goes on with picture %d after a skip: no key picture", p.Seq)
				}
			}
			if age := camera.Mono() - p.Mono; age > gopLength*period {
				t.Fatalf("picture %d is %v old", p.Seq, age)
			}
			last = p
		}
		if skips == 0 {
			t.Error("nothing was skipped: the test is no test")
		}
	})
}

func TestH264AfterALossWaitsForAKeyPicture(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := run(t, &cameratest.Source{Format: camera.H264, Data: h264, Skip: func(n uint64) bool { return n%gopLength == 4 }})
		v := h.View(camera.ViewOptions{Format: camera.H264})
		defer v.Close()
		last := next(t, v)
		for range 40 {
			p := next(t, v)
			if p.Skipped > 0 && (!isKey(p) || p.Skipped != 6) {
				t.Fatalf("picture %d after %d, %d skipped", p.Seq, last.Seq, p.Skipped)
			}
			last = p
		}
		if h.Stats().Dropped[camera.DropNoKey] == 0 {
			t.Error("pictures that cannot be decoded were not counted")
		}
	})
}

func TestH264BelowItsRateIsKeyPictures(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := run(t, &cameratest.Source{Format: camera.H264, Data: h264})
		v := h.View(camera.ViewOptions{Format: camera.H264, FPS: 1})
		defer v.Close()
		first := next(t, v)
		p := first
		for range 5 {
			if p = next(t, v); !isKey(p) {
				t.Fatalf("picture %d is no key picture", p.Seq)
			}
		}
		if d := (p.Mono - first.Mono).Seconds(); d < 4.8 || d > 5.2 {
			t.Errorf("5 pictures in %.1f s", d)
		}
	})
}

func TestFormatsThatCannotBeHadAreRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := run(t, &cameratest.Source{Format: camera.H264, Data: h264})
		_, err := h.Snapshot(t.Context(), camera.SnapshotOptions{})
		if !errors.Is(err, camera.ErrUnsupported) || !strings.Contains(err.Error(), "format=mjpeg") {
			t.Errorf("a snapshot of H.264: %v", err)
		}
		h = run(t, &cameratest.Source{})
		v := h.View(camera.ViewOptions{Format: camera.H264})
		defer v.Close()
		if _, err := v.Next(t.Context()); !errors.Is(err, camera.ErrUnsupported) {
			t.Errorf("H.264 of a camera that gives JPEG: %v", err)
		}
	})
}

func TestH264ParametersAreAddedToKeyPictures(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := run(t, &cameratest.Source{Format: camera.H264, Data: func(n uint64) []byte {
			if n%gopLength == 0 && n > 0 {
				return []byte("\x00\x00\x01\x65\x88key") // parameters came once, at the start
			}
			return h264(n)
		}})
		v := h.View(camera.ViewOptions{Format: camera.H264})
		defer v.Close()
		for range 30 {
			if p := next(t, v); isKey(p) && (!bytes.HasPrefix(p.Data, []byte("\x00\x00\x00\x01\x67sps\x00\x00\x00\x01\x68pps\x00\x00\x01\x65"))) {
				t.Fatalf("key picture %d is %q", p.Seq, p.Data)
			}
		}
	})
}
