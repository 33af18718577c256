package e2e

import (
	"bytes"
	"fmt"
	"image"
	"image/color"
	"image/draw"
	"image/jpeg"
	"testing"
)

// bars is what vivid shows unless told otherwise: the 75 % colour bars, from left to right. A channel is on or off.
var bars = [8][3]bool{
	{true, true, true},   // white
	{true, true, false},  // yellow
	{false, true, true},  // cyan
	{false, true, false}, // green
	{true, false, true},  // magenta
	{true, false, false}, // red
	{false, false, true}, // blue
	{false, false, false},
}

// checkVivid says whether data is one whole JPEG of this size that shows vivid's bars from top to bottom. A picture that is
// flat, cut short, or whose lines are shifted does not. vivid writes its clock and controls over the first six bars, ten lines
// or so: of these only the lower part is looked at.
func checkVivid(data []byte, width, height int) error {
	if !bytes.HasPrefix(data, []byte{0xFF, 0xD8}) || !bytes.HasSuffix(data, []byte{0xFF, 0xD9}) {
		return fmt.Errorf("%d bytes that do not begin with SOI and end with EOI", len(data))
	}
	img, err := jpeg.Decode(bytes.NewReader(data))
	if err != nil {
		return fmt.Errorf("not a whole JPEG: %w", err)
	}
	if size := img.Bounds().Size(); size != image.Pt(width, height) {
		return fmt.Errorf("the picture has %d x %d pixels, not %d x %d", size.X, size.Y, width, height)
	}
	for y := 2; y < height-2; y += max(1, height/64) {
		for i, want := range bars {
			if i < 6 && y < height*6/10 {
				continue
			}
			x := (2*i + 1) * width / (2 * len(bars))
			if got := channels(img.At(x, y)); got != want {
				return fmt.Errorf("at %d,%d, in bar %d, the picture has %v", x, y, i+1, img.At(x, y))
			}
		}
	}
	return nil
}

// channels reads a colour coarsely, so that neither JPEG nor a limited range of values matters.
func channels(c color.Color) [3]bool {
	const half = 0x6000
	r, g, b, _ := c.RGBA()
	return [3]bool{r > half, g > half, b > half}
}

func TestCheckVivid(t *testing.T) {
	const width, height = 640, 360
	draws := func(change func(*image.RGBA)) []byte {
		img := image.NewRGBA(image.Rect(0, 0, width, height))
		for i, bar := range bars {
			c := color.RGBA{A: 255}
			for ch, on := range bar {
				if v := []*uint8{&c.R, &c.G, &c.B}[ch]; on {
					*v = 191
				} else {
					*v = 16
				}
			}
			draw.Draw(img, image.Rect(i*width/8, 0, (i+1)*width/8, height), image.NewUniform(c), image.Point{}, draw.Src)
		}
		change(img)
		var out bytes.Buffer
		if err := jpeg.Encode(&out, img, nil); err != nil {
			t.Fatal(err)
		}
		return out.Bytes()
	}
	whole := draws(func(*image.RGBA) {})
	text := draws(func(img *image.RGBA) { // as vivid's overlay
		draw.Draw(img, image.Rect(16, 16, 450, 200), image.White, image.Point{}, draw.Src)
	})
	flat := draws(func(img *image.RGBA) { draw.Draw(img, img.Bounds(), image.Black, image.Point{}, draw.Src) })
	shifted := draws(func(img *image.RGBA) { // the lower part comes 100 pixels late
		draw.Draw(img, image.Rect(100, 200, width, height), img, image.Pt(0, 200), draw.Src)
	})
	top := draws(func(img *image.RGBA) {
		draw.Draw(img, image.Rect(0, 0, width, 60), image.Black, image.Point{}, draw.Src)
	})
	half := draws(func(img *image.RGBA) {
		draw.Draw(img, image.Rect(0, 300, width, height), image.Black, image.Point{}, draw.Src)
	})

	for name, data := range map[string][]byte{"whole": whole, "with text": text} {
		if err := checkVivid(data, width, height); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, data := range map[string][]byte{
		"nothing": nil, "flat": flat, "shifted": shifted, "half": half, "without top": top, "cut short": whole[:len(whole)-100],
		"cut short, EOI added": append(bytes.Clone(whole[:len(whole)/2]), 0xFF, 0xD9), "trailing bytes": append(bytes.Clone(whole), 0, 0),
	} {
		if err := checkVivid(data, width, height); err == nil {
			t.Errorf("%s: passes", name)
		} else {
			t.Logf("%s: %v", name, err)
		}
	}
	if err := checkVivid(whole, 320, 180); err == nil {
		t.Error("another size: passes")
	}
}
