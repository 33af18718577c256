package wire

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// said is a Target in strings.
type said struct {
	Dialect                Dialect
	Route, Device, Service string
	Cast                   Cast
	Conditions             []Tag
	Wait, Share            string
}

func say(t Target) said {
	s := said{
		Dialect: t.Dialect, Route: string(t.Route), Device: string(t.Device), Service: string(t.Service), Cast: t.Cast,
		Wait: string(t.Param(ParamWait)), Share: string(t.Param(ParamShare)),
	}
	for key, value := range t.Conditions() {
		s.Conditions = append(s.Conditions, Tag{string(key), string(value)})
	}
	return s
}

// metadata makes composite metadata of pairs of a type and a body.
func metadata(t testing.TB, entries ...any) []byte {
	t.Helper()
	var md []byte
	for pair := range slices.Chunk(entries, 2) {
		var err error
		if md, err = AppendEntry(md, pair[0].(string), pair[1].([]byte)); err != nil {
			t.Fatal(err)
		}
	}
	return md
}

func routing(t testing.TB, tags ...string) []byte {
	t.Helper()
	body, err := AppendRouting(nil, tags...)
	if err != nil {
		t.Fatal(err)
	}
	return body
}

func addressTo(t testing.TB, cast Cast, tags ...Tag) []byte {
	t.Helper()
	frame, err := Address{Cast: cast, Origin: originID, Tags: mustTags(tags...)}.Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	return frame
}

