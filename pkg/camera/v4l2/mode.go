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

// sizes is one format that a driver lists, with the sizes it has in it. Min
// equals max where the size is fixed. A step of 0 is 1.
type sizes struct {
	format                 camera.Format
	minW, minH, maxW, maxH int
	stepW, stepH           int
	fps                    float64 // highest that is listed for the largest; 0 if unknown
}

// choose picks from what a driver lists the nearest to what is wanted: first
// the format, then the size. false means that nothing listed can be used. A
// driver that lists no sizes is asked for the wanted one as it is.
func choose(list []sizes, want camera.Want) (camera.Mode, bool) {
	format := want.Format
	if format == 0 {
		for _, f := range camera.Formats() {
			if slices.ContainsFunc(list, func(s sizes) bool { return s.format == f }) {
				format = f
				break
			}
		}
	}
	if format == camera.JPEG || format == camera.MJPEG { // two names for what is one to us
		if !slices.ContainsFunc(list, func(s sizes) bool { return s.format == format }) {
			format = camera.MJPEG + camera.JPEG - format
		}
	}
	if !slices.Contains(camera.Formats(), format) {
		return camera.Mode{}, false
	}
	w, h := want.Width, want.Height
	if w == 0 && h == 0 {
		w, h = rawWidth, rawHeight
		if format.Compressed() {
			w, h = defaultWidth, defaultHeight
		}
	}
	best := camera.Mode{Format: format, FPS: cmp.Or(want.FPS, defaultFPS)}
	distance := math.Inf(1)
	for _, s := range list {
		if s.format != format {
			continue
		}
		sw, sh := s.nearest(w, h)
		if d := off(sw, w) + off(sh, h); d < distance {
			best.Width, best.Height, distance = sw, sh, d
		}
	}
	return best, !math.IsInf(distance, 1)
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

// modes lists what can be used, for people to read.
func modes(list []sizes) []camera.Mode {
	var out []camera.Mode
	for _, s := range list {
		if slices.Contains(camera.Formats(), s.format) {
			out = append(out, camera.Mode{Format: s.format, Width: s.maxW, Height: s.maxH, FPS: s.fps})
		}
	}
	return out
}

// known tells whether a format can be used.
func known(f camera.Format) bool { return slices.Contains(camera.Formats(), f) }

// formatNames lists the formats for a sentence.
func formatNames(list []sizes) string {
	var names []string
	for _, s := range list {
		if n := s.format.String(); !slices.Contains(names, n) {
			names = append(names, n)
		}
	}
	if len(names) == 0 {
		return "no format that this program knows"
	}
	return strings.Join(names, ", ")
}
