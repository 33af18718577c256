package session

import (
	"encoding/binary"
	"strings"

	"github.com/rsocket/rsocket-go/core"
)

const (
	lenSize  = 3 // the length before each frame of a stream link (Protocol.md, "Framing Protocol Usage")
	headSize = core.FrameHeaderLen
	maxFrame = 1<<24 - 1
	maxN     = 1<<31 - 1
)

// Frame is one whole frame, received or on its way out. It is passed by value; its bytes are good
// until the call that handed it over returns.
type Frame struct {
	b   []byte // 3-byte length, header, body
	blk *block // whose memory b is; nil: the garbage collector's
}

func (f Frame) head() uint16 { return binary.BigEndian.Uint16(f.b[lenSize+4:]) }

// Type returns the frame type.
func (f Frame) Type() core.FrameType { return core.FrameType(f.head() >> 10) }

// Flags returns the frame's flags.
func (f Frame) Flags() core.FrameFlag { return core.FrameFlag(f.head() & 0x3ff) }

// Has reports whether flag is set.
func (f Frame) Has(flag core.FrameFlag) bool { return f.head()&uint16(flag) != 0 }

// StreamID returns the stream's id on the session the frame came from.
func (f Frame) StreamID() uint32 { return binary.BigEndian.Uint32(f.b[lenSize:]) & maxN }

// Size returns the frame's bytes without the length before it: what resume positions count.
func (f Frame) Size() int { return len(f.b) - lenSize }

// body is what follows the header.
func (f Frame) body() []byte { return f.b[lenSize+headSize:] }

// hasN reports whether frames of type t carry a number before metadata and data.
func hasN(t core.FrameType) bool {
	switch t {
	case core.FrameTypeRequestStream, core.FrameTypeRequestChannel, core.FrameTypeRequestN, core.FrameTypeError:
		return true
	}
	return false
}

// N returns the initial request n, request n or error code; 0 for other types.
func (f Frame) N() uint32 {
	if !hasN(f.Type()) {
		return 0
	}
	n := binary.BigEndian.Uint32(f.body())
	if f.Type() == core.FrameTypeError {
		return n
	}
	return n & maxN
}

// SetN writes n where N was read. The frame must have one.
func (f Frame) SetN(n uint32) { binary.BigEndian.PutUint32(f.body(), n) }

// payload is the part that metadata and data share.
func (f Frame) payload() []byte {
	if hasN(f.Type()) {
		return f.body()[4:]
	}
	return f.body()
}

// hasMetadata reports whether a length and metadata stand before the data.
func (f Frame) hasMetadata() bool {
	t := f.Type()
	return f.Has(core.FlagMetadata) && (isRequest(t) || t == core.FrameTypePayload)
}

// Metadata returns this frame's part of the metadata; false: it has none.
func (f Frame) Metadata() ([]byte, bool) {
	if !f.hasMetadata() {
		return nil, false
	}
	p := f.payload()
	n := u24(p)
	return p[3 : 3+n : 3+n], true
}

// Data returns this frame's part of the data; the text, for an ERROR.
func (f Frame) Data() []byte {
	p := f.payload()
	if f.hasMetadata() {
		return p[3+u24(p):]
	}
	return p
}

func (f Frame) hold() {
	if f.blk != nil {
		f.blk.hold()
	}
}

func (f Frame) release() {
	if f.blk != nil {
		f.blk.release()
	}
}

// keep returns f with a reference of its own. Small frames are copied: they must not pin a block.
func (f Frame) keep() Frame {
	if len(f.b) < copyBelow && f.blk != nil {
		b := newBlock(len(f.b))
		return Frame{b: b.b[:copy(b.b, f.b)], blk: b}
	}
	f.hold()
	return f
}

func (f Frame) setStreamID(id uint32) { binary.BigEndian.PutUint32(f.b[lenSize:], id) }

func u24(b []byte) int { return int(b[0])<<16 | int(b[1])<<8 | int(b[2]) }

func putU24(b []byte, n int) { b[0], b[1], b[2] = byte(n>>16), byte(n>>8), byte(n) }

// newFrame builds a frame whose body is the parts one after the other.
func newFrame(id uint32, t core.FrameType, flags core.FrameFlag, parts ...[]byte) Frame {
	n := headSize
	for _, p := range parts {
		n += len(p)
	}
	blk := newBlock(lenSize + n)
	b := blk.b[:lenSize+headSize]
	putHead(b, n, id, t, flags)
	for _, p := range parts {
		b = append(b, p...)
	}
	return Frame{b: b, blk: blk}
}

// putHead writes the length and the header of a frame of n bytes.
func putHead(b []byte, n int, id uint32, t core.FrameType, flags core.FrameFlag) {
	putU24(b, n)
	core.ResetFrameHeader(b[lenSize:], id, t, flags)
}

func u32(n uint32) []byte { return binary.BigEndian.AppendUint32(nil, n) }

func u64(n uint64) []byte { return binary.BigEndian.AppendUint64(nil, n) }

func errorFrame(id uint32, e *Error, mtu int) Frame {
	text := e.Text
	if room := mtu - headSize - 4; len(text) > room { // an ERROR cannot be fragmented
		text = strings.ToValidUTF8(text[:room], "")
	}
	return newFrame(id, core.FrameTypeError, 0, u32(uint32(e.Code)), []byte(text))
}

func keepaliveFrame(pos uint64, respond bool, data []byte) Frame {
	var flags core.FrameFlag
	if respond {
		flags = core.FlagRespond
	}
	return newFrame(0, core.FrameTypeKeepalive, flags, u64(pos), data)
}
