package session

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"io"
	"math"
	"time"

	"github.com/rsocket/rsocket-go/core"
	"github.com/rsocket/rsocket-go/core/framing"
)

// Setup is what the first frame of a session says (Protocol.md, "SETUP Frame").
type Setup struct {
	KeepAlive    time.Duration // how often the client sends KEEPALIVE
	Lifetime     time.Duration // how long either end may be silent
	Resume       bool          // the session outlives its links
	MetadataMIME string        // at most 255 bytes, as is DataMIME
	DataMIME     string
	Metadata     []byte
	Data         []byte

	token []byte // of this session; never logged
}

// newToken returns 32 random bytes as ASCII: rsocket-java keeps tokens as UTF-8 strings, so that random
// bytes would collide as U+FFFD.
func newToken() []byte { return []byte(rand.Text() + rand.Text())[:43] } // 43 × 5 bit: 215 bit

func (s *Setup) frame() Frame {
	return fromFraming(framing.NewWriteableSetupFrame(core.DefaultVersion, s.KeepAlive, s.Lifetime, s.token,
		[]byte(s.MetadataMIME), []byte(s.DataMIME), s.Data, s.Metadata, false))
}

// fromFraming copies a frame that rsocket-go's framing built.
func fromFraming(f interface {
	Len() int
	WriteTo(io.Writer) (int64, error)
},
) Frame {
	b := bytes.NewBuffer(make([]byte, lenSize, lenSize+f.Len()))
	_, _ = f.WriteTo(b) // a bytes.Buffer does not fail
	putU24(b.Bytes(), b.Len()-lenSize)
	return Frame{b: b.Bytes()}
}

// parseSetup reads a SETUP. It copies what it returns.
func parseSetup(f Frame) (*Setup, error) {
	bad := Errorf(core.ErrorCodeInvalidSetup, "malformed SETUP: a length is past the end of the frame")
	b := f.body()
	skip := func(n int) bool {
		if n > len(b) {
			return false
		}
		b = b[n:]
		return true
	}
	if !skip(12) {
		return nil, bad
	}
	if f.Has(core.FlagResume) && (len(b) < 2 || !skip(2+int(binary.BigEndian.Uint16(b)))) {
		return nil, bad
	}
	for range 2 { // the two MIME types
		if len(b) < 1 || !skip(1+int(b[0])) {
			return nil, bad
		}
	}
	if f.Has(core.FlagMetadata) && (len(b) < 3 || !skip(3+u24(b))) {
		return nil, bad
	}
	if f.Has(core.FlagLease) {
		return nil, Errorf(core.ErrorCodeUnsupportedSetup, "leases are not supported")
	}
	parsed, err := framing.FromBytes(f.b[lenSize:])
	if err != nil {
		return nil, Errorf(core.ErrorCodeInvalidSetup, "malformed SETUP: %v", err)
	}
	defer parsed.Release()
	p := parsed.(*framing.SetupFrame)
	if v := p.Version(); v.Major() != 1 {
		return nil, Errorf(core.ErrorCodeUnsupportedSetup, "RSocket version %d is not supported, this is 1.0", v.Major())
	}
	s := &Setup{
		KeepAlive: p.TimeBetweenKeepalive(), Lifetime: p.MaxLifetime(), Resume: f.Has(core.FlagResume),
		MetadataMIME: p.MetadataMimeType(), DataMIME: p.DataMimeType(),
		Data: bytes.Clone(p.Data()), token: bytes.Clone(p.Token()),
	}
	if m, ok := p.Metadata(); ok {
		s.Metadata = bytes.Clone(m)
	}
	if s.KeepAlive <= 0 || s.Lifetime <= 0 || s.KeepAlive > math.MaxInt32*time.Millisecond || s.Lifetime > math.MaxInt32*time.Millisecond {
		return nil, Errorf(core.ErrorCodeInvalidSetup, "keepalive interval and lifetime must be positive")
	}
	if s.Resume && len(s.token) == 0 {
		return nil, Errorf(core.ErrorCodeInvalidSetup, "the resume token is empty")
	}
	return s, nil
}

// resume is what a RESUME says.
type resume struct {
	token    []byte
	received uint64 // the client has the server's frames before it
	first    uint64 // the client still has its own frames from it on
}

func (r resume) frame() Frame {
	return fromFraming(framing.NewWriteableResumeFrame(core.DefaultVersion, r.token, r.first, r.received))
}

// parseResume reads a RESUME. The version is not looked at: rsocket-js 1.0.0-alpha.3 writes it swapped.
func parseResume(f Frame) (r resume, err error) {
	b := f.body()
	if len(b) < 6 || len(b) < 6+int(binary.BigEndian.Uint16(b[4:]))+16 {
		return r, Errorf(core.ErrorCodeRejectedResume, "malformed RESUME: a length is past the end of the frame")
	}
	n := int(binary.BigEndian.Uint16(b[4:]))
	r.token, b = b[6:6+n], b[6+n:]
	r.received, r.first = binary.BigEndian.Uint64(b)&math.MaxInt64, binary.BigEndian.Uint64(b[8:])&math.MaxInt64
	return r, nil
}

func resumeOKFrame(pos uint64) Frame { return newFrame(0, core.FrameTypeResumeOK, 0, u64(pos)) }
