package wire

import (
	"errors"
	"slices"
	"strings"
)

// RouteRegister is the route with which a device registers in the plain dialect.
const RouteRegister = "agent.register"

// Setup is what one side says of itself in the metadata of SETUP.
type Setup struct {
	Dialect  Dialect // in which it was said
	ID       string  // of this connection, new for each SETUP: see NewUUID; the plain dialect has none
	Service  string  // what the connection offers, or "laptop"; "" when it registers nothing
	Services []string
	Tags     []Tag // who offers it; no key twice
	Auth     Auth
	Advert   []byte // what the device offers in detail, JSON
	IP       string // Alibaba only
	Machine  string // Alibaba only: the kind of machine
	SDK      string // Alibaba only
}

// Tag returns the value of a tag, "" when there is none.
func (s Setup) Tag(key string) string {
	for _, tag := range s.Tags {
		if tag.Key == key {
			return tag.Value
		}
	}
	return ""
}

// Device returns the name of the device that registers, "" when none does.
func (s Setup) Device() string { return s.Tag(KeyDevice) }

// ParseSetup reads the composite metadata of a SETUP in any dialect, as a copy. Entries of other types are skipped. An entry
// that says who connects and is there twice is an error, and so is a tag: two readers could take different ones.
func ParseSetup(md []byte) (Setup, error) {
	var p setupParser
	for e, err := range Entries(md) {
		if err == nil {
			err = p.entry(e)
		}
		if err != nil {
			return Setup{}, err
		}
	}
	return p.setup()
}

type setupParser struct {
	frame    *RouteSetup
	app      *App
	registry *Registry
	auth     *Auth
	register []Tag
	routing  bool
	advert   []byte
}

func (p *setupParser) entry(e Entry) error {
	r := reader{b: e.Body, at: e.Offset}
	twice := false
	switch {
	case e.Type.Is(MIMEBrokerFrame):
		twice = p.frame != nil
		p.frame = new(r.routeSetup())
	case e.Type.Is(MIMEApp):
		twice = p.app != nil
		a, err := ParseApp(e.Body)
		if err != nil {
			return atOffset(err, e.Offset)
		}
		p.app = &a
	case e.Type.Is(MIMERegistry):
		twice = p.registry != nil
		g, err := ParseRegistry(e.Body)
		if err != nil {
			return atOffset(err, e.Offset)
		}
		p.registry = &g
	case e.Type.Is(MIMEAuth):
		twice = p.auth != nil
		p.auth = new(r.auth())
	case e.Type.Is(MIMEAdvert):
		twice = p.advert != nil
		p.advert = append([]byte{}, e.Body...)
	case e.Type.Is(MIMERouting):
		twice = p.routing
		p.routing = true
		p.register = r.registration()
	}
	if twice {
		return &Error{Part: "entry " + e.Type.String(), Offset: e.Offset, Err: ErrRepeated}
	}
	return r.err
}

// registration reads the routing entry of the plain dialect. Another route than RouteRegister registers nothing.
func (r *reader) registration() (tags []Tag) {
	register := string(r.routingTag()) == RouteRegister
	for len(r.b) > 0 {
		key, value, ok := strings.Cut(string(r.routingTag()), "=")
		if ok && register {
			tags = append(tags, Tag{key, value})
		}
	}
	return tags
}

func (p *setupParser) setup() (Setup, error) {
	s := Setup{Dialect: Plain, Advert: p.advert}
	if p.auth != nil {
		s.Auth = *p.auth
	}
	switch {
	case p.frame != nil:
		s.Dialect = RSocketBroker
		s.ID, s.Service, s.Tags = p.frame.RouteID.String(), p.frame.Service, p.frame.Tags.Copy()
	case p.app != nil:
		s.Dialect = Alibaba
		s.ID, s.Service, s.IP, s.Machine, s.SDK = p.app.UUID, p.app.Name, p.app.IP, p.app.Device, p.app.SDK
		for key, value := range p.app.Metadata {
			s.Tags = append(s.Tags, Tag{key, value})
		}
		slices.SortFunc(s.Tags, func(a, b Tag) int { return strings.Compare(a.Key, b.Key) })
		if p.registry != nil {
			for _, published := range p.registry.Published {
				s.Services = append(s.Services, published.Service)
			}
		}
	default:
		for _, tag := range p.register {
			if tag.Key == keyService {
				s.Service = tag.Value
			} else {
				s.Tags = append(s.Tags, tag)
			}
		}
	}
	seen := make(map[string]bool, len(s.Tags))
	for _, tag := range s.Tags {
		if seen[tag.Key] {
			return Setup{}, &Error{Part: "tag " + tag.Key, Err: ErrRepeated}
		}
		seen[tag.Key] = true
	}
	return s, nil
}

