package wire

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rsocket/rsocket-go/extension"
	"pgregory.net/rapid"
)

// TestIDs compares the table with another implementation's, and with itself.
func TestIDs(t *testing.T) {
	for id := range ID(128) {
		name := id.String()
		if other := extension.MIME(id).String(); other != "" && name != other {
			t.Errorf("0x%02x is %q here and %q elsewhere", uint8(id), name, other)
		}
		private := id >= 0x50 && id < IDMIMEType
		got, ok := IDOf(name)
		if want := name != "" && !private; ok != want || ok && got != id {
			t.Errorf("0x%02x %q has the id 0x%02x, %v", uint8(id), name, uint8(got), ok)
		}
	}
}

// TestCustomLength is about the byte before a type spelled out: length − 1, so that 1 to 128 bytes fit.
func TestCustomLength(t *testing.T) {
	for _, n := range []int{1, 2, 127, 128} {
		name := strings.Repeat("x", n)
		md, err := AppendEntry(nil, name, []byte("body"))
		if err != nil {
			t.Fatal(err)
		}
		if int(md[0]) != n-1 {
			t.Errorf("%d bytes are announced as %d", n, md[0])
		}
		e, ok, err := Find(md, name)
		if err != nil || !ok || string(e.Body) != "body" || e.Offset != n+4 {
			t.Errorf("%d bytes read as %+v, %v", n, e, err)
		}
	}
	for _, name := range []string{"", strings.Repeat("x", 129), "é"} {
		if md, err := AppendEntry([]byte("kept"), name, nil); err == nil || string(md) != "kept" {
			t.Errorf("%q was written as %x, %v", name, md, err)
		}
	}
}

func TestEntryLength(t *testing.T) {
	if md, err := AppendEntry(nil, MIMEJPEG, make([]byte, maxEntry)); err != nil || len(md) != 4+maxEntry {
		t.Errorf("the longest entry: %v", err)
	}
	for _, append := range []func([]byte) ([]byte, error){
		func(b []byte) ([]byte, error) { return AppendEntry(nil, MIMEJPEG, b) },
		func(b []byte) ([]byte, error) { return AppendEntryID(nil, IDJPEG, b) },
	} {
		if _, err := append(make([]byte, maxEntry+1)); !errors.Is(err, ErrTooLong) {
			t.Errorf("one byte more: %v", err)
		}
	}
}

// TestEntriesStop: the caller may leave the walk, and an error ends it.
func TestEntriesStop(t *testing.T) {
	md := slices.Concat([]byte{0x85, 0, 0, 0}, []byte{0x85, 0, 0, 0}, []byte{0x85})
	var n, failed int
	for _, err := range Entries(md) {
		n++
		if err != nil {
			failed++
		}
	}
	if n != 3 || failed != 1 {
		t.Errorf("%d items, %d errors", n, failed)
	}
	for range Entries(md) {
		break
	}
	if _, ok, err := Find(md, MIMEJSON); !ok || err != nil {
		t.Errorf("what comes before the damage is found: %v", err)
	}
	if _, ok, err := Find(md, MIMEJPEG); ok || !errors.Is(err, ErrTruncated) {
		t.Errorf("what may be in the damage is not missing but unknown: %v", err)
	}
}

func TestCompositeRoundTrip(t *testing.T) {
	type entry struct{ Name, Body string }
	rapid.Check(t, func(t *rapid.T) {
		var want []entry
		var md []byte
		for range rapid.IntRange(0, 6).Draw(t, "entries") {
			e := entry{
				rapid.OneOf(rapid.SampledFrom([]string{MIMERouting, MIMEJPEG, MIMEBrokerFrame, MIMEApp}), rapid.StringMatching(`[ -~]{1,128}`)).Draw(t, "name"),
				string(rapid.SliceOfN(rapid.Byte(), 0, 300).Draw(t, "body")),
			}
			want = append(want, e)
			var err error
			if md, err = AppendEntry(md, e.Name, []byte(e.Body)); err != nil {
				t.Fatal(err)
			}
		}
		var got []entry
		for e, err := range Entries(md) {
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(md[e.Offset:e.Offset+len(e.Body)], e.Body) {
				t.Errorf("%v is not at %d", e.Type, e.Offset)
			}
			got = append(got, entry{e.Type.String(), string(e.Body)})
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("-want +got:\n%s", diff)
		}
	})
}

func TestTagsRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		key := rapid.OneOf(rapid.SampledFrom([]string{KeyServiceName, KeyInstanceName, "Broker Proxy URI Key", KeyDevice}), rapid.StringN(1, -1, 127))
		tags := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) Tag {
			return Tag{key.Draw(t, "key"), rapid.StringN(1, -1, 127).Draw(t, "value")}
		}), 0, 8).Draw(t, "tags")

		made, err := MakeTags(tags...)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(tags, append([]Tag{}, made.Copy()...)); diff != "" {
			t.Errorf("-want +got:\n%s", diff)
		}
		for _, tag := range tags {
			first := slices.IndexFunc(tags, func(other Tag) bool { return other.Key == tag.Key })
			if got := string(made.Get(tag.Key)); got != tags[first].Value {
				t.Errorf("%q is %q, want %q", tag.Key, got, tags[first].Value)
			}
		}
		frame, err := RouteSetup{routeID, "perch", made}.Append(nil)
		if err != nil {
			t.Fatal(err)
		}
		read, err := ParseRouteSetup(frame)
		if err != nil || !bytes.Equal(read.Tags, made) {
			t.Errorf("in a frame they read as %x, %v", read.Tags, err)
		}
		if made.Get("no such key") != nil {
			t.Error("a key that is not there has a value")
		}
	})
}

// TestUnknownKeys keeps keys apart whose names are not known here.
func TestUnknownKeys(t *testing.T) {
	frame, _ := RouteSetup{routeID, "perch", Tags("\xC0\x81a\xC1\x01b")}.Append(nil)
	s, err := ParseRouteSetup(frame)
	if err != nil {
		t.Fatal(err)
	}
	want := []Tag{{"io.rsocket.broker.0x40", "a"}, {"io.rsocket.broker.0x41", "b"}}
	if diff := cmp.Diff(want, s.Tags.Copy()); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestFrameTypes(t *testing.T) {
	frames := map[FrameType][]byte{
		FrameRouteRemove: RouteRemove{brokerID, routeID, 1}.Append(nil),
		FrameBrokerInfo:  BrokerInfo{brokerID, 1, nil}.Append(nil),
	}
	frames[FrameRouteSetup], _ = setup.Append(nil)
	frames[FrameRouteJoin], _ = join.Append(nil)
	frames[FrameAddress], _ = Address{Tags: pi42}.Append(nil)
	parse := map[FrameType]func([]byte) (any, error){
		FrameRouteSetup: read(ParseRouteSetup), FrameRouteJoin: read(ParseRouteJoin), FrameRouteRemove: read(ParseRouteRemove),
		FrameBrokerInfo: read(ParseBrokerInfo), FrameAddress: read(ParseAddress),
	}
	for typ, frame := range frames {
		if got, err := TypeOf(frame); err != nil || got != typ {
			t.Errorf("type %d reads as %d, %v", typ, got, err)
		}
		for other, parse := range parse {
			if _, err := parse(frame); (err == nil) != (other == typ) {
				t.Errorf("type %d read as %d: %v", typ, other, err)
			}
		}
		for n := range frame {
			if _, err := parse[typ](frame[:n]); err == nil && !cutAtTags(typ, frame, n) {
				t.Errorf("type %d, %d of %d bytes: no error", typ, n, len(frame))
			}
		}
		if _, err := parse[typ](append(slices.Clone(frame), 'x')); err == nil {
			t.Errorf("type %d with a byte behind it: no error", typ)
		}
	}
	if _, err := TypeOf([]byte{0, 0, 0, 1, 4}); !errors.Is(err, ErrTruncated) {
		t.Errorf("five bytes: %v", err)
	}
}

// cutAtTags reports whether a frame is cut exactly where its tags begin: tags may be absent.
func cutAtTags(typ FrameType, frame []byte, n int) bool {
	switch typ {
	case FrameRouteSetup:
		return n == len(frame)-len(setup.Tags)
	case FrameRouteJoin:
		return n == len(frame)-len(join.Tags)
	}
	return false
}

func TestUUID(t *testing.T) {
	a, b := NewUUID(), NewUUID()
	if a == b {
		t.Error("two are the same")
	}
	if a[6]>>4 != 4 || a[8]>>6 != 2 {
		t.Errorf("%v is not of version 4", a)
	}
	if got, err := ParseUUID(a.String()); err != nil || got != a {
		t.Errorf("%v reads as %v, %v", a, got, err)
	}
	for _, s := range []string{"", "00112233445566778899aabbccddeeff", "00112233-4455-6677-8899-aabbccddeefg", "00112233-4455-6677-8899+aabbccddeeff"} {
		if _, err := ParseUUID(s); !errors.Is(err, ErrInvalid) {
			t.Errorf("%q: %v", s, err)
		}
	}
}
