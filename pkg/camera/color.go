package camera

import "math"

// JFIF knows one meaning of Y, Cb and Cr: the full range of 0 … 255, by
// Rec. 601. Cameras give others: V4L2's default for YUV is the limited range,
// and capture cards for HDMI use Rec. 709. A picture that is not converted is
// pale in the first case, and its greens and reds are off in the second.

// fullLuma and fullChroma are what values of the limited range are in the full one.
var fullLuma, fullChroma = fullRange(16, 219, 0), fullRange(128, 224, 128)

// fullRange stretches so many steps to 255, such that from becomes to.
func fullRange(from, steps, to int) (t [256]byte) {
	for v := range t {
		t[v] = clamp(to + int(math.Round(float64((v-from)*255)/float64(steps))))
	}
	return t
}

// expand maps values in place.
func expand(row []byte, to *[256]byte) {
	for i, v := range row {
		row[i] = to[v]
	}
}

// toRec601 turns a row of chroma and the two rows of luma over it, each w long,
// from Rec. 709 to Rec. 601, in place. The factors, in 1/256, are those of the
// one standard's way to red, green and blue and of the other's way back.
func toRec601(luma, cb, cr []byte, w int) {
	cr = cr[:len(cb)]
	for i, u := range cb {
		u, v := int(u)-128, int(cr[i])-128
		if u == 0 && v == 0 {
			continue
		}
		cb[i] = clamp(128 + (253*u-28*v+128)>>8)
		cr[i] = clamp(128 + (252*v-19*u+128)>>8)
		more := (26*u + 50*v + 128) >> 8
		for x := 2 * i; x < min(2*i+2, w); x++ {
			luma[x] = clamp(int(luma[x]) + more)
			if y := x + w; y < len(luma) {
				luma[y] = clamp(int(luma[y]) + more)
			}
		}
	}
}

func clamp(v int) byte { return byte(min(max(v, 0), 255)) }
