package camera

import (
	"bytes"
	"errors"
	"fmt"
	"image"
	"image/jpeg"
)

// defaultQuality is the JPEG quality of pictures that we encode when none is asked.
const defaultQuality = 75

// maxDecode bounds the pictures that are decoded, in pixels: each takes one
// and a half bytes, beside a Pi's other work.
const maxDecode = 1 << 25

// bench is where pictures are computed: scratch memory that is kept from one
// to the next. One goroutine uses it at a time.
type bench struct {
	full, small image.YCbCr
	rows        []uint32
	out         bytes.Buffer
}

// make computes the picture of sh that r asks for, in memory of its own.
func (b *bench) make(sh *shot, r rendition) (made, error) {
	img, err := b.load(sh)
	if err != nil {
		return made{}, err
	}
	w, h := fit(sh.width, sh.height, r.width, r.height)
	if w != sh.width || h != sh.height {
		img = b.shrink(img, w, h)
	}
	q := r.quality
	if q == 0 {
		q = defaultQuality
	}
	b.out.Reset()
	if err := jpeg.Encode(&b.out, img, &jpeg.Options{Quality: q}); err != nil {
		return made{}, fmt.Errorf("cannot encode a picture of %d×%d: %w", w, h, err)
	}
	m := passed(sh)
	m.format, m.width, m.height, m.data = MJPEG, w, h, bytes.Clone(b.out.Bytes())
	return m, nil
}

// load gives the shot as an image that image/jpeg encodes without a detour.
// The image may alias the shot's bytes and is not written to.
func (b *bench) load(sh *shot) (image.Image, error) {
	if !sh.format.isJPEG() {
		return unpack(&b.full, sh.data, sh.format, sh.width, sh.height, sh.stride)
	}
	if sh.width*sh.height > maxDecode {
		return nil, fmt.Errorf("a picture of %d×%d is too large to be made smaller here: %w", sh.width, sh.height, ErrUnsupported)
	}
	img, err := jpeg.Decode(bytes.NewReader(sh.data))
	if err != nil {
		return nil, fmt.Errorf("the camera's JPEG cannot be decoded: %w", err)
	}
	switch img.(type) {
	case *image.YCbCr, *image.Gray:
		return img, nil
	}
	return nil, errors.New("the camera's JPEG is neither YCbCr nor grey")
}

// shrink gives img in the smaller size w×h.
func (b *bench) shrink(img image.Image, w, h int) image.Image {
	sizeYCbCr(&b.small, w, h)
	switch src := img.(type) {
	case *image.YCbCr:
		shrinkYCbCr(&b.small, src, &b.rows)
	case *image.Gray:
		s := src.Rect
		shrink(plane{b.small.Y, w, w, h}, plane{src.Pix, src.Stride, s.Dx(), s.Dy()}, &b.rows)
		return &image.Gray{Pix: b.small.Y, Stride: w, Rect: b.small.Rect}
	}
	return &b.small
}

// sizeYCbCr makes m a 4:2:0 image of w×h, in the memory that it has if that suffices.
func sizeYCbCr(m *image.YCbCr, w, h int) {
	cw, ch := (w+1)/2, (h+1)/2
	m.Y, m.Cb, m.Cr = sized(m.Y, w*h), sized(m.Cb, cw*ch), sized(m.Cr, cw*ch)
	m.YStride, m.CStride = w, cw
	m.SubsampleRatio = image.YCbCrSubsampleRatio420
	m.Rect = image.Rect(0, 0, w, h)
}

// sized is b with n bytes, or new memory if b is too small.
func sized(b []byte, n int) []byte {
	if cap(b) < n {
		return make([]byte, n)
	}
	return b[:n]
}
