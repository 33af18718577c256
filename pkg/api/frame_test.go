package api

import (
	"errors"
	"math"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/perchcam/perch/pkg/wire"
)

func TestHeaderInMetadata(t *testing.T) {
	want := version1()["frame.json"].(FrameHeader)
	md, err := want.Metadata()
	if err != nil {
		t.Fatal(err)
	}
	md = append([]byte{0xFA, 0, 0, 1, 0x9A}, md...) // behind a data type
	got, err := HeaderOf(md)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if _, err := HeaderOf(nil); !errors.Is(err, ErrNoHeader) {
		t.Errorf("no metadata: %v", err)
	}
	if _, err := HeaderOf(md[:7]); !errors.Is(err, wire.ErrTruncated) {
		t.Errorf("half a header: %v", err)
	}
}

func TestHeaderChecks(t *testing.T) {
	good := version1()["frame.json"].(FrameHeader)
	for want, spoil := range map[string]func(*FrameHeader){
		`camera ""`:             func(h *FrameHeader) { h.Camera = "" },
		"0×720 is no size":      func(h *FrameHeader) { h.Width = 0 },
		"1280×-1 is no size":    func(h *FrameHeader) { h.Height = -1 },
		"1280×99999 is no size": func(h *FrameHeader) { h.Height = 99999 },
		`"boot" has`:            func(h *FrameHeader) { h.Boot = strings.Repeat("b", 129) },
		`"format" holds`:        func(h *FrameHeader) { h.Format = "\r" },
	} {
		h := good
		spoil(&h)
		if _, err := h.Metadata(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
	if _, err := ParseHeader(make([]byte, MaxHeader+1)); err == nil || !strings.Contains(err.Error(), "8192 are allowed") {
		t.Error(err)
	}
}

func TestReadingChecks(t *testing.T) {
	for data, want := range map[string]string{
		`{}`:                              `"type" is missing`,
		`{"type":"state"}`:                `sensor "" is no valid name`,
		`{"type":"error","sensor":"a"}`:   `"error" is missing`,
		`{"type":"gap"}`:                  `a gap says neither how much is missing nor why`,
		`[]`:                              `an object is needed, not an array`,
		strings.Repeat(" ", MaxReading+1): `65536 are allowed`,
	} {
		if _, err := ParseReading([]byte(data)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.40s: %v", data, err)
		}
	}
	if _, err := ParseReading([]byte(`{"v":2,"type":"invented later"}`)); err != nil {
		t.Errorf("a type of a later version: %v", err)
	}
}

// TestReadingEncode: a value that JSON has no number for is refused, not sent as something else.
func TestReadingEncode(t *testing.T) {
	want := version1()["reading-value.json"].(Reading)
	b, err := want.Encode()
	if err != nil {
		t.Fatal(err)
	}
	got, err := ParseReading(b)
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("%v\n%s", err, diff)
	}
	want.Values = []Value{{Quantity: "temperature", Value: math.NaN()}}
	if b, err := want.Encode(); err == nil {
		t.Errorf("wrote %s", b)
	}
}

func TestFormatMIME(t *testing.T) {
	for format, want := range map[string]string{FormatJPEG: "image/jpeg", FormatH264: "video/H264", "": "application/octet-stream"} {
		if got := FormatMIME(format); got != want {
			t.Errorf("%q is %s", format, got)
		}
	}
}

func BenchmarkHeader(b *testing.B) {
	h := version1()["frame.json"].(FrameHeader)
	b.Run("write", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := h.Metadata(); err != nil {
				b.Fatal(err)
			}
		}
	})
	md, _ := h.Metadata()
	b.Run("read", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := HeaderOf(md); err != nil {
				b.Fatal(err)
			}
		}
	})
}
