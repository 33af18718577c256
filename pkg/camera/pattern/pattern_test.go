package pattern

import (
	"bytes"
	"flag"
	"image"
	"image/jpeg"
	"testing"
	"time"

	"github.com/perchcam/perch/pkg/camera"
	"github.com/perchcam/perch/pkg/camera/cameratest"
)

var cyclesFlag = flag.Int("cycles", 20, "starts and stops in the conformance test")

func TestConformance(t *testing.T) {
	for _, format := range []camera.Format{camera.MJPEG, camera.YUYV} {
		t.Run(format.String(), func(t *testing.T) {
			cameratest.Conformance(t, &Source{}, cameratest.Options{Want: camera.Want{Width: 64, FPS: 100, Format: format}, Cycles: *cyclesFlag})
		})
	}
}

func TestPictureMovesAndShowsItsNumber(t *testing.T) {
	c := newCanvas(camera.Want{})
	draw := func(seq uint64) *image.YCbCr {
		img, err := jpeg.Decode(bytes.NewReader(c.draw(seq, camera.Mono()).Data))
		if err != nil {
			t.Fatal(err)
		}
		if img.Bounds() != image.Rect(0, 0, 640, 480) {
			t.Fatalf("got %v", img.Bounds())
		}
		return img.(*image.YCbCr)
	}
	a, b := draw(1), draw(2)
	// The block is 60 wide, on the row 120 above the lower edge.
	if y := a.Y[a.YOffset(90, 390)]; y < 170 || y > 190 {
		t.Errorf("picture 1 has luma %d where the block should be", y)
	}
	if y := b.Y[b.YOffset(150, 390)]; y < 170 || y > 190 {
		t.Errorf("picture 2 has luma %d where the block should be", y)
	}
	if got := read(a, 16, 56, 4); got != "1" {
		t.Errorf("picture 1 shows number %q", got)
	}
	if got := read(draw(90271), 16, 56, 4); got != "90271" {
		t.Errorf("picture 90271 shows number %q", got)
	}
}

// read reads the digits at x, y.
func read(img *image.YCbCr, x, y, scale int) string {
	var out []rune
	for ; ; x += 4 * scale {
		var g uint16
		for dy := range 5 {
			for dx := range 3 {
				g <<= 1
				if img.Y[img.YOffset(x+dx*scale+scale/2, y+dy*scale+scale/2)] > 128 {
					g |= 1
				}
			}
		}
		found := false
		for r, want := range glyphs {
			if r >= '0' && r <= '9' && g == want {
				out, found = append(out, r), true
			}
		}
		if !found {
			return string(out)
		}
	}
}

func TestWantIsMet(t *testing.T) {
	for _, c := range []struct{ w, h, gotW, gotH int }{
		{0, 0, 640, 480}, {320, 0, 320, 240}, {0, 300, 400, 300}, {3, 3, 16, 16}, {1000000, 9, 4096, 16},
	} {
		b := newCanvas(camera.Want{Width: c.w, Height: c.h}).img.Rect
		if b.Dx() != c.gotW || b.Dy() != c.gotH {
			t.Errorf("%d×%d gives %d×%d, want %d×%d", c.w, c.h, b.Dx(), b.Dy(), c.gotW, c.gotH)
		}
	}
	if p := newCanvas(camera.Want{FPS: 25}).period; p != 40*time.Millisecond {
		t.Errorf("25 fps is a frame every %v", p)
	}
}

func TestNewRefusesWhatItCannot(t *testing.T) {
	if _, err := New(camera.Spec{Name: "x", Want: camera.Want{Format: camera.H264}}); err == nil {
		t.Error("h264 passes")
	}
	if _, err := New(camera.Spec{Name: "x", Options: map[string]string{"colour": "red"}}); err == nil {
		t.Error("an unknown key passes")
	}
}
