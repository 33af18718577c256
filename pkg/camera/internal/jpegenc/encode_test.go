package jpegenc

import (
	"bytes"
	"fmt"
	"image"
	"image/jpeg"
	"math"
	"math/rand/v2"
	"testing"
)

// scene is a picture with edges, gradients and a sensor's noise.
func scene(w, h int) *image.YCbCr {
	m := image.NewYCbCr(image.Rect(0, 0, w, h), image.YCbCrSubsampleRatio420)
	r := rand.New(rand.NewPCG(1, 2))
	for y := range h {
		for x := range w {
			v := 128 + 60*math.Sin(float64(x)/37)*math.Cos(float64(y)/23) + float64((x/64+y/48)%2)*40 + r.NormFloat64()*3
			m.Y[y*m.YStride+x] = byte(max(0, min(255, v)))
		}
	}
	for y := range (h + 1) / 2 {
		for x := range (w + 1) / 2 {
			m.Cb[y*m.CStride+x] = byte(128 + 50*math.Sin(float64(x)/100))
			m.Cr[y*m.CStride+x] = byte(128 + 50*math.Cos(float64(y)/75))
		}
	}
	return m
}

func of(m *image.YCbCr) Image {
	return Image{Width: m.Rect.Dx(), Height: m.Rect.Dy(), Y: m.Y, Cb: m.Cb, Cr: m.Cr, YStride: m.YStride, CStride: m.CStride}
}

// psnr is how near b is to a, in dB, over the samples of w × h.
func psnr(a, b []byte, as, bs, w, h int) float64 {
	sum := 0.0
	for y := range h {
		for x := range w {
			d := float64(a[y*as+x]) - float64(b[y*bs+x])
			sum += d * d
		}
	}
	return 10 * math.Log10(255*255*float64(w*h)/max(sum, 1))
}

// As good as image/jpeg, at the same size, for every quality and every shape.
func TestAsGoodAsTheStandardLibrary(t *testing.T) {
	for _, s := range []struct{ w, h int }{{320, 240}, {317, 235}, {16, 16}, {1, 1}, {9, 33}} {
		m := scene(s.w, s.h)
		for _, q := range []int{1, 5, 20, 50, 75, 90, 95, 100} {
			t.Run(fmt.Sprintf("%d×%d/%d", s.w, s.h, q), func(t *testing.T) {
				var e Encoder
				ours := e.Append(nil, of(m), q)
				var theirs bytes.Buffer
				if err := jpeg.Encode(&theirs, m, &jpeg.Options{Quality: q}); err != nil {
					t.Fatal(err)
				}
				got, want := decode(t, ours).(*image.YCbCr), decode(t, theirs.Bytes()).(*image.YCbCr)
				if got.Rect != m.Rect || got.SubsampleRatio != image.YCbCrSubsampleRatio420 {
					t.Fatalf("got %v %v", got.Rect, got.SubsampleRatio)
				}
				cw, ch := (s.w+1)/2, (s.h+1)/2
				for name, p := range map[string][2]float64{
					"luma": {psnr(m.Y, got.Y, m.YStride, got.YStride, s.w, s.h), psnr(m.Y, want.Y, m.YStride, want.YStride, s.w, s.h)},
					"Cb":   {psnr(m.Cb, got.Cb, m.CStride, got.CStride, cw, ch), psnr(m.Cb, want.Cb, m.CStride, want.CStride, cw, ch)},
					"Cr":   {psnr(m.Cr, got.Cr, m.CStride, got.CStride, cw, ch), psnr(m.Cr, want.Cr, m.CStride, want.CStride, cw, ch)},
				} {
					// Beyond 45 dB nobody sees a difference, and the transform's 8 bits show.
					if p[0] < p[1]-0.5 && p[0] < 42 {
						t.Errorf("%s: %.2f dB, image/jpeg has %.2f", name, p[0], p[1])
					}
				}
				if len(ours) > theirs.Len()*103/100+100 {
					t.Errorf("%d bytes, image/jpeg needs %d", len(ours), theirs.Len())
				}
			})
		}
	}
}

