package camera

import (
	"bytes"
	"fmt"
	"image"
	"image/color"
	"image/jpeg"
	"math"
	"testing"
)

// card is a picture with four coloured quarters, as planes of full resolution.
func card(w, h int) (y, cb, cr func(x, y int) byte) {
	colors := [4]color.YCbCr{{Y: 200, Cb: 90, Cr: 100}, {Y: 60, Cb: 200, Cr: 120}, {Y: 120, Cb: 110, Cr: 210}, {Y: 170, Cb: 160, Cr: 60}}
	at := func(px, py int) color.YCbCr { return colors[px*2/w+py*2/h*2] }
	return func(px, py int) byte { return at(px, py).Y },
		func(px, py int) byte { return at(px, py).Cb },
		func(px, py int) byte { return at(px, py).Cr }
}

// raw writes the card in a format, with rows padded to stride bytes.
func raw(f Format, w, h, stride int) []byte {
	y, cb, cr := card(w, h)
	b := bytes.Repeat([]byte{0xee}, f.size(stride, h)) // padding shows if it gets into the picture
	for py := range h {
		row := b[py*stride:]
		for px := range w {
			even := px &^ 1
			switch f {
			case YUYV:
				row[2*px], row[2*even+1], row[2*even+3] = y(px, py), cb(even, py), cr(even, py)
			case UYVY:
				row[2*px+1], row[2*even], row[2*even+2] = y(px, py), cb(even, py), cr(even, py)
			default:
				row[px] = y(px, py)
			}
		}
	}
	half := (h + 1) / 2
	for py := range half {
		for px := range (w + 1) / 2 {
			u, v := cb(2*px, 2*py), cr(2*px, 2*py)
			switch f {
			case NV12:
				o := stride*(h+py) + 2*px
				b[o], b[o+1] = u, v
			case YU12:
				cs := (stride + 1) / 2
				o := stride*h + cs*py + px
				b[o], b[o+cs*half] = u, v
			}
		}
	}
	return b
}

