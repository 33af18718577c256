package camera

import (
	"fmt"
	"image"
)

// unpack turns a raw frame into an image in 4:2:0, as it will be encoded:
// packed 4:2:2 loses every second chroma row here, where that is free. Planar frames are not copied but pointed at.
// scratch holds what must be moved. The caller has checked len(data) by
// [Format.size].
func unpack(scratch *image.YCbCr, data []byte, f Format, w, h, stride int) (image.Image, error) {
	switch f {
	case GREY:
		return &image.Gray{Pix: data, Stride: stride, Rect: image.Rect(0, 0, w, h)}, nil
	case YU12:
		cs, ch := (stride+1)/2, (h+1)/2
		y, c := data[:stride*h], data[stride*h:]
		return &image.YCbCr{
			Y: y, Cb: c[:cs*ch], Cr: c[cs*ch : 2*cs*ch],
			YStride: stride, CStride: cs,
			SubsampleRatio: image.YCbCrSubsampleRatio420,
			Rect:           image.Rect(0, 0, w, h),
		}, nil
	case NV12:
		cw, ch := (w+1)/2, (h+1)/2
		scratch.Cb, scratch.Cr = sized(scratch.Cb, cw*ch), sized(scratch.Cr, cw*ch)
		for y := range ch {
			row := data[stride*(h+y):]
			split(scratch.Cb[y*cw:(y+1)*cw], scratch.Cr[y*cw:(y+1)*cw], row)
		}
		return &image.YCbCr{
			Y: data[:stride*h], Cb: scratch.Cb, Cr: scratch.Cr,
			YStride: stride, CStride: cw,
			SubsampleRatio: image.YCbCrSubsampleRatio420,
			Rect:           image.Rect(0, 0, w, h),
		}, nil
	case YUYV, UYVY:
		sizeYCbCr(scratch, w, h)
		luma := 0
		if f == UYVY {
			luma = 1
		}
		for y := range h {
			row := data[y*stride : y*stride+f.rowBytes(w)]
			pickLuma(scratch.Y[y*w:(y+1)*w], row[luma:])
			if y&1 == 0 {
				c := y / 2 * scratch.CStride
				pickChroma(scratch.Cb[c:c+scratch.CStride], scratch.Cr[c:c+scratch.CStride], row[1-luma:])
			}
		}
		return scratch, nil
	}
	return nil, fmt.Errorf("no JPEG can be made of format %s: %w", f, ErrUnsupported)
}

// pickLuma takes every second byte.
func pickLuma(dst, row []byte) {
	for len(dst) >= 4 && len(row) >= 8 {
		dst[0], dst[1], dst[2], dst[3] = row[0], row[2], row[4], row[6]
		dst, row = dst[4:], row[8:]
	}
	for i := range dst {
		dst[i] = row[2*i]
	}
}

// pickChroma takes, of every four bytes, the first and the third.
func pickChroma(cb, cr, row []byte) {
	cr = cr[:len(cb)]
	for i := range cb {
		q := row[4*i:]
		q = q[:3:3]
		cb[i], cr[i] = q[0], q[2]
	}
}

// split takes bytes in turn.
func split(a, b, row []byte) {
	b = b[:len(a)]
	for i := range a {
		a[i], b[i] = row[2*i], row[2*i+1]
	}
}
