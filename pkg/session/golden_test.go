package session

import (
	"encoding/hex"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/rsocket/rsocket-go/core"
	"github.com/rsocket/rsocket-go/core/framing"
)

func golden(t testing.TB) map[string]string {
	t.Helper()
	b, err := os.ReadFile("testdata/frames.tsv")
	if err != nil {
		t.Fatal(err)
	}
	m := map[string]string{}
	for line := range strings.Lines(string(b)) {
		if name, v, ok := strings.Cut(strings.TrimSpace(line), "\t"); ok && !strings.HasPrefix(line, "#") {
			m[name] = v
		}
	}
	if len(m) < 20 {
		t.Fatalf("only %d golden frames", len(m))
	}
	return m
}

// TestGolden holds what we write against what rsocket-java's own encoder writes.
func TestGolden(t *testing.T) {
	want := golden(t)
	token := make([]byte, 16)
	for i := range token {
		token[i] = byte(i)
	}
	setup := Setup{
		KeepAlive: 20 * time.Second, Lifetime: 90 * time.Second, Resume: true, token: token,
		MetadataMIME: "message/x.rsocket.composite-metadata.v0", DataMIME: "application/octet-stream",
		Metadata: []byte("\xfe\x00\x00\x09\x08register"),
	}
	send := func(id uint32, m Message) Frame {
		f, last := m.fragment(id, 1<<14, false)
		if !last {
			t.Fatal("cut")
		}
		return f
	}
	text := func(s string) []byte { return []byte(s) }
	for name, f := range map[string]Frame{
		"frame.setup.resume":            setup.frame(),
		"frame.resume":                  resume{token: token, received: 0x123, first: 0x12345}.frame(),
		"frame.resume_ok":               resumeOKFrame(0x12345),
		"frame.keepalive.respond":       keepaliveFrame(0x123, true, nil),
		"frame.keepalive.reply":         keepaliveFrame(0x12345, false, text("hi")),
		"frame.error.rejected_resume":   errorFrame(0, &Error{core.ErrorCodeRejectedResume, "unknown resume token"}, 1024),
		"frame.error.unsupported_setup": errorFrame(0, &Error{core.ErrorCodeUnsupportedSetup, "resume not supported"}, 1024),
		"frame.error.application":       errorFrame(5, &Error{core.ErrorCodeApplicationError, "boom"}, 1024),
		"frame.request_response": send(1, Message{
			Type: core.FrameTypeRequestResponse, HasMetadata: true,
			Metadata: text("\xfe\x00\x00\x10\x0fcamera.snapshot"), Data: text("{}"),
		}),
		"frame.request_stream.n4": send(3, Message{
			Type: core.FrameTypeRequestStream, N: 4, HasMetadata: true,
			Metadata: text("\xfe\x00\x00\x0e\x0dcamera.stream"), Data: text("{}"),
		}),
		"frame.payload.next":          send(3, Message{Type: core.FrameTypePayload, Flags: core.FlagNext, Data: text("JPEG")}),
		"frame.payload.complete":      send(3, Message{Type: core.FrameTypePayload, Flags: core.FlagComplete}),
		"frame.payload.next+complete": send(1, Message{Type: core.FrameTypePayload, Flags: core.FlagNext | core.FlagComplete, Data: text("JPEG")}),
		"frame.fnf":                   send(5, Message{Type: core.FrameTypeRequestFNF, HasMetadata: true, Metadata: text("\xfe\x00\x00\x09\x08gpio.set"), Data: text("1")}),
		"frame.cancel":                newFrame(3, core.FrameTypeCancel, 0),
		"frame.request_n.8":           newFrame(3, core.FrameTypeRequestN, 0, u32(8)),
	} {
		if got := hex.EncodeToString(f.b[lenSize:]); got != want[name] {
			t.Errorf("%s\n got %s\nwant %s", name, got, want[name])
		}
		if n := u24(f.b); n != len(f.b)-lenSize {
			t.Errorf("%s: length says %d of %d", name, n, len(f.b)-lenSize)
		}
	}
}

