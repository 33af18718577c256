package wire

import "encoding/binary"

// FrameType tells the frames of rsocket-broker apart. Each is the body of an entry of type MIMEBrokerFrame.
type FrameType uint8

// A connection opens with ROUTE_SETUP, and each request carries ADDRESS. The others are between brokers.
const (
	FrameRouteSetup  FrameType = 1
	FrameRouteJoin   FrameType = 2
	FrameRouteRemove FrameType = 3
	FrameBrokerInfo  FrameType = 4
	FrameAddress     FrameType = 5
)

// Flags of ADDRESS. Exactly one of the last three is set.
const (
	flagIgnore    = 0x200
	flagEncrypted = 0x100
	flagUnicast   = 0x080
	flagMulticast = 0x040
	flagShard     = 0x020
)

// TypeOf reads a frame's type, which may be one that is not known here.
func TypeOf(frame []byte) (FrameType, error) {
	r := reader{b: frame}
	typ, _ := r.header()
	return typ, r.err
}

// header reads the six bytes that every frame begins with. The version is not checked: rsocket-broker does not check it, and
// its JavaScript client writes 0x1C01 as the minor version.
func (r *reader) header() (FrameType, int) {
	r.take(4, "broker frame")
	word := r.u16("broker frame")
	return FrameType(word >> 10), word & 0x3FF
}

// expect reads the header of a frame that has to be of one type.
func (r *reader) expect(typ FrameType) (flags int) {
	at := r.at
	got, flags := r.header()
	if r.err == nil && got != typ {
		r.fail("broker frame type", at, ErrInvalid)
	}
	return flags
}

func appendHeader(dst []byte, typ FrameType, flags int) []byte {
	dst = append(dst, 0, 0, 0, 1) // version 0.1
	return binary.BigEndian.AppendUint16(dst, uint16(typ)<<10|uint16(flags))
}

// service reads a service name, as a copy.
func (r *reader) service() string {
	at := r.at
	name := r.take(int(r.u8("service name")), "service name")
	if r.err == nil && len(name) == 0 {
		r.fail("service name", at, ErrEmpty)
	}
	return string(name)
}

// end reports what was read, with trailing bytes as an error.
func (r *reader) end(part string) error {
	if r.err == nil && len(r.b) > 0 {
		r.fail(part, r.at, ErrTrailing)
	}
	return r.err
}

// RouteSetup registers a connection: who can be reached over it.
type RouteSetup struct {
	RouteID UUID // new for each SETUP: see NewUUID
	Service string
	Tags    Tags
}

// ParseRouteSetup reads a ROUTE_SETUP frame.
func ParseRouteSetup(frame []byte) (RouteSetup, error) {
	r := reader{b: frame}
	s := r.routeSetup()
	return s, r.err
}

func (r *reader) routeSetup() RouteSetup {
	r.expect(FrameRouteSetup)
	s := RouteSetup{RouteID: r.uuid("route id"), Service: r.service(), Tags: r.tags()}
	if r.err != nil {
		return RouteSetup{}
	}
	return s
}

// Append appends the frame.
func (s RouteSetup) Append(dst []byte) ([]byte, error) {
	out := appendHeader(dst, FrameRouteSetup, 0)
	out = append(out, s.RouteID[:]...)
	out, err := appendShort(out, "service name", s.Service)
	if err != nil {
		return dst, err
	}
	return append(out, s.Tags...), nil
}

// Cast is how many of the matching routes a request goes to.
type Cast uint8

// Unicast goes to one of them, Multicast to all, Shard to the one that the broker computes.
const (
	Unicast Cast = iota
	Multicast
	Shard
)

// Address says which routes a request is for: those that have all of its tags.
type Address struct {
	Cast      Cast
	Encrypted bool // flag E
	Ignore    bool // flag I: who does not understand the frame may ignore it
	Origin    UUID // the sender's route id
	Tags      Tags // at least one
}

// ParseAddress reads an ADDRESS frame.
func ParseAddress(frame []byte) (Address, error) {
	r := reader{b: frame}
	a := r.address()
	return a, r.err
}