// look decodes a picture and compares it with the card.
func look(t *testing.T, data []byte, w, h int, grey bool) {
	t.Helper()
	img, err := jpeg.Decode(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	if img.Bounds() != image.Rect(0, 0, w, h) {
		t.Fatalf("got %v, want %d×%d", img.Bounds(), w, h)
	}
	y, cb, cr := card(w, h)
	for _, p := range []image.Point{{w / 8, h / 8}, {w * 7 / 8, h / 8}, {w / 8, h * 7 / 8}, {w * 7 / 8, h * 7 / 8}, {w * 3 / 8, h * 3 / 8}, {w * 5 / 8, h * 5 / 8}} {
		want := color.YCbCr{Y: y(p.X, p.Y), Cb: cb(p.X, p.Y), Cr: cr(p.X, p.Y)}
		var got color.YCbCr
		switch img := img.(type) {
		case *image.YCbCr:
			got = img.YCbCrAt(p.X, p.Y)
		case *image.Gray:
			got = color.YCbCr{Y: img.GrayAt(p.X, p.Y).Y, Cb: want.Cb, Cr: want.Cr}
		}
		if _, ok := img.(*image.Gray); ok != grey {
			t.Fatalf("got a %T", img)
		}
		if apart(got.Y, want.Y) > 9 || apart(got.Cb, want.Cb) > 9 || apart(got.Cr, want.Cr) > 9 {
			t.Errorf("at %v: %v, want %v", p, got, want)
		}
	}
}

func apart(a, b byte) int { return max(int(a)-int(b), int(b)-int(a)) }

func TestRawFormatsBecomePictures(t *testing.T) {
	for _, f := range []Format{YUYV, UYVY, NV12, YU12, GREY} {
		for _, s := range []struct{ w, h, pad int }{{160, 96, 0}, {160, 96, 32}, {162, 98, 6}, {161, 97, 0}} {
			t.Run(fmt.Sprintf("%s/%d×%d+%d", f, s.w, s.h, s.pad), func(t *testing.T) {
				stride := f.rowBytes(s.w) + s.pad
				sh, reason := copyFrame(Frame{Format: f, Width: s.w, Height: s.h, Stride: stride, Data: raw(f, s.w, s.h, stride)}, nil)
				if reason != "" {
					t.Fatal(reason)
				}
				var b bench
				for _, r := range []rendition{{}, {quality: 90}, {width: s.w / 2}} {
					m, err := b.make(sh, r)
					if err != nil {
						t.Fatal(err)
					}
					w, h := fit(s.w, s.h, r.width, r.height)
					if m.width != w || m.height != h || m.format != MJPEG {
						t.Errorf("says %d×%d %s, want %d×%d", m.width, m.height, m.format, w, h)
					}
					look(t, m.data, w, h, f == GREY)
				}
			})
		}
	}
}

// What a camera means by its numbers, a JPEG says in its own.
func TestColorsAreThoseOfAJPEG(t *testing.T) {
	clamped := func(v float64) byte { return byte(math.Round(min(max(v, 0), 255))) }
	for _, rgb := range []color.RGBA{{255, 255, 255, 0}, {0, 0, 0, 0}, {255, 0, 0, 0}, {0, 255, 0, 0}, {0, 0, 255, 0}, {200, 120, 40, 0}, {10, 90, 180, 0}} {
		var want color.YCbCr
		want.Y, want.Cb, want.Cr = color.RGBToYCbCr(rgb.R, rgb.G, rgb.B)
		for _, c := range []Color{{}, {Limited: true}, {Rec709: true}, {true, true}} {
			// ITU-R BT.601 and BT.709: luma is a weighted sum, chroma how far blue and red are from it.
			kr, kb := 0.299, 0.114
			if c.Rec709 {
				kr, kb = 0.2126, 0.0722
			}
			r, g, b := float64(rgb.R)/255, float64(rgb.G)/255, float64(rgb.B)/255
			l := kr*r + (1-kr-kb)*g + kb*b
			u, v := (b-l)/2/(1-kb), (r-l)/2/(1-kr)
			y, cb, cr := clamped(l*255), clamped(128+u*255), clamped(128+v*255)
			if c.Limited {
				y, cb, cr = clamped(16+l*219), clamped(128+u*224), clamped(128+v*224)
			}
			for _, f := range []Format{YUYV, UYVY, NV12, YU12} {
				const w, h = 17, 9
				data := make([]byte, f.size(f.rowBytes(w), h))
				for i := range data {
					switch n := w / 2 * 2; {
					case f == YUYV:
						data[i] = []byte{y, cb, y, cr}[i%4]
					case f == UYVY:
						data[i] = []byte{cb, y, cr, y}[i%4]
					case i < (n+2)*h:
						data[i] = y
					case f == NV12:
						data[i] = []byte{cb, cr}[i%2]
					case i < (n+2)*h+(n+2)/2*((h+1)/2):
						data[i] = cb
					default:
						data[i] = cr
					}
				}
				sh, reason := copyFrame(Frame{Format: f, Width: w, Height: h, Color: c, Data: data}, nil)
				if reason != "" {
					t.Fatal(reason)
				}
				m := sh.image().(*image.YCbCr)
				for _, p := range []image.Point{{0, 0}, {w / 2, h / 2}, {w - 1, h - 1}} {
					if got := m.YCbCrAt(p.X, p.Y); apart(got.Y, want.Y) > 2 || apart(got.Cb, want.Cb) > 2 || apart(got.Cr, want.Cr) > 2 {
						t.Errorf("%v as %s of %+v: at %v %v, want %v", rgb, f, c, p, got, want)
					}
				}
			}
		}
	}
}

func TestPicturesAreMadeSmaller(t *testing.T) {
	sh, reason := copyFrame(Frame{Format: MJPEG, Data: encode(t, 320, 180)}, nil)
	if reason != "" || sh.width != 320 || sh.height != 180 {
		t.Fatalf("%q, %d×%d", reason, sh.width, sh.height)
	}
	var b bench
	for _, r := range []rendition{{width: 160}, {height: 100}, {width: 64, height: 64}, {quality: 30}} {
		m, err := b.make(sh, r)
		if err != nil {
			t.Fatal(err)
		}
		w, h := fit(320, 180, r.width, r.height)
		look(t, m.data, w, h, false)
	}
}

// encode gives the card as a JPEG.
func encode(t testing.TB, w, h int) []byte {
	t.Helper()
	var b bench
	m, err := b.make(&shot{format: YU12, width: w, height: h, data: raw(YU12, w, h, w)}, rendition{quality: 90})
	if err != nil {
		t.Fatal(err)
	}
	return m.data
}

func TestFit(t *testing.T) {
	for _, c := range []struct{ w, h, boxW, boxH, gotW, gotH int }{
		{1280, 720, 0, 0, 1280, 720},
		{1280, 720, 640, 0, 640, 360},
		{1280, 720, 0, 360, 640, 360},
		{1280, 720, 640, 480, 640, 360},
		{1280, 720, 300, 300, 300, 168},
		{1280, 720, 5000, 5000, 1280, 720},
		{1280, 720, 1, 1, 2, 2},
		{1280, 720, 1000000, 100, 178, 100},
		{161, 97, 0, 0, 161, 97},
		{16, 4000, 8, 0, 8, 2000},
	} {
		if w, h := fit(c.w, c.h, c.boxW, c.boxH); w != c.gotW || h != c.gotH {
			t.Errorf("%d×%d in %d×%d: got %d×%d, want %d×%d", c.w, c.h, c.boxW, c.boxH, w, h, c.gotW, c.gotH)
		}
	}
}

func TestNearRequestsShareTheirWork(t *testing.T) {
	for _, c := range []struct {
		w, h, q int
		want    rendition
	}{
		{0, 0, 0, rendition{}},
		{1280, 720, 0, rendition{}},
		{640, 0, 0, rendition{640, 360, 0}},
		{641, 400, 0, rendition{640, 360, 0}},
		{0, 0, 73, rendition{0, 0, 75}},
		{0, 0, 1, rendition{0, 0, 5}},
		{0, 0, 1000, rendition{0, 0, 95}},
		{-5, -5, -5, rendition{0, 0, 5}},
	} {
		if got := newRendition(c.w, c.h, c.q).of(1280, 720); got != c.want {
			t.Errorf("%d×%d at %d: got %+v, want %+v", c.w, c.h, c.q, got, c.want)
		}
	}
}

func TestFramesThatAreNoPictureAreRefused(t *testing.T) {
	whole := encode(t, 64, 48)
	for want, f := range map[string]Frame{
		DropEmpty:   {Format: MJPEG},
		DropTorn:    {Format: MJPEG, Data: whole[:len(whole)-2]},
		DropBadSize: {Format: YUYV, Width: 64, Height: 48, Data: make([]byte, 64*48*2-1)},
		DropTooBig:  {Format: MJPEG, Data: make([]byte, maxFrame+1)},
	} {
		if _, reason := copyFrame(f, nil); reason != want {
			t.Errorf("got %q, want %q", reason, want)
		}
	}
	for _, f := range []Frame{
		{Format: NV12, Width: -46, Height: 15, Stride: 16, Data: make([]byte, 1000)},
		{Format: YUYV, Width: -1, Height: 5, Data: make([]byte, 100)},
		{Format: YUYV, Width: 1 << 30, Height: 1 << 30, Data: make([]byte, 100)},
		{Format: Format('R' | 'G'<<8 | 'B'<<16 | '3'<<24), Width: 5, Height: 5, Data: make([]byte, 100)},
	} {
		if _, reason := copyFrame(f, nil); reason == "" {
			t.Errorf("%d×%d %s passes", f.Width, f.Height, f.Format)
		}
	}
}

// What comes from a camera may be anything.
func FuzzCopyAndMake(f *testing.F) {
	f.Add(uint32(YUYV), 16, 16, 32, raw(YUYV, 16, 16, 32))
	f.Add(uint32(NV12), 15, 15, 16, raw(NV12, 15, 15, 16))
	f.Add(uint32(MJPEG), 0, 0, 0, encode(f, 16, 16))
	f.Fuzz(func(t *testing.T, format uint32, w, h, stride int, data []byte) {
		sh, reason := copyFrame(Frame{Format: Format(format), Width: w, Height: h, Stride: stride, Data: data}, nil)
		if reason != "" || sh.width*sh.height > 1<<20 {
			return
		}
		var b bench
		b.make(sh, rendition{})
		b.make(sh, rendition{width: 8, quality: 50})
		brightness(sh)
	})
}

func BenchmarkMake(b *testing.B) {
	for _, s := range []struct{ w, h int }{{640, 480}, {1280, 720}, {1920, 1080}} {
		for _, f := range []Format{YUYV, NV12, YU12, MJPEG} {
			in := Frame{Format: f, Width: s.w, Height: s.h, Stride: f.rowBytes(s.w)}
			var r rendition
			if f == MJPEG {
				in.Data, r.quality = encode(b, s.w, s.h), 75
			} else {
				in.Data = raw(f, s.w, s.h, in.Stride)
			}
			for _, limited := range []bool{false, true} {
				in.Color.Limited = limited
				b.Run(fmt.Sprintf("%s/%dx%d/limited=%v", f, s.w, s.h, limited), func(b *testing.B) {
					var at bench
					var buf []byte
					b.ReportAllocs()
					for b.Loop() {
						sh, reason := copyFrame(in, buf)
						if reason != "" {
							b.Fatal(reason)
						}
						if _, err := at.make(sh, r); err != nil {
							b.Fatal(err)
						}
						buf = sh.data
					}
				})
			}
		}
		b.Run(fmt.Sprintf("half/%dx%d", s.w, s.h), func(b *testing.B) {
			sh := &shot{format: YU12, width: s.w, height: s.h, data: raw(YU12, s.w, s.h, s.w)}
			var at bench
			b.ReportAllocs()
			for b.Loop() {
				if _, err := at.make(sh, rendition{width: s.w / 2}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
