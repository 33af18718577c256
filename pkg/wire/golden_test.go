package wire

import (
	"bytes"
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// The vectors are the output of the peers' own encoders: rsocket-java, rsocket-broker-client and alibaba-rsocket-core.

var (
	routeID  = mustUUID("00112233-4455-6677-8899-aabbccddeeff")
	originID = mustUUID("ffeeddcc-bbaa-9988-7766-554433221100")
	brokerID = mustUUID("00000000-0000-0000-0000-000000000011")

	deviceTags = mustTags(Tag{KeyInstanceName, "pi-42"}, Tag{KeyDevice, "pi-42"})
	pi42       = mustTags(Tag{KeyServiceName, "camera"}, Tag{KeyDevice, "pi-42"})
	camera     = mustTags(Tag{KeyServiceName, "camera"})
)

const appUUID = "0b9e2a3c-7b0c-4a64-9d3e-5f1d3c2b1a00"

var (
	app = App{
		UUID: appUUID, Name: "edge-agent", IP: "192.0.2.42", Device: "RaspberryPi", Topology: "internet",
		SDK: "edge-agent-go/0.1", Metadata: map[string]string{"device": "pi-42"},
	}
	javaApp  = App{UUID: appUUID, Name: "edge-agent", IP: "192.0.2.42", Device: "RaspberryPi", Topology: "internet", SDK: "Alibaba-RSocket-1.1.6/1.0.0", Metadata: app.Metadata}
	registry = Registry{[]Published{{"camera", "camera"}}}
	setup    = RouteSetup{routeID, "camera", deviceTags}
	jwt      = Auth{Scheme: AuthBearer, Secret: "a.b.c"}
	simple   = Auth{Scheme: AuthSimple, User: "pi-42", Secret: "s3cret"}
)

// golden is what one vector means. encode is nil where the peer's form is only read: the comment says why.
type golden struct {
	encode func() ([]byte, error)
	decode func([]byte) (any, error)
	want   any
}

func goldens() map[string]golden {
	return map[string]golden{
		"md.routing.content":       {enc(AppendRouting(nil, "camera.snapshot")), readTags, []string{"camera.snapshot"}},
		"md.routing.2tags.content": {enc(AppendRouting(nil, "camera.snapshot", "device=pi-42")), readTags, []string{"camera.snapshot", "device=pi-42"}},
		"md.routing.entry":         {entry(MIMERouting)(AppendRouting(nil, "camera.snapshot")), in(MIMERouting, readTags), []string{"camera.snapshot"}},
		"md.auth.simple.content":   {enc(simple.Append(nil)), readAuth, simple},
		"md.auth.simple.entry":     {entry(MIMEAuth)(simple.Append(nil)), in(MIMEAuth, readAuth), simple},
		"md.auth.bearer.content":   {enc(Auth{Scheme: AuthBearer, Secret: "tok.en"}.Append(nil)), readAuth, Auth{Scheme: AuthBearer, Secret: "tok.en"}},
		"md.auth.bearer.entry":     {entry(MIMEAuth)(Auth{Scheme: AuthBearer, Secret: "tok.en"}.Append(nil)), in(MIMEAuth, readAuth), Auth{Scheme: AuthBearer, Secret: "tok.en"}},
		"md.auth.custom.entry":     {entry(MIMEAuth)(Auth{Scheme: "jwt-x", Secret: "abc"}.Append(nil)), in(MIMEAuth, readAuth), Auth{Scheme: "jwt-x", Secret: "abc"}},
		"md.mime.jpeg.entry":       {entry(MIMEType)(AppendMIMEs(nil, MIMEJPEG)), in(MIMEType, readType), MIMEJPEG},
		"md.mime.custom.entry":     {entry(MIMEType)(AppendMIMEs(nil, "video/x-h264-annexb")), in(MIMEType, readType), "video/x-h264-annexb"},
		"md.accept.jpeg+json.entry": {
			entry(MIMEAccept)(AppendMIMEs(nil, MIMEJPEG, MIMEJSON)),
			in(MIMEAccept, readTypes),
			[]string{MIMEJPEG, MIMEJSON},
		},

		"rb.route_setup.notags":             {enc(RouteSetup{routeID, "camera", nil}.Append(nil)), read(ParseRouteSetup), RouteSetup{routeID, "camera", nil}},
		"rb.route_setup.tags":               {enc(setup.Append(nil)), read(ParseRouteSetup), setup},
		"rb.route_setup.composite":          {entry(MIMEBrokerFrame)(setup.Append(nil)), in(MIMEBrokerFrame, read(ParseRouteSetup)), setup},
		"rb.address.unicast.service":        address(Address{Origin: originID, Tags: camera}),
		"rb.address.unicast.service+device": address(Address{Origin: originID, Tags: pi42}),
		"rb.address.unicast.instance": address(Address{
			Origin: originID, Tags: mustTags(Tag{KeyServiceName, "camera"}, Tag{KeyInstanceName, "pi-42"}),
		}),
		"rb.address.unicast.routeid": address(Address{
			Origin: originID, Tags: mustTags(Tag{KeyRouteID, "Id{" + routeID.String() + "}"}),
		}),
		"rb.address.multicast.service": address(Address{Origin: originID, Cast: Multicast, Tags: camera}),
		"rb.address.shard.service":     address(Address{Origin: originID, Cast: Shard, Tags: camera}),
		"rb.address.ignore+encrypted+unicast.flags": address(Address{
			Origin: originID, Ignore: true, Encrypted: true, Tags: camera,
		}),
		"rb.broker_info": both(BrokerInfo{
			brokerID, 0,
			mustTags(Tag{"Broker Proxy URI Key", "tcp://localhost:8011"}, Tag{"Broker Cluster URI Key", "tcp://localhost:7011"}),
		}, ParseBrokerInfo),
		"rb.route_remove": both(RouteRemove{brokerID, routeID, 1000}, ParseRouteRemove),
		"rb.route_join":   {enc(join.Append(nil)), read(ParseRouteJoin), join},
		// An empty value, which rsocket-broker's encoder writes as no value at all: refused rather than read as a=b.
		"rb.BUG.tags.emptyvalue": {nil, refused(read(ParseRouteSetup)), ErrTrailing.Error()},
		"rb.request.composite": {
			enc(Request{Route: "camera.snapshot", Service: "camera", Device: "pi-42", Origin: originID}.Append(nil, RSocketBroker)),
			read(ParseRequest),
			Target{
				Route: []byte("camera.snapshot"), Device: []byte("pi-42"), Service: []byte("camera"),
				address: pi42, routing: []byte{},
			},
		},

		// Java writes every field, most of them null; what an agent writes is in ali.setup.composite.
		"ali.app.json":              {nil, read(ParseApp), javaApp},
		"ali.registry.json":         {nil, read(ParseRegistry), registry},
		"ali.routing.plain.content": {enc(AppendRouting(nil, "camera.snapshot")), readTags, []string{"camera.snapshot"}},
		"ali.routing.endpoint.content(java-writer: key + e= tag)": {
			enc(AppendRouting(nil, "camera.snapshot?e=device:pi-42&", "e=device:pi-42")),
			readTags,
			[]string{"camera.snapshot?e=device:pi-42&", "e=device:pi-42"},
		},
		"ali.routing.endpoint.content.min": {
			enc(AppendRouting(nil, "camera.snapshot", "e=device:pi-42")),
			readTags,
			[]string{"camera.snapshot", "e=device:pi-42"},
		},
		"ali.mime.jpeg.content": {enc(AppendMIMEs(nil, MIMEJPEG)), readType, MIMEJPEG},
		"ali.binaryrouting.header+content": {
			func() ([]byte, error) { return AppendEntryID(nil, IDBinaryRouting, binaryRouting.Append(nil)) },
			in(MIMEBinaryRouting, read(ParseBinaryRouting)), binaryRouting,
		},
		"ali.setup.composite.ids":     {alibabaByID, read(ParseSetup), alibabaSetup},
		"ali.setup.composite.strings": {enc(alibabaSetup.Append(nil)), read(ParseSetup), alibabaSetup},
		"ali.request.composite": {
			enc(Request{Route: "camera.snapshot", Device: "pi-42", Data: MIMEJSON, Accept: []string{MIMEJPEG}}.Append(nil, Alibaba)),
			read(ParseRequest),
			Target{
				Dialect: Alibaba, Route: []byte("camera.snapshot"), Device: []byte("pi-42"), Data: []byte{0x85}, Accept: []byte{0x9a},
				routing: []byte("\x0ee=device:pi-42"),
			},
		},
	}
}

var join = RouteJoin{brokerID, routeID, 1000, "camera", mustTags(
	Tag{KeyInstanceName, "pi-42"}, Tag{KeyDevice, "pi-42"},
	Tag{KeyRouteID, "Id{" + routeID.String() + "}"}, Tag{KeyServiceName, "camera"},
)}

var binaryRouting = BinaryRouting{Service: 0xc150ec8d, Handler: 0x3cc89762, Routing: []byte("camera.snapshot")}

var alibabaSetup = Setup{
	Dialect: Alibaba, ID: appUUID, Service: "edge-agent", Services: []string{"camera"}, Tags: []Tag{{KeyDevice, "pi-42"}},
	Auth: jwt, IP: app.IP, Machine: app.Device, SDK: app.SDK,
}

// alibabaByID writes the private ids, which this package's own encoder never does.
func alibabaByID() ([]byte, error) {
	appBody, err := app.Append(nil)
	if err != nil {
		return nil, err
	}
	registryBody, err := registry.Append(nil)
	if err != nil {
		return nil, err
	}
	authBody, err := jwt.Append(nil)
	if err != nil {
		return nil, err
	}
	out, _ := AppendEntryID(nil, IDApp, appBody)
	out, _ = AppendEntryID(out, IDRegistry, registryBody)
	return AppendEntryID(out, IDAuth, authBody)
}

func TestGolden(t *testing.T) {
	cases := goldens()
	for name, want := range vectors(t) {
		if strings.HasPrefix(name, "frame.") || strings.Contains(name, ".frame.") {
			continue // whole frames: TestGoldenInFrames
		}
		t.Run(name, func(t *testing.T) {
			g, ok := cases[name]
			if !ok {
				t.Fatal("no test reads this vector")
			}
			if g.encode != nil {
				got, err := g.encode()
				if err != nil {
					t.Fatal(err)
				}
				if !bytes.Equal(got, want) {
					t.Errorf("encoded\n%x, the peer writes\n%x", got, want)
				}
			}
			got, err := g.decode(want)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(g.want, got, cmp.AllowUnexported(Target{})); diff != "" {
				t.Errorf("decoded (-want +got):\n%s", diff)
			}
		})
	}
}

// TestGoldenInFrames finds this package's metadata inside whole frames of the peers.
func TestGoldenInFrames(t *testing.T) {
	laptop := Request{Service: "camera", Device: "pi-42", Origin: originID}
	snapshot, stream := laptop, laptop
	snapshot.Route, stream.Route = "camera.snapshot", "camera.snapshot" // the peer's generator kept one metadata for both
	native := Setup{
		ID: routeID.String(), Service: "camera",
		Tags: []Tag{{KeyInstanceName, "pi-42"}, {KeyDevice, "pi-42"}},
	}
	secured := native
	secured.Auth = simple

	all := vectors(t)
	for name, encode := range map[string]func() ([]byte, error){
		"rb.frame.setup":             enc(native.Append(nil)),
		"rb.frame.setup.resume":      enc(native.Append(nil)),
		"rb.frame.setup.auth":        enc(secured.Append(nil)),
		"rb.frame.request_response":  enc(snapshot.Append(nil, RSocketBroker)),
		"rb.frame.request_stream.n4": enc(stream.Append(nil, RSocketBroker)),
		"ali.frame.setup":            enc(alibabaSetup.Append(nil)),
		"ali.frame.request_response": enc(Request{Route: "camera.snapshot", Device: "pi-42", Data: MIMEJSON, Accept: []string{MIMEJPEG}}.Append(nil, Alibaba)),
		"frame.request_response":     enc(Request{Route: "camera.snapshot"}.Append(nil, Plain)),
		"frame.request_stream.n4":    enc(Request{Route: "camera.stream"}.Append(nil, Plain)),
		"frame.fnf":                  enc(Request{Route: "gpio.set"}.Append(nil, Plain)),
	} {
		md, err := encode()
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		framed := append(appendU24(nil, len(md)), md...)
		if !bytes.Contains(all[name], framed) {
			t.Errorf("%s: the peer's frame\n%x does not hold\n%x", name, all[name], framed)
		}
	}
}

// vectors reads every vector by its name.
func vectors(t testing.TB) map[string][]byte {
	t.Helper()
	files, err := filepath.Glob("testdata/*.tsv")
	if err != nil || len(files) == 0 {
		t.Fatalf("no vectors: %v", err)
	}
	all := map[string][]byte{}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(text)) {
			name, digits, _ := strings.Cut(strings.TrimSpace(line), "\t")
			b, err := hex.DecodeString(digits)
			if err != nil || len(b) == 0 {
				t.Fatalf("%s: bad vector %q: %v", file, line, err)
			}
			all[name] = b
		}
	}
	return all
}