func TestParseRequest(t *testing.T) {
	device := Tag{KeyDevice, "pi-42"}
	service := Tag{KeyServiceName, "perch"}
	for name, c := range map[string]struct {
		md   []byte
		want said
	}{
		"nothing": {nil, said{Dialect: Plain}},
		"for the broker": {
			metadata(t, MIMERouting, routing(t, "broker.devices")),
			said{Dialect: Plain, Route: "broker.devices"},
		},
		"bare tags": {
			metadata(t, MIMERouting, routing(t, "camera.snapshot", "device=pi-42", "room=hall=1", "loud", "wait=5s", "share=1")),
			said{Dialect: Plain, Route: "camera.snapshot", Device: "pi-42", Conditions: []Tag{device, {"room", "hall=1"}}, Wait: "5s", Share: "1"},
		},
		"rsocket-broker": {
			metadata(t, MIMEBrokerFrame, addressTo(t, Unicast, service, device), MIMERouting, routing(t, "camera.stream", "share=1")),
			said{Route: "camera.stream", Device: "pi-42", Service: "perch", Conditions: []Tag{service, device}, Share: "1"},
		},
		"rsocket-broker, route first": {
			metadata(t, MIMERouting, routing(t, "camera.stream"), MIMEBrokerFrame, addressTo(t, Multicast, service)),
			said{Route: "camera.stream", Service: "perch", Cast: Multicast, Conditions: []Tag{service}},
		},
		"rsocket-broker without a route": {
			metadata(t, MIMEBrokerFrame, addressTo(t, Shard, device)),
			said{Device: "pi-42", Cast: Shard, Conditions: []Tag{device}},
		},
		"both name the device": {
			metadata(t, MIMEBrokerFrame, addressTo(t, Unicast, device), MIMERouting, routing(t, "camera.stream", "device=pi-42")),
			said{Route: "camera.stream", Device: "pi-42", Conditions: []Tag{device, device}},
		},
		"types spelled out, and one that is not known": {
			slices.Concat(
				[]byte{0xDF, 0, 0, 1, 'x'},
				[]byte{byte(len(MIMERouting) - 1)}, []byte(MIMERouting), []byte{0, 0, 5, 4}, []byte("a.b!"),
			),
			said{Dialect: Plain, Route: ""},
		},
		"alibaba": {
			metadata(t, MIMERouting, routing(t, "camera.snapshot", "e=device:pi-42")),
			said{Dialect: Alibaba, Route: "camera.snapshot", Device: "pi-42", Conditions: []Tag{device}},
		},
		"alibaba with everything around the method": {
			metadata(t, MIMERouting, routing(t, "garden!camera.snapshot:1.0?e=device:pi-42&sticky=1&wait=1s&", "m=x", "e=id:0b9e:2")),
			said{Dialect: Alibaba, Route: "camera.snapshot", Device: "pi-42", Conditions: []Tag{device, {"id", "0b9e:2"}}, Wait: "1s"},
		},
		// An endpoint of no known form is a condition that nothing meets, rather than no condition.
		"alibaba without a key": {
			metadata(t, MIMERouting, routing(t, "camera.snapshot", "e=pi-42")),
			said{Dialect: Alibaba, Route: "camera.snapshot", Conditions: []Tag{{"e", "pi-42"}}},
		},
		"alibaba by hash": {
			metadata(t, MIMEBinaryRouting, binaryRouting.Append(nil)),
			said{Dialect: Plain, Route: "camera.snapshot"},
		},
		"alibaba by hash and in text": {
			metadata(t, MIMEBinaryRouting, BinaryRouting{Routing: []byte("x.y?e=device:other")}.Append(nil), MIMERouting, routing(t, "camera.snapshot", "e=device:pi-42")),
			said{Dialect: Alibaba, Route: "camera.snapshot", Device: "pi-42", Conditions: []Tag{device}},
		},
		"alibaba in text and by hash": {
			metadata(t, MIMERouting, routing(t, "camera.snapshot"), MIMEBinaryRouting, BinaryRouting{Routing: []byte("x.y?e=device:other")}.Append(nil)),
			said{Dialect: Plain, Route: "camera.snapshot"},
		},
		"the first of two": {
			metadata(t, MIMERouting, routing(t, "camera.snapshot", "device=pi-42"), MIMERouting, routing(t, "gpio.set", "device=other")),
			said{Dialect: Plain, Route: "camera.snapshot", Device: "pi-42", Conditions: []Tag{device}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			target, err := ParseRequest(c.md)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, say(target)); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

// TestParseRouting reads what a client sends whose metadata type is routing and nothing else.
func TestParseRouting(t *testing.T) {
	target, err := ParseRouting(routing(t, "camera.snapshot", "device=pi-42"))
	if err != nil {
		t.Fatal(err)
	}
	if string(target.Route) != "camera.snapshot" || string(target.Device) != "pi-42" || target.Dialect != Plain {
		t.Errorf("got %+v", say(target))
	}
	if _, err := ParseRouting([]byte{3, 'a'}); !errors.Is(err, ErrTruncated) {
		t.Errorf("a cut tag: %v", err)
	}
}

func TestDataTypes(t *testing.T) {
	data, _ := AppendMIMEs(nil, MIMEJSON)
	accept, _ := AppendMIMEs(nil, MIMEJPEG, "video/x-h264-annexb")
	target, err := ParseRequest(metadata(t, MIMEAccept, accept, MIMEType, data))
	if err != nil {
		t.Fatal(err)
	}
	m, err := ParseMIMEType(target.Data)
	if err != nil || !m.Is(MIMEJSON) {
		t.Errorf("data is %v, %v", m, err)
	}
	if _, err := ParseMIMEType(target.Accept); !errors.Is(err, ErrTrailing) {
		t.Errorf("data of two types: %v", err)
	}
	names, err := readTypes(target.Accept)
	if err != nil || !slices.Equal(names.([]string), []string{MIMEJPEG, "video/x-h264-annexb"}) {
		t.Errorf("accepted are %v, %v", names, err)
	}
}

// TestRequestErrors states the reason and the place of everything that a hostile or broken peer can get wrong.
func TestRequestErrors(t *testing.T) {
	address := addressTo(t, Unicast, Tag{KeyServiceName, "perch"}, Tag{KeyDevice, "pi-42"})
	route := metadata(t, MIMERouting, routing(t, "a.b"))
	at := func(i int, b byte) []byte {
		changed := slices.Clone(address)
		changed[i] = b
		return metadata(t, MIMERouting, routing(t, "a.b"), MIMEBrokerFrame, changed)
	}
	body := len(route) + 1 + len(MIMEBrokerFrame) + 3 // offset of the ADDRESS frame
	for name, c := range map[string]struct {
		md     []byte
		offset int
		reason error
	}{
		"no length":                {[]byte{0xFE, 0}, 1, ErrTruncated},
		"no body":                  {[]byte{0xFE, 0, 0, 5, 1, 'a'}, 4, ErrTruncated},
		"a type that ends":         {[]byte{0x05, 'a'}, 1, ErrTruncated},
		"a second entry that ends": {append(slices.Clone(route), 0x7F), len(route) + 1, ErrTruncated},
		"a tag that ends":          {metadata(t, MIMERouting, []byte("\x01a\x09b")), 6, ErrTruncated},
		"two devices":              {metadata(t, MIMERouting, routing(t, "a.b", "device=x", "device=y")), 0, ErrRepeated},
		"two devices, two ways":    {metadata(t, MIMEBrokerFrame, address, MIMERouting, routing(t, "a.b", "e=device:y")), 0, ErrRepeated},
		"another broker frame":     {at(4, byte(FrameRouteSetup<<2)), body, ErrInvalid},
		"no cast":                  {at(5, 0), body, ErrInvalid},
		"two casts":                {at(5, flagUnicast|flagShard), body, ErrInvalid},
		"no address tags":          {metadata(t, MIMEBrokerFrame, address[:22]), body - len(route) + 22, ErrEmpty},
		"an address that ends":     {metadata(t, MIMEBrokerFrame, address[:20]), body - len(route) + 6, ErrTruncated},
		"key of no length":         {at(22, 0x00), body + 22, ErrEmpty},
		"key 0, no tag":            {at(22, 0x80), body + 22, ErrEmpty},
		"value of no length":       {at(23, 0x80), body + 23, ErrEmpty},
		"value past the end":       {at(23, 0x7F), body + 24, ErrTruncated},
		"tags after the last":      {at(23, 0x05), body + 29, ErrTrailing},
		"more tags promised":       {at(len(address)-6, 0x85), body + len(address), ErrTruncated},
		"a binary routing short":   {metadata(t, MIMEBinaryRouting, make([]byte, 11)), 4 + len(MIMEBinaryRouting), ErrTruncated},
	} {
		t.Run(name, func(t *testing.T) {
			target, err := ParseRequest(c.md)
			e, ok := err.(*Error)
			if !ok {
				t.Fatalf("got %+v, %v", say(target), err)
			}
			if e.Offset != c.offset || !errors.Is(err, c.reason) {
				t.Errorf("got %v, want %v at byte %d", err, c.reason, c.offset)
			}
			if diff := cmp.Diff(said{}, say(target)); diff != "" {
				t.Errorf("something was read all the same: %s", diff)
			}
		})
	}
}

func TestRequestRefuses(t *testing.T) {
	dst := []byte("kept")
	for name, q := range map[string]Request{
		"no route":            {Device: "x"},
		"a long route":        {Route: strings.Repeat("a", 256)},
		"an empty condition":  {Route: "a.b", Tags: []Tag{{"room", ""}}},
		"a long condition":    {Route: "a.b", Tags: []Tag{{"room", strings.Repeat("a", 128)}}},
		"a type with no name": {Route: "a.b", Accept: []string{""}},
		"a type in Greek":     {Route: "a.b", Data: "τύπος"},
		"an unknown cast":     {Route: "a.b", Device: "x", Cast: 3},
	} {
		if out, err := q.Append(dst, RSocketBroker); err == nil || string(out) != "kept" {
			t.Errorf("%s: wrote %q, %v", name, out, err)
		}
	}
	if out, err := (Request{Route: "a.b"}).Append(dst, 9); err == nil || string(out) != "kept" {
		t.Errorf("an unknown dialect: wrote %q, %v", out, err)
	}
}

// TestRequestRoundTrip: whatever a requester says in a dialect is what the broker and the device read.
func TestRequestRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		name := rapid.StringMatching(`[a-z][a-z0-9._-]{0,30}`)
		q := Request{
			Route:   rapid.StringMatching(`[a-z]{1,20}\.[a-z]{1,20}`).Draw(t, "route"),
			Device:  rapid.OneOf(rapid.Just(""), name).Draw(t, "device"),
			Cast:    Cast(rapid.IntRange(0, 2).Draw(t, "cast")),
			Service: rapid.OneOf(rapid.Just(""), name).Draw(t, "service"),
		}
		for _, key := range rapid.SliceOfNDistinct(rapid.StringMatching(`x-[a-z]{1,8}`), 0, 4, rapid.ID).Draw(t, "keys") {
			q.Tags = append(q.Tags, Tag{key, rapid.StringMatching(`[ -~]{1,60}`).Draw(t, "value")})
		}
		if rapid.Bool().Draw(t, "waits") {
			q.Params = []Tag{{ParamWait, "5s"}}
		}
		d := Dialect(rapid.IntRange(0, 2).Draw(t, "dialect"))

		want := said{Route: q.Route, Device: q.Device}
		if d == RSocketBroker && q.Service != "" {
			want.Service = q.Service
			want.Conditions = append(want.Conditions, Tag{KeyServiceName, q.Service})
		}
		if q.Device != "" {
			want.Conditions = append(want.Conditions, Tag{KeyDevice, q.Device})
		}
		want.Conditions = append(want.Conditions, q.Tags...)
		if len(q.Params) > 0 {
			want.Wait = "5s"
		}
		switch {
		case len(want.Conditions) == 0:
			want.Dialect = Plain // nothing in it tells the dialects apart
		case d == RSocketBroker:
			want.Cast = q.Cast
		default:
			want.Dialect = d
		}

		md, err := q.Append(nil, d)
		if err != nil {
			t.Fatal(err)
		}
		target, err := ParseRequest(md)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, say(target)); diff != "" {
			t.Errorf("%v (-want +got):\n%s", d, diff)
		}
	})
}

