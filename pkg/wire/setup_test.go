package wire

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// TestSetupRoundTrip: whatever a device says of itself in a dialect is what the broker reads, but for what the dialect cannot say.
func TestSetupRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := Setup{
			Dialect: Dialect(rapid.IntRange(0, 2).Draw(t, "dialect")),
			Service: rapid.StringMatching(`[a-z-]{1,40}`).Draw(t, "service"),
			Auth: rapid.SampledFrom([]Auth{
				{}, simple, jwt, {Scheme: "x-own", Secret: "\x00\xff"}, {Scheme: AuthSimple, User: "nobody"},
			}).Draw(t, "auth"),
		}
		if rapid.Bool().Draw(t, "advert") {
			s.Advert = []byte(rapid.String().Draw(t, "bytes"))
		}
		keys := rapid.SliceOfNDistinct(rapid.StringMatching(`[a-z][a-z.]{0,20}`), 1, 6, rapid.ID).Draw(t, "keys")
		slices.Sort(keys)
		for _, key := range keys {
			if key != keyService {
				s.Tags = append(s.Tags, Tag{key, rapid.StringN(1, 30, 127).Draw(t, "value")})
			}
		}
		switch s.Dialect {
		case RSocketBroker:
			s.ID = NewUUID().String()
		case Alibaba:
			s.ID = NewUUID().String()
			s.Services = []string{"camera", "sensors"}
			s.IP, s.Machine, s.SDK = "192.0.2.1", "RaspberryPi", "perch/1"
		case Plain:
			if len(s.Tags) == 0 {
				s.Service = "" // nothing registers
			}
		}

		md, err := s.Append(nil)
		if err != nil {
			t.Fatal(err)
		}
		got, err := ParseSetup(md)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(s, got); diff != "" {
			t.Errorf("-want +got:\n%s", diff)
		}
		for i := range md {
			md[i] = 0xEE
		}
		if diff := cmp.Diff(s, got); diff != "" {
			t.Errorf("it is no copy:\n%s", diff)
		}
	})
}

func TestParseSetup(t *testing.T) {
	bearer, _ := Auth{Scheme: AuthBearer, Secret: "t"}.Append(nil)
	for name, c := range map[string]struct {
		md   []byte
		want Setup
	}{
		"a bare laptop":         {nil, Setup{Dialect: Plain}},
		"a laptop with a token": {metadata(t, MIMEAuth, bearer), Setup{Dialect: Plain, Auth: Auth{Scheme: AuthBearer, Secret: "t"}}},
		"a route that registers nothing": {
			metadata(t, MIMERouting, routing(t, "hello", "device=pi-42")),
			Setup{Dialect: Plain},
		},
		"a plain device": {
			metadata(t, MIMERouting, routing(t, RouteRegister, "device=pi-42", "service=perch", "loud")),
			Setup{Dialect: Plain, Service: "perch", Tags: []Tag{{KeyDevice, "pi-42"}}},
		},
		"alibaba, its service as a bare string": {
			metadata(t, MIMEApp, []byte(`{"uuid":"u","metadata":{"b":"2","a":"1"},"later":[]}`), MIMERegistry, []byte(`{"published":["camera"]}`)),
			Setup{Dialect: Alibaba, ID: "u", Services: []string{"camera"}, Tags: []Tag{{"a", "1"}, {"b", "2"}}},
		},
	} {
		got, err := ParseSetup(c.md)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	if got, _ := ParseSetup(metadata(t, MIMERouting, routing(t, RouteRegister, "device=pi-42"))); got.Device() != "pi-42" || got.Tag("x") != "" {
		t.Errorf("the device is %q", got.Device())
	}
}

func TestSetupErrors(t *testing.T) {
	frame, _ := setup.Append(nil)
	twice, _ := RouteSetup{routeID, "perch", mustTags(Tag{KeyDevice, "a"}, Tag{KeyDevice, "b"})}.Append(nil)
	frameAt := 1 + len(MIMEBrokerFrame) + 3
	for name, c := range map[string]struct {
		md     []byte
		offset int
		reason error
	}{
		"not composite":        {[]byte("GET / HTTP/1.1\r\n"), 1, ErrTruncated},
		"two route setups":     {metadata(t, MIMEBrokerFrame, frame, MIMEBrokerFrame, frame), 2*frameAt + len(frame), ErrRepeated},
		"two tokens":           {metadata(t, MIMEAuth, []byte("\x81a"), MIMEAuth, []byte("\x81b")), 10, ErrRepeated},
		"two adverts":          {metadata(t, MIMEAdvert, []byte{}, MIMEAdvert, []byte{}), 2 * (1 + len(MIMEAdvert) + 3), ErrRepeated},
		"two registrations":    {metadata(t, MIMERouting, routing(t, "a"), MIMERouting, routing(t, "a")), 10, ErrRepeated},
		"two apps":             {metadata(t, MIMEApp, []byte("{}"), MIMEApp, []byte("{}")), 2*(1+len(MIMEApp)+3) + 2, ErrRepeated},
		"two registries":       {metadata(t, MIMERegistry, []byte("{}"), MIMERegistry, []byte("{}")), 2*(1+len(MIMERegistry)+3) + 2, ErrRepeated},
		"two devices":          {metadata(t, MIMEBrokerFrame, twice), 0, ErrRepeated},
		"two devices, plain":   {metadata(t, MIMERouting, routing(t, RouteRegister, "device=a", "device=b")), 0, ErrRepeated},
		"no service":           {metadata(t, MIMEBrokerFrame, append(slices.Clone(frame[:22]), 0)), frameAt + 22, ErrEmpty},
		"a service that ends":  {metadata(t, MIMEBrokerFrame, frame[:25]), frameAt + 23, ErrTruncated},
		"a route id that ends": {metadata(t, MIMEBrokerFrame, frame[:12]), frameAt + 6, ErrTruncated},
		"app of no JSON":       {metadata(t, MIMEAuth, []byte("\x81a"), MIMEApp, []byte("{")), 6 + 1 + len(MIMEApp) + 3, ErrInvalid},
		"registry of no JSON":  {metadata(t, MIMERegistry, []byte(`{"published":[1]}`)), 1 + len(MIMERegistry) + 3, ErrInvalid},
		"user past the end":    {metadata(t, MIMEAuth, []byte("\x80\x00\x05ab")), 7, ErrTruncated},
		"empty credentials":    {metadata(t, MIMEAuth, []byte{}), 4, ErrTruncated},
		"unknown credentials":  {metadata(t, MIMEAuth, []byte{0x82, 'a'}), 4, ErrInvalid},
		"own scheme that ends": {metadata(t, MIMEAuth, []byte{0x05, 'a'}), 5, ErrTruncated},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := ParseSetup(c.md)
			e, ok := err.(*Error)
			if !ok {
				t.Fatalf("got %+v, %v", got, err)
			}
			if e.Offset != c.offset || !errors.Is(err, c.reason) {
				t.Errorf("got %v, want %v at byte %d", err, c.reason, c.offset)
			}
			if diff := cmp.Diff(Setup{}, got); diff != "" {
				t.Errorf("something was read all the same: %s", diff)
			}
		})
	}
}