// unhex makes a received frame of hex.
func unhex(t testing.TB, s string) Frame {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return Frame{b: append([]byte{byte(len(b) >> 16), byte(len(b) >> 8), byte(len(b))}, b...)}
}

func TestParseSetup(t *testing.T) {
	want := golden(t)
	s, err := parseSetup(unhex(t, want["frame.setup.resume"]))
	if err != nil {
		t.Fatal(err)
	}
	if !s.Resume || s.KeepAlive != 20*time.Second || s.Lifetime != 90*time.Second || s.DataMIME != "application/octet-stream" ||
		s.MetadataMIME != "message/x.rsocket.composite-metadata.v0" || string(s.Metadata) != "\xfe\x00\x00\x09\x08register" || len(s.token) != 16 || len(s.Data) != 0 {
		t.Errorf("parsed %+v", s)
	}
	if _, err := parseSetup(unhex(t, want["frame.setup.resume+lease"])); err == nil || err.Error() != "leases are not supported" {
		t.Error("a lease:", err)
	}
	r, err := parseResume(unhex(t, want["frame.resume"]))
	if err != nil || r.received != 0x123 || r.first != 0x12345 || len(r.token) != 16 {
		t.Errorf("parsed %+v, %v", r, err)
	}
}

// FuzzFirstFrame gives any bytes to what reads first frames. What we take, rsocket-go's framing must read alike.
func FuzzFirstFrame(f *testing.F) {
	for _, v := range golden(f) {
		f.Add(unhex(f, v).b[lenSize:])
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) < headSize || len(b) > maxFirst {
			return
		}
		fr := Frame{b: append([]byte{byte(len(b) >> 16), byte(len(b) >> 8), byte(len(b))}, b...)}
		if firstSane(fr) != nil {
			return
		}
		switch fr.Type() {
		case core.FrameTypeSetup:
			s, err := parseSetup(fr)
			if err != nil {
				return
			}
			if len(s.Metadata)+len(s.Data)+len(s.token) > len(b) {
				t.Fatal("more than there was")
			}
		case core.FrameTypeResume:
			r, err := parseResume(fr)
			if err != nil {
				return
			}
			p, err := framing.FromBytes(b)
			if err != nil {
				t.Fatal(err)
			}
			if o := p.(*framing.ResumeFrame); string(o.Token()) != string(r.token) || o.LastReceivedServerPosition()&(1<<63-1) != r.received {
				t.Fatal("framing reads it otherwise")
			}
		}
	})
}

// FuzzFrame reads every accessor of any frame that passes sane, and holds it against rsocket-go's framing.
func FuzzFrame(f *testing.F) {
	for _, v := range golden(f) {
		f.Add(unhex(f, v).b[lenSize:])
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) < headSize {
			return
		}
		fr := Frame{b: append([]byte{byte(len(b) >> 16), byte(len(b) >> 8), byte(len(b))}, b...)}
		if ignore, err := sane(fr); ignore || err != nil {
			return
		}
		m, has := fr.Metadata()
		d := fr.Data()
		if fr.Type() == core.FrameTypeKeepalive {
			return
		}
		if len(m)+len(d) > len(b) {
			t.Fatal("more than there was")
		}
		p, err := framing.FromBytes(b)
		if err != nil || p.Validate() != nil {
			return
		}
		if o, ok := p.(*framing.PayloadFrame); ok {
			om, ohas := o.Metadata()
			if has != ohas || string(om) != string(m) || string(o.Data()) != string(d) {
				t.Fatalf("framing reads %q %v %q, we %q %v %q", om, ohas, o.Data(), m, has, d)
			}
		}
		if o, ok := p.(*framing.ErrorFrame); ok && uint32(o.ErrorCode()) != fr.N() {
			t.Fatal("error code")
		}
	})
}
