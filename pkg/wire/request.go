package wire

import (
	"bytes"
	"iter"
)

// Parameters of a request that are routing tags, `name=value`, because the broker acts on them and never looks into the data.
// Every other `key=value` is a condition on the target.
const (
	ParamWait  = "wait"  // how long to wait for a device that is away, such as 5s
	ParamShare = "share" // 1: one stream from the device for everyone who asks for the same
)

// Target is what the metadata of a request says: where it goes, and how it is to be answered. Its slices share the
// metadata's memory. Reading it does not allocate: a broker does this for each request.
type Target struct {
	Dialect Dialect // in which it was addressed
	Route   []byte  // the first routing tag, without what Alibaba puts around it; nil when there is none
	Device  []byte  // the device named; nil when the request leaves the choice to the broker
	Service []byte  // the service named in ADDRESS; nil when there is none
	Cast    Cast    // Unicast unless ADDRESS says otherwise
	Data    []byte  // body of the data type entry, for ParseMIMEType; nil when there is none
	Accept  []byte  // body of the accept entry, for MIMEs; nil when there is none

	address Tags   // of ADDRESS, checked
	query   []byte // what follows `?` in the first routing tag
	routing []byte // the routing tags after the first, checked
}

// ParseRequest reads the composite metadata of a request's first frame, in any dialect. Entries of other types are skipped; of
// several of one type the first counts, here and at the device alike. Metadata that names two devices is an error.
func ParseRequest(md []byte) (Target, error) {
	var t Target
	var address, routing, binaryRouting bool
	for e, err := range Entries(md) {
		if err != nil {
			return Target{}, err
		}
		r := reader{b: e.Body, at: e.Offset}
		switch {
		case e.Type.Is(MIMERouting) && !routing:
			routing = true
			t.setRouting(&r)
		case e.Type.Is(MIMEBrokerFrame) && !address:
			address = true
			a := r.address()
			t.address, t.Cast = a.Tags, a.Cast
		case e.Type.Is(MIMEBinaryRouting) && !binaryRouting:
			binaryRouting = true
			text := r.binaryRouting().Routing
			if !routing {
				t.setRoute(text)
			}
		case e.Type.Is(MIMEType) && t.Data == nil:
			t.Data = e.Body
		case e.Type.Is(MIMEAccept) && t.Accept == nil:
			t.Accept = e.Body
		}
		if r.err != nil {
			return Target{}, r.err
		}
	}
	return t, t.resolve(address)
}

// ParseRouting reads a request on a connection whose metadata type is MIMERouting: routing tags and nothing around them.
func ParseRouting(body []byte) (Target, error) {
	var t Target
	r := reader{b: body}
	if t.setRouting(&r); r.err != nil {
		return Target{}, r.err
	}
	return t, t.resolve(false)
}

// setRouting takes the body of a routing entry: the route now, the other tags for later, all of them checked.
func (t *Target) setRouting(r *reader) {
	if len(r.b) == 0 {
		return
	}
	t.setRoute(r.routingTag())
	t.routing = r.b
	for len(r.b) > 0 {
		r.routingTag()
	}
}

// setRoute takes a route as Alibaba writes it, `[group!]service.method[:version][?query]`. A plain route is one of these.
func (t *Target) setRoute(tag []byte) {
	route, query, _ := bytes.Cut(tag, []byte{'?'})
	if _, after, found := bytes.Cut(route, []byte{'!'}); found {
		route = after
	}
	route, _, _ = bytes.Cut(route, []byte{':'})
	t.Route, t.query = route, query
}

// resolve finds in all that was read the dialect, the service, and the device.
func (t *Target) resolve(address bool) error {
	t.Dialect = Plain
	if address {
		t.Dialect = RSocketBroker
	}
	t.Service = t.address.Get(KeyServiceName)
	for w := t.walk(); w.next(); {
		if w.endpoint && !address {
			t.Dialect = Alibaba
		}
		if string(w.key) != KeyDevice {
			continue
		}
		if t.Device != nil && !bytes.Equal(t.Device, w.value) {
			*t = Target{}
			return &Error{Part: "device", Err: ErrRepeated}
		}
		t.Device = w.value
	}
	return nil
}

// Conditions walks what the target has to have: the tags of ADDRESS, and every `key=value` and `e=key:value` of the routing
// tags that is not a parameter. A target that lacks one of them is not meant. Keys must not be written to.
func (t *Target) Conditions() iter.Seq2[[]byte, []byte] {
	return func(yield func(key, value []byte) bool) {
		for w := t.walk(); w.next(); {
			if !w.param && !yield(w.key, w.value) {
				return
			}
		}
	}
}

// Param returns a parameter's value, nil when it is not given.
func (t *Target) Param(name string) []byte {
	for w := t.walk(); w.next(); {
		if w.param && string(w.key) == name {
			return w.value
		}
	}
	return nil
}

