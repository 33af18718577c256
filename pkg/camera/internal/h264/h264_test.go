package h264

import (
	"bytes"
	"errors"
	"io"
	"testing"
	"testing/iotest"
)

var (
	sps   = []byte("\x00\x00\x00\x01\x67\x64\x00\x1f")
	pps   = []byte("\x00\x00\x00\x01\x68\xee\x3c")
	sei   = []byte("\x00\x00\x01\x06\x05\x01")
	aud   = []byte("\x00\x00\x00\x01\x09\x10")
	idr   = []byte("\x00\x00\x01\x65\x88\x84\x21")
	more  = []byte("\x00\x00\x01\x65\x40\x84\x22") // a second slice of the same picture: first_mb_in_slice is not 0
	slice = []byte("\x00\x00\x00\x01\x41\x9a\x24\x6c")
)

func join(nals ...[]byte) []byte { return bytes.Join(nals, nil) }

func TestScan(t *testing.T) {
	for name, c := range map[string]struct {
		unit   []byte
		key    bool
		params []byte
	}{
		"key":            {join(sps, pps, sei, idr, more), true, join(sps, pps)},
		"key with AUD":   {join(aud, sps, pps, idr), true, join(sps, pps)},
		"key only":       {idr, true, nil},
		"ordinary":       {slice, false, nil},
		"only half":      {join(sps, idr), true, nil},
		"nothing":        {nil, false, nil},
		"a cut header":   {[]byte("\x00\x00\x01"), false, nil},
		"no start codes": {[]byte("\xff\xd8\xff\xe0"), false, nil},
	} {
		if u := Scan(c.unit); u.Key != c.key || !bytes.Equal(u.Params, c.params) {
			t.Errorf("%s: got %v %q", name, u.Key, u.Params)
		}
	}
}

func TestReaderCutsIntoPictures(t *testing.T) {
	units := [][]byte{join(sps, pps, idr, more), slice, slice, join(aud, slice), join(sps, pps, sei, idr), slice}
	stream := join(units...)
	for name, wrap := range map[string]func(io.Reader) io.Reader{
		"whole": func(r io.Reader) io.Reader { return r },
		"bytes": iotest.OneByteReader,
		"eof":   iotest.DataErrReader,
	} {
		r := NewReader(wrap(bytes.NewReader(stream)), 1<<20)
		began := 0
		r.Began = func() { began++ }
		for i, want := range units {
			got, err := r.Next()
			if err != nil || !bytes.Equal(got, want) {
				t.Fatalf("%s: unit %d is %q, %v; want %q", name, i, got, err, want)
			}
		}
		if _, err := r.Next(); !errors.Is(err, io.EOF) {
			t.Errorf("%s: at the end: %v", name, err)
		}
		if began != len(units) {
			t.Errorf("%s: %d begun of %d", name, began, len(units))
		}
	}
}

func TestReaderIsBounded(t *testing.T) {
	r := NewReader(io.MultiReader(bytes.NewReader(idr), zeros{}), 1<<20)
	if _, err := r.Next(); err == nil || errors.Is(err, io.EOF) {
		t.Errorf("a picture without an end: %v", err)
	}
	if cap(r.buf) > 4<<20 {
		t.Errorf("the buffer grew to %d bytes", cap(r.buf))
	}
}

type zeros struct{}

func (zeros) Read(b []byte) (int, error) { clear(b); return len(b), nil }

func FuzzReader(f *testing.F) {
	f.Add(join(sps, pps, idr, slice, slice))
	f.Fuzz(func(t *testing.T, b []byte) {
		var whole, pieces []byte
		for r := NewReader(bytes.NewReader(b), 1<<20); ; {
			u, err := r.Next()
			if err != nil {
				break
			}
			Scan(u)
			whole = append(append(whole, u...), '|')
		}
		for r := NewReader(iotest.OneByteReader(bytes.NewReader(b)), 1<<20); ; {
			u, err := r.Next()
			if err != nil {
				break
			}
			pieces = append(append(pieces, u...), '|')
		}
		if !bytes.Equal(whole, pieces) {
			t.Errorf("cut differently in pieces:\n%q\n%q", whole, pieces)
		}
	})
}
