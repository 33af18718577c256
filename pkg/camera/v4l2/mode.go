//go:build linux && cgo

package v4l2

import (
	"cmp"
	"math"
	"slices"
	"strings"

	"github.com/perchcam/perch/pkg/camera"
)

// What is asked for when the spec leaves it open. A compressed picture costs
// the Pi nothing but its bytes; a raw one must be encoded.
const (
	defaultWidth, defaultHeight = 1280, 720
	rawWidth, rawHeight         = 640, 480
	defaultFPS                  = 30
)

// sizes is what a driver lists for a format: one size, or a range of them. A
// step of 0 is 1.
type sizes struct {
	minW, minH, maxW, maxH int
	stepW, stepH           int
}

// chooseFormat picks the format that is wanted, or else the one that costs the
// Pi least, from what a driver lists. 0 means that none can be used.
func chooseFormat(list []camera.Format, want camera.Format) camera.Format {
	switch {
	case want == 0:
		for _, f := range camera.Formats() {
			if slices.Contains(list, f) {
				return f
			}
		}
	case slices.Contains(list, want):
		return want
	case want == camera.MJPEG && slices.Contains(list, camera.JPEG):
		return camera.JPEG // two names for what is one to us
	case want == camera.JPEG && slices.Contains(list, camera.MJPEG):
		return camera.MJPEG
	}
	return 0
}

// chooseSize picks the listed size that is nearest to what is wanted. A driver
// that lists none is asked for the wanted one as it is.
func chooseSize(list []sizes, format camera.Format, want camera.Want) camera.Mode {
	w, h := want.Width, want.Height
	if w == 0 && h == 0 {
		w, h = rawWidth, rawHeight
		if format.Compressed() {
			w, h = defaultWidth, defaultHeight
		}
	}
	if len(list) == 0 {
		list = []sizes{{}}
	}
	best := camera.Mode{Format: format, FPS: cmp.Or(want.FPS, defaultFPS)}
	distance := math.Inf(1)
	for _, s := range list {
		sw, sh := s.nearest(w, h)
		if d := off(sw, w) + off(sh, h); d < distance {
			best.Width, best.Height, distance = sw, sh, d
		}
	}
	return best
}

// nearest is the size in s that is nearest to w×h; a side of 0 is free and
// follows the other by the proportion of s's largest.
func (s sizes) nearest(w, h int) (int, int) {
	switch {
	case s.maxW <= 0 || s.maxH <= 0: // not listed
		return cmp.Or(w, h*16/9), cmp.Or(h, w*9/16)
	case w == 0:
		w = h * s.maxW / s.maxH
	case h == 0:
		h = w * s.maxH / s.maxW
	}
	return step(w, s.minW, s.maxW, s.stepW), step(h, s.minH, s.maxH, s.stepH)
}

func step(n, low, high, by int) int {
	by = max(by, 1)
	return min(max(low+(n-low+by/2)/by*by, low), high)
}

// off is how far a side is from what is wanted, as a ratio that is the same
// for twice and for half.
func off(n, want int) float64 {
	if want == 0 || n == 0 {
		return 0
	}
	return math.Abs(math.Log(float64(n) / float64(want)))
}

// formatNames lists formats for a sentence.
func formatNames(list []camera.Format) string {
	if len(list) == 0 {
		return "no format that this program knows"
	}
	var names []string
	for _, f := range list {
		names = append(names, f.String())
	}
	return strings.Join(names, ", ")
}