func TestGrey(t *testing.T) {
	m := scene(100, 75)
	var e Encoder
	got := decode(t, e.Append(nil, Image{Width: 100, Height: 75, Y: m.Y, YStride: m.YStride}, 80)).(*image.Gray)
	if p := psnr(m.Y, got.Pix, m.YStride, got.Stride, 100, 75); p < 35 {
		t.Errorf("%.2f dB", p)
	}
}

// Extremes: the largest coefficients, and noise that has no zeros.
func TestExtremes(t *testing.T) {
	m := image.NewYCbCr(image.Rect(0, 0, 64, 64), image.YCbCrSubsampleRatio420)
	r := rand.New(rand.NewPCG(3, 4))
	for name, f := range map[string]func(x, y int) byte{
		"black":    func(x, y int) byte { return 0 },
		"white":    func(x, y int) byte { return 255 },
		"checkers": func(x, y int) byte { return byte((x + y) & 1 * 255) },
		"stripes":  func(x, y int) byte { return byte(x & 1 * 255) },
		"noise":    func(x, y int) byte { return byte(r.Uint32() & 1 * 255) },
	} {
		for i := range m.Y {
			m.Y[i] = f(i%64, i/64)
		}
		for i := range m.Cb {
			m.Cb[i], m.Cr[i] = f(i%32, i/32), 255-f(i%32, i/32)
		}
		for _, q := range []int{1, 50, 100} {
			var e Encoder
			got := decode(t, e.Append(nil, of(m), q)).(*image.YCbCr)
			if p := psnr(m.Y, got.Y, 64, got.YStride, 64, 64); q == 100 && p < 35 {
				t.Errorf("%s at %d: %.2f dB", name, q, p)
			}
		}
	}
}

func TestAppends(t *testing.T) {
	var e Encoder
	m := of(scene(32, 32))
	alone := bytes.Clone(e.Append(nil, m, 75))
	e.Append(nil, m, 30) // other tables in between
	if got := e.Append([]byte("before"), m, 75); string(got) != "before"+string(alone) {
		t.Error("the same picture differs the second time")
	}
}

func decode(t *testing.T, b []byte) image.Image {
	t.Helper()
	m, err := jpeg.Decode(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func FuzzEncode(f *testing.F) {
	f.Add(uint8(17), uint8(9), uint8(75), []byte("some samples"))
	f.Fuzz(func(t *testing.T, w, h, q uint8, seed []byte) {
		if w == 0 || h == 0 {
			return
		}
		m := image.NewYCbCr(image.Rect(0, 0, int(w), int(h)), image.YCbCrSubsampleRatio420)
		for _, p := range [][]byte{m.Y, m.Cb, m.Cr} {
			for i := range p {
				if len(seed) > 0 {
					p[i] = seed[(i*7+int(q))%len(seed)]
				}
			}
		}
		var e Encoder
		decode(t, e.Append(nil, of(m), int(q)))
	})
}

func Benchmark(b *testing.B) {
	for _, s := range []struct{ w, h int }{{640, 480}, {1280, 720}, {1920, 1080}} {
		m := scene(s.w, s.h)
		b.Run(fmt.Sprintf("ours/%dx%d", s.w, s.h), func(b *testing.B) {
			var e Encoder
			var out []byte
			b.ReportAllocs()
			for b.Loop() {
				out = e.Append(out[:0], of(m), 75)
			}
		})
		b.Run(fmt.Sprintf("standard/%dx%d", s.w, s.h), func(b *testing.B) {
			var out bytes.Buffer
			b.ReportAllocs()
			for b.Loop() {
				out.Reset()
				if err := jpeg.Encode(&out, m, &jpeg.Options{Quality: 75}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