func (r *reader) address() Address {
	at := r.at
	flags := r.expect(FrameAddress)
	a := Address{Encrypted: flags&flagEncrypted != 0, Ignore: flags&flagIgnore != 0}
	switch flags & (flagUnicast | flagMulticast | flagShard) {
	case flagUnicast:
		a.Cast = Unicast
	case flagMulticast:
		a.Cast = Multicast
	case flagShard:
		a.Cast = Shard
	default:
		r.fail("address flags", at, ErrInvalid)
	}
	a.Origin = r.uuid("origin route id")
	a.Tags = r.tags()
	if r.err == nil && len(a.Tags) == 0 {
		r.fail("address tags", r.at, ErrEmpty)
	}
	if r.err != nil {
		return Address{}
	}
	return a
}

// Append appends the frame.
func (a Address) Append(dst []byte) ([]byte, error) {
	if len(a.Tags) == 0 {
		return dst, cannot("address tags", ErrEmpty)
	}
	if a.Cast > Shard {
		return dst, cannot("address flags", ErrInvalid)
	}
	flags := flagUnicast >> a.Cast
	if a.Encrypted {
		flags |= flagEncrypted
	}
	if a.Ignore {
		flags |= flagIgnore
	}
	dst = appendHeader(dst, FrameAddress, flags)
	dst = append(dst, a.Origin[:]...)
	return append(dst, a.Tags...), nil
}

// BrokerInfo is a broker's word about itself.
type BrokerInfo struct {
	BrokerID  UUID
	Timestamp uint64
	Tags      Tags
}

// ParseBrokerInfo reads a BROKER_INFO frame.
func ParseBrokerInfo(frame []byte) (BrokerInfo, error) {
	r := reader{b: frame}
	r.expect(FrameBrokerInfo)
	i := BrokerInfo{BrokerID: r.uuid("broker id"), Timestamp: r.u64("timestamp"), Tags: r.tags()}
	if r.err != nil {
		return BrokerInfo{}, r.err
	}
	return i, nil
}

// Append appends the frame.
func (i BrokerInfo) Append(dst []byte) []byte {
	dst = appendHeader(dst, FrameBrokerInfo, 0)
	dst = append(dst, i.BrokerID[:]...)
	dst = binary.BigEndian.AppendUint64(dst, i.Timestamp)
	return append(dst, i.Tags...)
}

// RouteJoin tells another broker of a route.
type RouteJoin struct {
	BrokerID, RouteID UUID
	Timestamp         uint64
	Service           string
	Tags              Tags
}

// ParseRouteJoin reads a ROUTE_JOIN frame.
func ParseRouteJoin(frame []byte) (RouteJoin, error) {
	r := reader{b: frame}
	r.expect(FrameRouteJoin)
	j := RouteJoin{
		BrokerID:  r.uuid("broker id"),
		RouteID:   r.uuid("route id"),
		Timestamp: r.u64("timestamp"),
		Service:   r.service(),
		Tags:      r.tags(),
	}
	if r.err != nil {
		return RouteJoin{}, r.err
	}
	return j, nil
}

// Append appends the frame.
func (j RouteJoin) Append(dst []byte) ([]byte, error) {
	out := appendHeader(dst, FrameRouteJoin, 0)
	out = append(out, j.BrokerID[:]...)
	out = append(out, j.RouteID[:]...)
	out = binary.BigEndian.AppendUint64(out, j.Timestamp)
	out, err := appendShort(out, "service name", j.Service)
	if err != nil {
		return dst, err
	}
	return append(out, j.Tags...), nil
}

// RouteRemove tells another broker that a route is gone.
type RouteRemove struct {
	BrokerID, RouteID UUID
	Timestamp         uint64
}

// ParseRouteRemove reads a ROUTE_REMOVE frame.
func ParseRouteRemove(frame []byte) (RouteRemove, error) {
	r := reader{b: frame}
	r.expect(FrameRouteRemove)
	m := RouteRemove{BrokerID: r.uuid("broker id"), RouteID: r.uuid("route id"), Timestamp: r.u64("timestamp")}
	if err := r.end("route remove"); err != nil {
		return RouteRemove{}, err
	}
	return m, nil
}

// Append appends the frame.
func (m RouteRemove) Append(dst []byte) []byte {
	dst = appendHeader(dst, FrameRouteRemove, 0)
	dst = append(dst, m.BrokerID[:]...)
	dst = append(dst, m.RouteID[:]...)
	return binary.BigEndian.AppendUint64(dst, m.Timestamp)
}
