package mjpeg

import (
	"bytes"
	"errors"
	"image"
	"image/jpeg"
	"io"
	"math/rand/v2"
	"testing"
	"testing/iotest"
)

// noise is a JPEG of w×h with much entropy-coded data.
func noise(t testing.TB, w, h int) []byte {
	t.Helper()
	img := image.NewYCbCr(image.Rect(0, 0, w, h), image.YCbCrSubsampleRatio420)
	r := rand.New(rand.NewPCG(1, uint64(w*h)))
	for _, p := range [][]byte{img.Y, img.Cb, img.Cr} {
		for i := range p {
			p[i] = byte(r.Uint32())
		}
	}
	var b bytes.Buffer
	if err := jpeg.Encode(&b, img, nil); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// cutTables takes the DHT segments out of a JPEG, as Motion JPEG cameras do.
func cutTables(t testing.TB, b []byte) (short, tables []byte) {
	t.Helper()
	for i := 2; i < len(b); {
		n := 2 + int(b[i+2])<<8 + int(b[i+3])
		switch b[i+1] {
		case markDHT:
			tables = append(tables, b[i:i+n]...)
			b = append(bytes.Clone(b[:i]), b[i+n:]...)
			continue
		case markSOS:
			return b, tables
		}
		i += n
	}
	t.Fatal("no scan")
	return nil, nil
}

func TestStandardTablesAreThoseOfGo(t *testing.T) {
	if _, tables := cutTables(t, noise(t, 16, 16)); string(tables) != StandardTables {
		t.Errorf("got\n%x\nwant\n%x", StandardTables, tables)
	}
}

func TestWalkFindsTheEndBeforeLeftovers(t *testing.T) {
	p, longer := noise(t, 64, 48), noise(t, 96, 96)
	buf := append(bytes.Clone(p), longer[len(p):]...) // a driver's buffer with an older picture's end in it
	l, err := Walk(buf)
	if err != nil || l.End != len(p) || l.Width != 64 || l.Height != 48 {
		t.Errorf("got %+v, %v; want an end at %d, 64×48", l, err, len(p))
	}
}

func TestMissingTablesAreAdded(t *testing.T) {
	p := noise(t, 64, 48)
	short, _ := cutTables(t, p)
	if _, err := jpeg.Decode(bytes.NewReader(short)); err == nil {
		t.Fatal("decodes without tables: the test is no test")
	}
	l, err := Walk(short)
	if err != nil {
		t.Fatal(err)
	}
	whole := l.Append(nil, short)
	if len(whole) != l.Size() {
		t.Errorf("%d bytes, announced %d", len(whole), l.Size())
	}
	if _, err := jpeg.Decode(bytes.NewReader(whole)); err != nil {
		t.Error(err)
	}
	l, _ = Walk(p)
	if got := l.Append(nil, p); !bytes.Equal(got, p) {
		t.Error("a picture with tables was changed")
	}
}

func TestTornPicturesAreFound(t *testing.T) {
	p := noise(t, 64, 48)
	for n := range len(p) {
		if _, err := Walk(p[:n]); err == nil {
			t.Fatalf("the first %d of %d bytes pass as whole", n, len(p))
		}
	}
	middle := append(bytes.Clone(p[:len(p)/2]), p...) // a new one begins in the middle
	if _, err := Walk(middle); err == nil {
		t.Error("a picture inside a picture passes as whole")
	}
}

// withRestarts is a picture whose data has restart markers; it need not decode.
func withRestarts(order ...byte) []byte {
	b := []byte("\xff\xd8\xff\xc0\x00\x0b\x08\x00\x10\x00\x10\x01\x01\x11\x00\xff\xda\x00\x08\x01\x01\x00\x00\x3f\x00")
	for _, n := range order {
		b = append(b, 1, 2, 0xff, markRST0+n)
	}
	return append(b, 3, 0xff, markEOI)
}

func TestAMissingPieceIsFoundByItsRestartMarker(t *testing.T) {
	if _, err := Walk(withRestarts(0, 1, 2, 3, 4, 5, 6, 7, 0, 1)); err != nil {
		t.Error(err)
	}
	if _, err := Walk(withRestarts(0, 1, 3)); err == nil {
		t.Error("a picture without its third piece passes as whole")
	}
}

func TestReaderCutsAStream(t *testing.T) {
	a, b, c := noise(t, 64, 48), noise(t, 32, 32), noise(t, 200, 200)
	var stream []byte
	stream = append(stream, "junk\xff"...)
	stream = append(stream, a...)
	stream = append(stream, 0, 0, 0) // filling
	stream = append(stream, b[:len(b)/2]...)
	stream = append(stream, c...)
	stream = append(stream, b...)
	stream = append(stream, a[:100]...)
	for name, wrap := range map[string]func(io.Reader) io.Reader{
		"whole": func(r io.Reader) io.Reader { return r },
		"bytes": iotest.OneByteReader,
		"half":  iotest.HalfReader,
		"eof":   iotest.DataErrReader,
	} {
		t.Run(name, func(t *testing.T) {
			r := NewReader(wrap(bytes.NewReader(stream)), 1<<20)
			torn, began := 0, 0
			r.Torn, r.Began = func() { torn++ }, func() { began++ }
			for i, want := range [][]byte{a, c, b} {
				got, l, err := r.Next()
				if err != nil || !bytes.Equal(got, want) || l.End != len(want) {
					t.Fatalf("picture %d: %d bytes, %v; want %d", i, len(got), err, len(want))
				}
			}
			if _, _, err := r.Next(); !errors.Is(err, io.ErrUnexpectedEOF) {
				t.Errorf("at the end: %v", err)
			}
			if torn != 1 || began != 5 {
				t.Errorf("%d torn of %d begun, want 1 of 5", torn, began)
			}
		})
	}
}

func TestReaderIsBounded(t *testing.T) {
	endless := io.MultiReader(bytes.NewReader(noise(t, 32, 32)[:500]), iotest.TimeoutReader(zeros{}))
	r := NewReader(io.LimitReader(endless, 10<<20), 1<<20)
	torn := 0
	r.Torn = func() { torn++ }
	if _, _, err := r.Next(); err == nil {
		t.Error("a picture without an end came out")
	}
	if cap(r.buf) > 2<<20 {
		t.Errorf("the buffer grew to %d bytes", cap(r.buf))
	}
}

type zeros struct{}

func (zeros) Read(b []byte) (int, error) { clear(b); return len(b), nil }

func FuzzWalk(f *testing.F) {
	p := noise(f, 16, 16)
	f.Add(p)
	f.Add(p[:len(p)/2])
	f.Add(withRestarts(0, 1))
	f.Fuzz(func(t *testing.T, b []byte) {
		l, err := Walk(b)
		if err == nil {
			if l.End > len(b) || l.scan >= l.End || l.Width == 0 || l.Height == 0 {
				t.Errorf("impossible: %+v of %d bytes", l, len(b))
			}
			if got := l.Append(nil, b); len(got) != l.Size() {
				t.Errorf("%d bytes, announced %d", len(got), l.Size())
			}
		}
		// Read in pieces, the first whole picture is the same.
		r := NewReader(iotest.OneByteReader(bytes.NewReader(b)), 1<<20)
		got, _, e := r.Next()
		if err == nil && (e != nil || !bytes.Equal(got, b[:l.End])) {
			t.Errorf("walked %d bytes, read %d, %v", l.End, len(got), e)
		}
	})
}
