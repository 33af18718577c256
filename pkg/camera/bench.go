package camera

import (
	"bytes"
	"errors"
	"fmt"
	"image"
	"image/jpeg"

	"github.com/perchcam/perch/pkg/camera/internal/jpegenc"
)

// defaultQuality is the JPEG quality of pictures that we encode when none is asked.
const defaultQuality = 75

// maxDecode bounds the pictures that are decoded, in pixels: each takes one
// and a half bytes, beside a Pi's other work.
const maxDecode = 1 << 25

// bench is where pictures are computed: scratch memory that is kept from one
// to the next. One goroutine uses it at a time.
type bench struct {
	small   image.YCbCr
	rows    []uint32
	encoder jpegenc.Encoder
	out     []byte
}

// make computes the picture of sh that r asks for, in memory of its own.
func (b *bench) make(sh *shot, r rendition) (made, error) {
	img, err := load(sh)
	if err != nil {
		return made{}, err
	}
	w, h := fit(sh.width, sh.height, r.width, r.height)
	q := r.quality
	if q == 0 {
		q = defaultQuality
	}
	b.out = b.encoder.Append(b.out[:0], b.planes(img, w, h), q)
	m := passed(sh)
	m.format, m.width, m.height, m.data = MJPEG, w, h, bytes.Clone(b.out)
	return m, nil
}

// image is a raw shot as an image that aliases its bytes.
func (s *shot) image() image.Image {
	y, cb, cr := planes(s.data, s.width, s.height)
	if s.format == GREY {
		return &image.Gray{Pix: y, Stride: s.width, Rect: image.Rect(0, 0, s.width, s.height)}
	}
	return &image.YCbCr{
		Y: y, Cb: cb, Cr: cr,
		YStride: s.width, CStride: (s.width + 1) / 2,
		SubsampleRatio: image.YCbCrSubsampleRatio420,
		Rect:           image.Rect(0, 0, s.width, s.height),
	}
}

// load gives the shot as an image. It may alias the shot's bytes and is not
// written to.
func load(sh *shot) (image.Image, error) {
	if !sh.format.isJPEG() {
		return sh.image(), nil
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

// planes gives img in the size w×h, which is not larger, and in 4:2:0. Planes
// that are right already are not copied.
func (b *bench) planes(img image.Image, w, h int) jpegenc.Image {
	out := jpegenc.Image{Width: w, Height: h}
	cw, ch := (w+1)/2, (h+1)/2
	switch src := img.(type) {
	case *image.Gray:
		out.Y, out.YStride = b.fitted(&b.small.Y, plane{src.Pix, src.Stride, src.Rect.Dx(), src.Rect.Dy()}, w, h)
	case *image.YCbCr:
		sw, sh := src.Rect.Dx(), src.Rect.Dy()
		scw, sch := chroma(src.SubsampleRatio, sw, sh)
		out.Y, out.YStride = b.fitted(&b.small.Y, plane{src.Y, src.YStride, sw, sh}, w, h)
		out.Cb, out.CStride = b.fitted(&b.small.Cb, plane{src.Cb, src.CStride, scw, sch}, cw, ch)
		out.Cr, out.CStride = b.fitted(&b.small.Cr, plane{src.Cr, src.CStride, scw, sch}, cw, ch)
	}
	return out
}

// fitted gives src in the size w×h, in scratch if it has to be made smaller.
func (b *bench) fitted(scratch *[]byte, src plane, w, h int) (pix []byte, stride int) {
	if src.w == w && src.h == h {
		return src.pix, src.stride
	}
	*scratch = sized(*scratch, w*h)
	shrink(plane{*scratch, w, w, h}, src, &b.rows)
	return *scratch, w
}

// sized is b with n bytes, or new memory if b is too small.
func sized(b []byte, n int) []byte {
	if cap(b) < n {
		return make([]byte, n)
	}
	return b[:n]
}
