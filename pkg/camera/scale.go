package camera

import "image"

// fit gives the size of a picture of w×h inside a box of boxW×boxH: never
// larger than the picture, never out of proportion, never odd (4:2:0 chroma).
// A side that is not asked for (0) does not bound it.
func fit(w, h, boxW, boxH int) (int, int) {
	if boxW <= 0 || boxW > w {
		boxW = w
	}
	if boxH <= 0 || boxH > h {
		boxH = h
	}
	if boxW == w && boxH == h {
		return w, h
	}
	// Compare boxW/w with boxH/h without a division; the smaller one rules.
	if int64(boxW)*int64(h) <= int64(boxH)*int64(w) {
		boxH = int((int64(boxW)*int64(h) + int64(w)/2) / int64(w))
	} else {
		boxW = int((int64(boxH)*int64(w) + int64(h)/2) / int64(h))
	}
	return max(boxW&^1, 2), max(boxH&^1, 2)
}

// plane is one channel of a picture.
type plane struct {
	pix    []byte
	stride int
	w, h   int
}

// chroma is the size of a chroma plane.
func chroma(r image.YCbCrSubsampleRatio, w, h int) (int, int) {
	switch r {
	case image.YCbCrSubsampleRatio420:
		return (w + 1) / 2, (h + 1) / 2
	case image.YCbCrSubsampleRatio422:
		return (w + 1) / 2, h
	case image.YCbCrSubsampleRatio440:
		return w, (h + 1) / 2
	case image.YCbCrSubsampleRatio411:
		return (w + 3) / 4, h
	case image.YCbCrSubsampleRatio410:
		return (w + 3) / 4, (h + 1) / 2
	}
	return w, h
}

// shrink averages the source pixels that fall on each destination pixel (box
// filter, whole pixels): one pass over the source, no floating point. Where
// the destination is larger (chroma of an unusual subsampling), pixels repeat.
// rows is scratch that is kept between calls.
func shrink(dst, src plane, rows *[]uint32) {
	if dst.w == 0 || dst.h == 0 || src.w == 0 || src.h == 0 {
		return
	}
	if cap(*rows) < dst.w {
		*rows = make([]uint32, dst.w)
	}
	sum := (*rows)[:dst.w]
	for y := range dst.h {
		y0 := y * src.h / dst.h
		y1 := max((y+1)*src.h/dst.h, y0+1)
		clear(sum)
		for sy := y0; sy < y1; sy++ {
			row := src.pix[sy*src.stride : sy*src.stride+src.w]
			x0 := 0
			for x := range sum {
				x1 := (x + 1) * src.w / dst.w
				var s uint32
				for _, p := range row[x0:max(x1, x0+1)] {
					s += uint32(p)
				}
				sum[x] += s
				x0 = min(x1, src.w-1)
			}
		}
		out := dst.pix[y*dst.stride : y*dst.stride+dst.w]
		x0 := 0
		for x := range out {
			x1 := (x + 1) * src.w / dst.w
			n := uint32(max(x1-x0, 1) * (y1 - y0))
			out[x] = byte((sum[x] + n/2) / n)
			x0 = min(x1, src.w-1)
		}
	}
}