// TestHotPathDoesNotAllocate is the promise that a broker relies on for each request.
func TestHotPathDoesNotAllocate(t *testing.T) {
	for name, md := range hotRequests(t) {
		allocs := testing.AllocsPerRun(100, func() {
			target, err := ParseRequest(md)
			if err != nil || len(target.Device) == 0 || target.Param(ParamWait) == nil {
				t.Fatal(target, err)
			}
			n := 0
			for range target.Conditions() {
				n++
			}
			for m, err := range MIMEs(target.Accept) {
				if err != nil || !m.Is(MIMEJPEG) {
					t.Fatal(m, err)
				}
			}
			if n == 0 {
				t.Fatal("no conditions")
			}
		})
		if allocs != 0 {
			t.Errorf("%s: %v allocations", name, allocs)
		}
	}
}

func hotRequests(t testing.TB) map[string][]byte {
	all := map[string][]byte{}
	for _, d := range []Dialect{RSocketBroker, Alibaba, Plain} {
		md, err := Request{
			Route: "camera.snapshot", Service: "perch", Device: "pi-42", Tags: []Tag{{"room", "hall"}},
			Params: []Tag{{ParamWait, "5s"}}, Data: MIMEJSON, Accept: []string{MIMEJPEG},
		}.Append(nil, d)
		if err != nil {
			t.Fatal(err)
		}
		all[d.String()] = md
	}
	return all
}

func BenchmarkParseRequest(b *testing.B) {
	for name, md := range hotRequests(b) {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := ParseRequest(md); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
