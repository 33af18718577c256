package camera

// unpack writes a raw frame as it will be encoded: planes of Y, Cb and Cr in
// 4:2:0, or luma alone, without padding, in a JPEG's colours. Packed 4:2:2
// loses every second row of chroma, here where that is free. dst has
// planarSize bytes, and stride is at least the format's rowBytes; the caller
// has checked len(f.Data) by [Format.size].
func unpack(dst []byte, f Frame, stride int) {
	w, h, data := f.Width, f.Height, f.Data
	luma, cb, cr := planes(dst, w, h)
	cw, ch := (w+1)/2, (h+1)/2
	for y := range h {
		row, from := luma[y*w:(y+1)*w], data[y*stride:]
		switch f.Format {
		case YUYV:
			pickLuma(row, from)
		case UYVY:
			pickLuma(row, from[1:])
		default:
			copy(row, from[:w])
		}
		if f.Color.Limited {
			expand(row, &fullLuma)
		}
	}
	if f.Format == GREY {
		return
	}
	for y := range ch {
		u, v := cb[y*cw:(y+1)*cw], cr[y*cw:(y+1)*cw]
		switch f.Format {
		case YUYV:
			pickChroma(u, v, data[2*y*stride+1:])
		case UYVY:
			pickChroma(u, v, data[2*y*stride:])
		case NV12:
			split(u, v, data[stride*(h+y):])
		case YU12:
			cs := (stride + 1) / 2
			copy(u, data[stride*h+cs*y:][:cw])
			copy(v, data[stride*h+cs*(ch+y):][:cw])
		}
		if f.Color.Limited {
			expand(u, &fullChroma)
			expand(v, &fullChroma)
		}
		if f.Color.Rec709 {
			toRec601(luma[2*y*w:min(2*y+2, h)*w], u, v, w)
		}
	}
}

// planarSize is how many bytes unpack makes of a frame, 0 if it cannot.
func planarSize(f Format, w, h int) int {
	switch f {
	case GREY:
		return w * h
	case YUYV, UYVY, NV12, YU12:
		return w*h + 2*((w+1)/2)*((h+1)/2)
	}
	return 0
}

// planes are those of a picture that unpack has made; without chroma, if it is grey.
func planes(b []byte, w, h int) (y, cb, cr []byte) {
	y, b = b[:w*h], b[w*h:]
	return y, b[:len(b)/2], b[len(b)/2:]
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
