package wire

import (
	"encoding/binary"
	"iter"
)

// RoutingTags walks the body of a routing entry (0x7E): length-prefixed tags, the first of which is the route.
func RoutingTags(body []byte) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		r := reader{b: body}
		for len(r.b) > 0 {
			tag := r.routingTag()
			if !yield(tag, r.err) || r.err != nil {
				return
			}
		}
	}
}

func (r *reader) routingTag() []byte {
	at := r.at
	n := int(r.u8("routing tag"))
	if n > len(r.b) {
		r.fail("routing tag", at, ErrTruncated)
	}
	return r.take(n, "routing tag")
}

// AppendRouting appends the body of a routing entry. Tags are 1 to 255 bytes; rsocket-broker takes 127.
func AppendRouting(dst []byte, tags ...string) ([]byte, error) {
	out := dst
	for _, tag := range tags {
		var err error
		if out, err = appendShort(out, "routing tag", tag); err != nil {
			return dst, err
		}
	}
	return out, nil
}

// BinaryRouting is the body of Alibaba's private routing entry (0x50). The ids are 32-bit murmur3 hashes of the service and
// of the handler; Routing is the first routing tag in text.
type BinaryRouting struct {
	Service, Handler uint32
	Flags            uint32
	Routing          []byte
}

// ParseBinaryRouting reads the body of a binary routing entry.
func ParseBinaryRouting(body []byte) (BinaryRouting, error) {
	r := reader{b: body}
	b := r.binaryRouting()
	return b, r.err
}

func (r *reader) binaryRouting() BinaryRouting {
	head := r.take(12, "binary routing")
	if head == nil {
		return BinaryRouting{}
	}
	return BinaryRouting{
		Service: binary.BigEndian.Uint32(head),
		Handler: binary.BigEndian.Uint32(head[4:]),
		Flags:   binary.BigEndian.Uint32(head[8:]),
		Routing: r.rest(),
	}
}

// Append appends the body of a binary routing entry.
func (b BinaryRouting) Append(dst []byte) []byte {
	dst = binary.BigEndian.AppendUint32(dst, b.Service)
	dst = binary.BigEndian.AppendUint32(dst, b.Handler)
	dst = binary.BigEndian.AppendUint32(dst, b.Flags)
	return append(dst, b.Routing...)
}