// ByService makes the service in the route, what is before its last dot, a condition on the target.
func (t *Target) ByService() {
	dot := bytes.LastIndexByte(t.Route, '.')
	if dot < 0 {
		return
	}
	if tags, err := MakeTags(Tag{KeyServiceName, string(t.Route[:dot])}); err == nil {
		t.Dialect, t.address, t.Service = Alibaba, tags, t.Route[:dot]
	}
}

func (t *Target) walk() walk {
	return walk{address: reader{b: t.address}, query: t.query, routing: reader{b: t.routing}}
}

// walk goes over the tags of ADDRESS and over every `key=value` of the query and the routing tags, all of them checked before.
// What is not `key=value` means nothing here.
type walk struct {
	address reader
	query   []byte
	routing reader

	key, value []byte
	param      bool // a parameter, not a condition
	endpoint   bool // Alibaba's `e=`
}

func (w *walk) next() bool {
	if len(w.address.b) > 0 {
		w.key, w.value, _ = w.address.tag()
		return w.address.err == nil
	}
	for {
		var part []byte
		switch {
		case len(w.query) > 0:
			part, w.query, _ = bytes.Cut(w.query, []byte{'&'})
		case len(w.routing.b) > 0:
			part = w.routing.routingTag()
		default:
			return false
		}
		if key, value, ok := bytes.Cut(part, []byte{'='}); ok {
			w.pair(key, value)
			return true
		}
	}
}

func (w *walk) pair(key, value []byte) {
	w.param, w.endpoint = false, false
	switch string(key) {
	case ParamWait, ParamShare, "sticky", "m": // the last two are Alibaba's
		w.param = true
	case "e":
		w.endpoint = true
		if k, v, ok := bytes.Cut(value, []byte{':'}); ok {
			key, value = k, v
		}
	}
	w.key, w.value = key, value
}

// Request is what a requester puts into the metadata of a request.
type Request struct {
	Route   string
	Service string // rsocket-broker's ADDRESS only: the other dialects have the service in the route
	Device  string // "" leaves the choice to the broker
	Tags    []Tag  // further conditions on the target
	Params  []Tag  // ParamWait, ParamShare
	Cast    Cast   // rsocket-broker only
	Origin  UUID   // rsocket-broker only: the requester's own route id
	Data    string // type of the request's data, "" for the connection's
	Accept  []string
}

// Append appends the metadata in a dialect. A request with neither service nor conditions is for the broker itself.
func (q Request) Append(dst []byte, d Dialect) ([]byte, error) {
	out, err := q.append(dst, d)
	if err != nil {
		return dst, err
	}
	return out, nil
}

func (q Request) append(dst []byte, d Dialect) (out []byte, err error) {
	out = dst
	tags := q.Tags
	if q.Device != "" {
		tags = append([]Tag{{KeyDevice, q.Device}}, tags...)
	}
	routing := []string{q.Route}
	switch d {
	case RSocketBroker:
		if q.Service != "" {
			tags = append([]Tag{{KeyServiceName, q.Service}}, tags...)
		}
		if out, err = q.appendAddress(out, tags); err != nil {
			return nil, err
		}
	case Alibaba:
		for _, tag := range tags {
			routing = append(routing, "e="+tag.Key+":"+tag.Value)
		}
	case Plain:
		for _, tag := range tags {
			routing = append(routing, tag.Key+"="+tag.Value)
		}
	default:
		return nil, cannot(d.String(), ErrInvalid)
	}
	for _, p := range q.Params {
		routing = append(routing, p.Key+"="+p.Value)
	}

	body, err := AppendRouting(nil, routing...)
	if err != nil {
		return nil, err
	}
	if out, err = AppendEntryID(out, IDRouting, body); err != nil {
		return nil, err
	}
	if q.Data != "" {
		if out, err = appendTypes(out, IDMIMEType, q.Data); err != nil {
			return nil, err
		}
	}
	if len(q.Accept) > 0 {
		if out, err = appendTypes(out, IDAccept, q.Accept...); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func (q Request) appendAddress(dst []byte, tags []Tag) ([]byte, error) {
	if len(tags) == 0 {
		return dst, nil
	}
	encoded, err := MakeTags(tags...)
	if err != nil {
		return nil, err
	}
	frame, err := Address{Cast: q.Cast, Origin: q.Origin, Tags: encoded}.Append(nil)
	if err != nil {
		return nil, err
	}
	return AppendEntry(dst, MIMEBrokerFrame, frame)
}

func appendTypes(dst []byte, id ID, names ...string) ([]byte, error) {
	body, err := AppendMIMEs(nil, names...)
	if err != nil {
		return nil, err
	}
	return AppendEntryID(dst, id, body)
}
