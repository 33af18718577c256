package session

import (
	"encoding/binary"

	"github.com/rsocket/rsocket-go/core"
)

// Message is something a stream has to say: a request, an element, COMPLETE. It leaves as one frame,
// or as fragments when it does not fit the session's MTU. Its bytes are only read, and no longer
// touched once it has left, or after Cancel, Fail or the end of the session.
type Message struct {
	Type        core.FrameType // a REQUEST_* or PAYLOAD
	Flags       core.FrameFlag // N and C as the last fragment shall carry them; M and F are the session's
	N           uint32         // initial request n
	Metadata    []byte
	HasMetadata bool
	Data        []byte
	Mark        bool // count it in Owner.Left when its last fragment has been given to the link
}

func (m *Message) size() int { return len(m.Metadata) + len(m.Data) }

// fragment cuts the next frame of at most mtu bytes off m. begun says whether an earlier one was cut;
// last reports that nothing is left.
func (m *Message) fragment(id uint32, mtu int, begun bool) (f Frame, last bool) {
	t, flags, fixed := m.Type, core.FrameFlag(0), 0
	if begun {
		t = core.FrameTypePayload
	} else if hasN(t) {
		fixed = 4
	}
	room := mtu - headSize - fixed
	withMetadata := m.HasMetadata && (!begun || len(m.Metadata) > 0)
	if withMetadata {
		flags |= core.FlagMetadata
		room -= 3
		fixed += 3
	}
	nm := min(room, len(m.Metadata))
	nd := min(room-nm, len(m.Data))
	if last = nm == len(m.Metadata) && nd == len(m.Data); last {
		flags |= m.Flags
	} else {
		flags |= core.FlagFollow
	}
	if begun || t == core.FrameTypePayload && m.Flags != core.FlagComplete {
		flags |= core.FlagNext // each fragment of an element says N, as rsocket-java's and rsocket-js's do
	}
	n := headSize + fixed + nm + nd
	blk := newBlock(lenSize + n)
	b := blk.b[:lenSize+headSize]
	putHead(b, n, id, t, flags)
	if !begun && hasN(t) {
		b = binary.BigEndian.AppendUint32(b, m.N)
	}
	if withMetadata {
		b = append(b, byte(nm>>16), byte(nm>>8), byte(nm))
	}
	b = append(append(b, m.Metadata[:nm]...), m.Data[:nd]...)
	m.Metadata, m.Data = m.Metadata[nm:], m.Data[nd:]
	return Frame{b: b, blk: blk}, last
}