func enc(b []byte, err error) func() ([]byte, error) {
	return func() ([]byte, error) { return b, err }
}

// entry wraps a body, as AppendX returned it, into an entry.
func entry(name string) func([]byte, error) func() ([]byte, error) {
	return func(body []byte, err error) func() ([]byte, error) {
		if err != nil {
			return enc(nil, err)
		}
		return enc(AppendEntry(nil, name, body))
	}
}

func address(a Address) golden { return golden{enc(a.Append(nil)), read(ParseAddress), a} }

func both[T interface{ Append([]byte) []byte }](v T, parse func([]byte) (T, error)) golden {
	return golden{enc(v.Append(nil), nil), read(parse), v}
}

func read[T any](parse func([]byte) (T, error)) func([]byte) (any, error) {
	return func(b []byte) (any, error) { return parse(b) }
}

// in reads the body of the only entry.
func in(name string, decode func([]byte) (any, error)) func([]byte) (any, error) {
	return func(b []byte) (any, error) {
		e, ok, err := Find(b, name)
		if err != nil || !ok {
			return nil, err
		}
		return decode(e.Body)
	}
}

// refused turns the error that has to come into the value.
func refused(decode func([]byte) (any, error)) func([]byte) (any, error) {
	return func(b []byte) (any, error) {
		_, err := decode(b)
		if e, ok := err.(*Error); ok {
			return e.Err.Error(), nil
		}
		return nil, err
	}
}

func readTags(b []byte) (any, error) {
	var tags []string
	for tag, err := range RoutingTags(b) {
		if err != nil {
			return nil, err
		}
		tags = append(tags, string(tag))
	}
	return tags, nil
}

func readTypes(b []byte) (any, error) {
	var names []string
	for m, err := range MIMEs(b) {
		if err != nil {
			return nil, err
		}
		names = append(names, m.String())
	}
	return names, nil
}

func readType(b []byte) (any, error) {
	m, err := ParseMIMEType(b)
	return m.String(), err
}

func readAuth(b []byte) (any, error) { return ParseAuth(b) }

func mustUUID(s string) UUID {
	u, err := ParseUUID(s)
	if err != nil {
		panic(err)
	}
	return u
}

func mustTags(tags ...Tag) Tags {
	t, err := MakeTags(tags...)
	if err != nil {
		panic(err)
	}
	return t
}