// keyService is the service's key in the plain dialect.
const keyService = "service"

// atOffset moves an error of a body to where the body is.
func atOffset(err error, offset int) error {
	if e, ok := errors.AsType[*Error](err); ok {
		e.Offset += offset
	}
	return err
}

// Append appends the metadata in s.Dialect. A requester in the plain dialect leaves Tags empty and sends credentials only.
func (s Setup) Append(dst []byte) ([]byte, error) {
	out, err := s.appendIdentity(dst)
	if err != nil {
		return dst, err
	}
	if s.Auth.Scheme != "" {
		body, err := s.Auth.Append(nil)
		if err != nil {
			return dst, err
		}
		if out, err = AppendEntryID(out, IDAuth, body); err != nil {
			return dst, err
		}
	}
	if s.Advert != nil {
		if out, err = AppendEntry(out, MIMEAdvert, s.Advert); err != nil {
			return dst, err
		}
	}
	return out, nil
}

func (s Setup) appendIdentity(dst []byte) ([]byte, error) {
	switch s.Dialect {
	case RSocketBroker:
		return s.appendRouteSetup(dst)
	case Alibaba:
		return s.appendApp(dst)
	case Plain:
		return s.appendRegister(dst)
	}
	return nil, cannot(s.Dialect.String(), ErrInvalid)
}

func (s Setup) appendRouteSetup(dst []byte) ([]byte, error) {
	id, err := ParseUUID(s.ID)
	if err != nil {
		return nil, cannot("route id", err)
	}
	tags, err := MakeTags(s.Tags...)
	if err != nil {
		return nil, err
	}
	frame, err := RouteSetup{RouteID: id, Service: s.Service, Tags: tags}.Append(nil)
	if err != nil {
		return nil, err
	}
	return AppendEntry(dst, MIMEBrokerFrame, frame)
}

func (s Setup) appendApp(dst []byte) ([]byte, error) {
	app := App{UUID: s.ID, Name: s.Service, IP: s.IP, Device: s.Machine, Topology: "internet", SDK: s.SDK}
	if len(s.Tags) > 0 {
		app.Metadata = make(map[string]string, len(s.Tags))
	}
	for _, tag := range s.Tags {
		app.Metadata[tag.Key] = tag.Value
	}
	body, err := app.Append(nil)
	if err != nil {
		return nil, err
	}
	out, err := AppendEntry(dst, MIMEApp, body)
	if err != nil || len(s.Services) == 0 {
		return out, err
	}
	var registry Registry
	for _, name := range s.Services {
		registry.Published = append(registry.Published, Published{Service: name, GSV: name})
	}
	if body, err = registry.Append(nil); err != nil {
		return nil, err
	}
	return AppendEntry(out, MIMERegistry, body)
}

func (s Setup) appendRegister(dst []byte) ([]byte, error) {
	if len(s.Tags) == 0 {
		return dst, nil
	}
	routing := []string{RouteRegister}
	if s.Service != "" {
		routing = append(routing, keyService+"="+s.Service)
	}
	for _, tag := range s.Tags {
		if tag.Key == keyService || strings.Contains(tag.Key, "=") {
			return nil, cannot("tag "+tag.Key, ErrInvalid)
		}
		routing = append(routing, tag.Key+"="+tag.Value)
	}
	body, err := AppendRouting(nil, routing...)
	if err != nil {
		return nil, err
	}
	return AppendEntryID(dst, IDRouting, body)
}
