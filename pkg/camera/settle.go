package camera

import (
	"context"
	"fmt"
	"image"
	"time"
)

// Limits of waiting for a camera's exposure to come to rest.
const (
	settleTime   = 2 * time.Second
	settleFrames = 30
	settleStart  = 12 // frames of a new run that are not believed: exposure reacts late, so they may be at rest in the dark
	settleLook   = 5  // readings in a row that must agree
	settleSpread = 3  // by so much of 255, noise included
	settleDark   = 20 // rest below this is believed only at the limit
	settleBright = 235
)

// rest judges whether a camera's exposure has come to rest, from the mean
// brightness of its frames.
type rest struct {
	began    time.Duration // of the first reading
	first    uint64        // frame number of it
	readings []float64     // the last few
}

// verdict of a rest so far.
type verdict int

const (
	unknown verdict = iota
	settled
	gaveUp
)

// add takes a reading: when it was taken, the frame's number, its number in
// this run of the camera, and its brightness from 0 to 255.
func (r *rest) add(mono time.Duration, seq, nth uint64, luma float64) verdict {
	if r.readings == nil {
		r.began, r.first = mono, seq
	}
	r.readings = append(r.readings, luma)
	if len(r.readings) > settleLook {
		r.readings = r.readings[1:]
	}
	low, high := luma, luma
	for _, l := range r.readings {
		low, high = min(low, l), max(high, l)
	}
	calm := len(r.readings) == settleLook && high-low <= settleSpread
	limit := mono-r.began >= settleTime || seq-r.first >= settleFrames-1
	switch {
	case calm && (limit || nth >= settleStart && low > settleDark && high < settleBright):
		return settled
	case limit:
		return gaveUp
	}
	return unknown
}

// settle looks at frames until exposure has come to rest or the limit is
// reached, and lets v have only pictures from then on.
func (v *Viewer) settle(ctx context.Context) (bool, error) {
	h := v.hub
	var r rest
	var last uint64
	for {
		h.mu.Lock()
		err := v.trouble()
		sh := h.held
		if err != nil || sh == nil || sh.seq <= last || !v.serves(sh.seq, sh.mono) {
			sh = nil
		} else {
			sh.refs++
		}
		h.mu.Unlock()
		if err != nil {
			return false, err
		}
		if sh == nil {
			select {
			case <-ctx.Done():
				return false, context.Cause(ctx)
			case <-v.wake:
			}
			continue
		}
		l, err := brightness(sh)
		h.mu.Lock()
		h.drop(sh)
		last = sh.seq
		verdict := unknown
		if err == nil { // one that cannot be decoded says nothing
			verdict = r.add(sh.mono, sh.seq, sh.nth, l)
		}
		if verdict != unknown {
			v.after = sh.mono - 1
		}
		h.mu.Unlock()
		if verdict != unknown {
			return verdict == settled, nil
		}
	}
}

// brightness is the mean luma of a frame, from 0 to 255.
func brightness(s *shot) (float64, error) {
	if s.format == H264 {
		return 0, fmt.Errorf("the brightness of %s cannot be told: %w", s.format, ErrUnsupported)
	}
	img, err := load(s)
	if err != nil {
		return 0, err
	}
	if img, ok := img.(*image.YCbCr); ok {
		return mean(img.Y, img.YStride, img.Rect.Dx(), img.Rect.Dy()), nil
	}
	grey := img.(*image.Gray) // load gives no other
	return mean(grey.Pix, grey.Stride, grey.Rect.Dx(), grey.Rect.Dy()), nil
}

// mean samples w×h luma values: every eighth of every eighth row will do.
func mean(pix []byte, stride, w, h int) float64 {
	const every = 8
	sum, n := 0, 0
	for y := every / 2 % h; y < h; y += every {
		for x := every / 2 % w; x < w; x += every {
			sum += int(pix[y*stride+x])
			n++
		}
	}
	return float64(sum) / float64(n)
}
