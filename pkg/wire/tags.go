package wire

import (
	"fmt"
	"iter"
)

// Keys of tags that rsocket-broker knows by one byte. Others are spelled out; KeyDevice is one of those, because the
// well-known Device (0x08) is a kind of machine and not its name.
const (
	KeyServiceName  = "io.rsocket.broker.ServiceName"
	KeyRouteID      = "io.rsocket.broker.RouteId"
	KeyInstanceName = "io.rsocket.broker.InstanceName"
	KeyVersion      = "io.rsocket.broker.Version"
	KeyDevice       = "device"
)

// keyNames holds what each well-known key stands for. 0x00 is "no tag" and refused. Keys that are not assigned have names
// too, so that two of them are never mistaken for one another.
var keyNames = func() (names [128][]byte) {
	for id := range names {
		names[id] = fmt.Appendf(nil, "io.rsocket.broker.0x%02X", id)
	}
	for id, name := range map[int]string{
		0x01: "ServiceName", 0x02: "RouteId", 0x03: "InstanceName", 0x04: "ClusterName", 0x05: "Provider", 0x06: "Region",
		0x07: "Zone", 0x08: "Device", 0x09: "OS", 0x0A: "UserName", 0x0B: "UserId", 0x0C: "MajorVersion", 0x0D: "MinorVersion",
		0x0E: "PatchVersion", 0x0F: "Version", 0x10: "Environment", 0x11: "TestCell", 0x12: "DNS", 0x13: "IPv4", 0x14: "IPv6",
		0x15: "Country", 0x1A: "TimeZone", 0x1B: "ShardKey", 0x1C: "ShardMethod", 0x1D: "StickyRouteKey", 0x1E: "LBMethod",
	} {
		names[id] = []byte("io.rsocket.broker." + name)
	}
	names[0x1F] = []byte("Broker Implementation Extension Key")
	names[0x20] = []byte("Well Known Extension Key")
	names[0x21] = []byte("Broker Proxy URI Key")
	names[0x22] = []byte("Broker Cluster URI Key")
	return names
}()

// Tag is one key and value of rsocket-broker: a well-known key by its name above, any other by its own. Both are 1 to 127 bytes.
type Tag struct{ Key, Value string }

// Tags are tags as they are on the wire, checked. Make them with MakeTags; nil is none.
type Tags []byte

// MakeTags encodes tags. An empty or overlong key or value is refused: rsocket-broker's own encoder writes the key of such a
// tag and no value, and everything behind it is read as something else.
func MakeTags(tags ...Tag) (Tags, error) {
	var out Tags
	for i, tag := range tags {
		if err := checkTag(tag); err != nil {
			return nil, err
		}
		if id, ok := keyID(tag.Key); ok {
			out = append(out, 0x80|id)
		} else {
			out = append(append(out, byte(len(tag.Key))), tag.Key...)
		}
		n := byte(len(tag.Value))
		if i < len(tags)-1 {
			n |= 0x80 // more tags follow
		}
		out = append(append(out, n), tag.Value...)
	}
	return out, nil
}

func checkTag(tag Tag) error {
	switch {
	case tag.Key == "":
		return cannot("tag key", ErrEmpty)
	case tag.Value == "":
		return cannot("value of tag "+tag.Key, ErrEmpty)
	case len(tag.Key) > 127:
		return cannot("tag key", ErrTooLong)
	case len(tag.Value) > 127:
		return cannot("value of tag "+tag.Key, ErrTooLong)
	}
	return nil
}

func keyID(name string) (byte, bool) {
	for id := 1; id < len(keyNames); id++ {
		if string(keyNames[id]) == name {
			return byte(id), true
		}
	}
	return 0, false
}

// All walks the tags as keys and values. The keys must not be written to. It does not allocate.
func (t Tags) All() iter.Seq2[[]byte, []byte] {
	return func(yield func(key, value []byte) bool) {
		r := reader{b: t}
		for len(r.b) > 0 {
			key, value, more := r.tag()
			if r.err != nil || !yield(key, value) || !more {
				return
			}
		}
	}
}

// Get returns the value of the first tag with this key, nil when there is none.
func (t Tags) Get(name string) []byte {
	for key, value := range t.All() {
		if string(key) == name {
			return value
		}
	}
	return nil
}

// Copy returns the tags as strings of their own.
func (t Tags) Copy() []Tag {
	var out []Tag
	for key, value := range t.All() {
		out = append(out, Tag{string(key), string(value)})
	}
	return out
}

// tag reads one tag, and whether another one follows.
func (r *reader) tag() (key, value []byte, more bool) {
	at := r.at
	if first := r.u8("tag key"); first&0x80 == 0 {
		key = r.take(int(first), "tag key")
	} else if first != 0x80 {
		key = keyNames[first&0x7F]
	}
	if r.err == nil && len(key) == 0 {
		r.fail("tag key", at, ErrEmpty)
	}
	at = r.at
	n := r.u8("tag value")
	value = r.take(int(n&0x7F), "tag value")
	if r.err == nil && len(value) == 0 {
		r.fail("tag value", at, ErrEmpty)
	}
	return key, value, n&0x80 != 0
}

// tags takes the rest of a frame as tags, every one checked.
func (r *reader) tags() Tags {
	all := r.b
	if len(all) == 0 {
		return nil
	}
	for more := true; more; {
		_, _, more = r.tag()
		if r.err != nil {
			return nil
		}
	}
	if len(r.b) > 0 {
		r.fail("tags", r.at, ErrTrailing)
		return nil
	}
	return Tags(all[:len(all):len(all)])
}