func TestSetupRefuses(t *testing.T) {
	id := NewUUID().String()
	long := strings.Repeat("a", 256)
	for name, s := range map[string]Setup{
		"no id":                {Service: "perch"},
		"no service":           {ID: id},
		"a long service":       {ID: id, Service: long},
		"an empty value":       {ID: id, Service: "perch", Tags: []Tag{{"room", ""}}},
		"an empty key":         {ID: id, Service: "perch", Tags: []Tag{{"", "hall"}}},
		"a long value":         {ID: id, Service: "perch", Tags: []Tag{{"room", long[:128]}}},
		"a long key":           {ID: id, Service: "perch", Tags: []Tag{{long[:128], "hall"}}},
		"alibaba, a short id":  {Dialect: Alibaba, ID: "short"},
		"alibaba, no service":  {Dialect: Alibaba, ID: id, Services: []string{""}},
		"plain, a key with =":  {Dialect: Plain, Tags: []Tag{{"a=b", "c"}}},
		"plain, a key service": {Dialect: Plain, Tags: []Tag{{"service", "c"}}},
		"plain, a long value":  {Dialect: Plain, Tags: []Tag{{"a", long}}},
		"a long user":          {Dialect: Plain, Auth: Auth{Scheme: AuthSimple, User: strings.Repeat("u", 0x10000)}},
		"a long scheme":        {Dialect: Plain, Auth: Auth{Scheme: long[:129]}},
		"a long advert":        {Dialect: Plain, Advert: make([]byte, maxEntry+1)},
		"no such dialect":      {Dialect: 7},
	} {
		if out, err := s.Append([]byte("kept")); err == nil || string(out) != "kept" {
			t.Errorf("%s: wrote %d bytes, %v", name, len(out), err)
		}
	}
}

// TestAlibabaText is written as Jackson writes it, which escapes nothing for HTML.
func TestAlibabaText(t *testing.T) {
	body, err := App{UUID: appUUID, Name: "<a&b>"}.Append(nil)
	if want := `{"uuid":"` + appUUID + `","name":"<a&b>"}`; err != nil || string(body) != want {
		t.Errorf("%s, %v", body, err)
	}
}

// TestSecretsStayOut of every way in which a Setup could come into a log.
func TestSecretsStayOut(t *testing.T) {
	var log strings.Builder
	s := Setup{Auth: Auth{Scheme: AuthSimple, User: "pi-42", Secret: "hunter2"}}
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", "auth", s.Auth, "setup", fmt.Sprintf("%+v", s))
	for _, text := range []string{log.String(), fmt.Sprint(s.Auth), fmt.Sprintf("%v %+v %#v %s", s, s, s, s.Auth)} {
		if strings.Contains(text, "hunter2") || !strings.Contains(text, "pi-42") {
			t.Error(text)
		}
	}
}

func TestDialectText(t *testing.T) {
	for _, d := range []Dialect{RSocketBroker, Alibaba, Plain} {
		text, _ := d.MarshalText()
		var got Dialect
		if err := got.UnmarshalText(text); err != nil || got != d {
			t.Errorf("%s reads as %v, %v", text, got, err)
		}
	}
	var d Dialect
	if err := d.UnmarshalText([]byte("mqtt")); err == nil || !strings.Contains(err.Error(), "rsocket-broker, alibaba, plain") {
		t.Errorf("mqtt: %v", err)
	}
}
