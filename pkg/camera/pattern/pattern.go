// Package pattern is a camera that draws its picture: colour bars, a block
// that moves with each frame, the wall clock and the frame's number. Every
// frame is a real JPEG, or raw YUYV if that is asked for. It shows that the
// whole way works where there is no camera, and is what tests look at.
package pattern

import (
	"context"
	"fmt"
	"image"
	"iter"
	"time"

	"github.com/perchcam/perch/pkg/camera"
	"github.com/perchcam/perch/pkg/camera/internal/jpegenc"
	"github.com/perchcam/perch/pkg/camera/internal/pace"
)

// The picture when nothing is asked for.
const (
	defaultWidth  = 640
	defaultHeight = 480
	defaultFPS    = 15
	quality       = 80
)

// Source draws pictures. The zero value is ready.
type Source struct{}

// New gives the source for a spec of kind pattern. The address has no meaning.
func New(spec camera.Spec) (*Source, error) {
	switch spec.Want.Format {
	case 0, camera.MJPEG, camera.JPEG, camera.YUYV:
	default:
		return nil, fmt.Errorf("camera %s: kind pattern gives mjpeg and yuyv only: %w", spec.Name, camera.ErrUnsupported)
	}
	if err := spec.CheckOptions(); err != nil {
		return nil, err
	}
	return &Source{}, nil
}

// Describe says what can be drawn.
func (s *Source) Describe(context.Context) (camera.Info, error) {
	return camera.Info{
		Kind: camera.KindPattern,
		Card: "Test pattern",
		Modes: []camera.Mode{
			{Format: camera.MJPEG, Width: defaultWidth, Height: defaultHeight, FPS: defaultFPS},
			{Format: camera.YUYV, Width: defaultWidth, Height: defaultHeight, FPS: defaultFPS},
		},
	}, nil
}

// Frames draws at the rate wanted. A consumer that takes longer than the time
// between frames misses some, as with a real sensor.
func (s *Source) Frames(ctx context.Context, want camera.Want) iter.Seq2[camera.Frame, error] {
	return func(yield func(camera.Frame, error) bool) {
		c := newCanvas(want)
		for n, now := range pace.Beat(ctx, c.period) {
			if !yield(c.draw(n, now), nil) {
				return
			}
		}
	}
}

// canvas is one run's picture and the memory for it.
type canvas struct {
	img     image.YCbCr
	encoder jpegenc.Encoder
	jpeg    []byte
	packed  []byte // YUYV
	period  time.Duration
	format  camera.Format
}

func newCanvas(want camera.Want) *canvas {
	w, h, fps := want.Width, want.Height, want.FPS
	if w == 0 && h == 0 {
		w, h = defaultWidth, defaultHeight
	}
	// One side alone brings the other in proportion.
	if w == 0 {
		w = h * 4 / 3
	}
	if h == 0 {
		h = w * 3 / 4
	}
	w, h = min(max(w&^1, 16), 4096), min(max(h&^1, 16), 4096)
	if fps == 0 {
		fps = defaultFPS
	}
	c := &canvas{
		img:    *image.NewYCbCr(image.Rect(0, 0, w, h), image.YCbCrSubsampleRatio420),
		period: time.Duration(float64(time.Second) / min(fps, 1000)),
		format: camera.MJPEG,
	}
	if want.Format == camera.YUYV {
		c.format = camera.YUYV
		c.packed = make([]byte, 2*w*h)
	}
	return c
}

// draw makes the frame with the number seq.
func (c *canvas) draw(seq uint64, now time.Duration) camera.Frame {
	c.bars()
	c.block(seq)
	w, h := c.img.Rect.Dx(), c.img.Rect.Dy()
	scale := max(w/160, 1)
	c.text(scale*4, scale*4, scale, camera.WallTime(now).UTC().Format("2006-01-02 15:04:05.000"))
	c.text(scale*4, scale*14, scale, fmt.Sprintf("%d", seq))
	f := camera.Frame{Seq: seq, Mono: now, Format: c.format, Width: w, Height: h, Period: c.period}
	if c.format == camera.YUYV {
		c.pack()
		f.Data, f.Stride = c.packed, 2*w
		return f
	}
	c.jpeg = c.encoder.Append(c.jpeg[:0], jpegenc.Image{
		Width: w, Height: h,
		Y: c.img.Y, Cb: c.img.Cb, Cr: c.img.Cr, YStride: c.img.YStride, CStride: c.img.CStride,
	}, quality)
	f.Data = c.jpeg
	return f
}

// bars are the colours of a television test card, white to black, as Y, Cb, Cr.
var bars = [8][3]byte{
	{235, 128, 128},
	{210, 16, 146},
	{170, 166, 16},
	{145, 54, 34},
	{106, 202, 222},
	{81, 90, 240},
	{41, 240, 110},
	{16, 128, 128},
}

func (c *canvas) bars() {
	w := c.img.Rect.Dx()
	fill := func(row []byte, channel int) {
		for x := range row {
			row[x] = bars[x*len(bars)/len(row)][channel]
		}
	}
	fill(c.img.Y[:w], 0)
	fill(c.img.Cb[:c.img.CStride], 1)
	fill(c.img.Cr[:c.img.CStride], 2)
	repeat(c.img.Y, c.img.YStride)
	repeat(c.img.Cb, c.img.CStride)
	repeat(c.img.Cr, c.img.CStride)
}

// repeat copies the first row to all others.
func repeat(pix []byte, stride int) {
	for n := stride; n < len(pix); n *= 2 {
		copy(pix[n:], pix[:n])
	}
}

// block puts a grey square on the lower half that moves by its own width.
func (c *canvas) block(seq uint64) {
	w, h := c.img.Rect.Dx(), c.img.Rect.Dy()
	side := max(min(w, h)/8, 4)
	steps := uint64(max(w/side, 1))
	x0, y0 := int(seq%steps)*side, h-2*side
	for y := max(y0, 0); y < min(y0+side, h); y++ {
		for x := x0; x < min(x0+side, w); x++ {
			c.img.Y[c.img.YOffset(x, y)] = 180
			o := c.img.COffset(x, y)
			c.img.Cb[o], c.img.Cr[o] = 128, 128
		}
	}
}

// pack turns the planes into YUYV.
func (c *canvas) pack() {
	w, h := c.img.Rect.Dx(), c.img.Rect.Dy()
	for y := range h {
		out := c.packed[y*2*w : (y+1)*2*w]
		luma := c.img.Y[y*c.img.YStride:]
		chroma := y / 2 * c.img.CStride
		for x := 0; x < w; x += 2 {
			out[2*x], out[2*x+2] = luma[x], luma[x+1]
			out[2*x+1], out[2*x+3] = c.img.Cb[chroma+x/2], c.img.Cr[chroma+x/2]
		}
	}
}
