package broker

import (
	"bytes"
	"fmt"
	"slices"

	"github.com/rsocket/rsocket-go/core"

	"github.com/perchcam/perch/pkg/api"
	"github.com/perchcam/perch/pkg/session"
	"github.com/perchcam/perch/pkg/wire"
)

// card is who a session said it is in SETUP. It does not change.
type card struct {
	device string     // its name; "": not a device, and never routable
	id     string     // stable over connections, where the device gives one
	route  string     // of this connection only: route id, or Alibaba's uuid
	tags   []wire.Tag // as it gave them
	terms  []wire.Tag // what an address may ask of it
	auth   wire.Auth

	byService bool // it speaks as Alibaba's clients do, whose routes name a service
}

// title is how a session is called in texts that others read.
func (c *card) title() string {
	if c.device == "" {
		return "the other side"
	}
	return fmt.Sprintf("device %q", c.device)
}

// maxTags is how many tags and services a session may register with. Each is compared with the others before anybody has shown
// credentials, and later with each condition of a request.
const maxTags = 512

// readCard takes what SETUP says. Anyone may connect as a laptop; a device is who has an advert, or registers
// with a name: in the native dialect for the service "perch", in the others for anything.
func readCard(s *session.Setup) (card, *api.Advert, error) {
	if metadataOf(s.MetadataMIME) != composite {
		return card{}, nil, nil
	}
	said, err := wire.ParseSetup(s.Metadata)
	if err != nil {
		return card{}, nil, session.Errorf(core.ErrorCodeInvalidSetup, "%v", err)
	}
	if n := len(said.Tags) + len(said.Services); n > maxTags {
		return card{}, nil, session.Errorf(core.ErrorCodeInvalidSetup, "there are %d tags and services, %d are allowed", n, maxTags)
	}
	c := card{route: said.ID, tags: said.Tags, auth: said.Auth, byService: said.Dialect == wire.Alibaba}
	name := said.Device()
	if name == "" {
		name = said.Tag(wire.KeyInstanceName)
	}
	var advert *api.Advert
	switch {
	case said.Advert != nil:
		a, err := api.ParseAdvert(said.Advert)
		if err == nil && name != "" && name != a.Device {
			err = fmt.Errorf("the advert is of device %q, the connection of %q", a.Device, name)
		}
		if err != nil {
			return card{}, nil, session.Errorf(core.ErrorCodeInvalidSetup, "%v", err)
		}
		advert, name, c.id = &a, a.Device, a.ID
	case said.Dialect == wire.RSocketBroker && said.Service != api.Service,
		said.Dialect == wire.Alibaba && len(said.Services) == 0,
		name == "":
		return c, nil, nil
	}
	if err := api.CheckName("device", name); err != nil {
		return card{}, nil, session.Errorf(core.ErrorCodeRejectedSetup, "%v", err)
	}
	c.device = name
	c.setTerms(append([]string{api.Service, said.Service}, said.Services...)...)
	return c, advert, nil
}

// setTerms collects what an address may ask of the device. What only the broker may say of it is not taken
// from its tags.
func (c *card) setTerms(services ...string) {
	c.terms = []wire.Tag{{Key: wire.KeyDevice, Value: c.device}}
	if c.route != "" {
		c.terms = append(c.terms, wire.Tag{Key: wire.KeyRouteID, Value: c.route})
	}
	for _, service := range services {
		term := wire.Tag{Key: wire.KeyServiceName, Value: service}
		if service != "" && !slices.Contains(c.terms, term) {
			c.terms = append(c.terms, term)
		}
	}
	instance := false
	for _, tag := range c.tags {
		switch tag.Key {
		case wire.KeyDevice, wire.KeyRouteID, wire.KeyServiceName:
			continue
		case wire.KeyInstanceName:
			instance = true
		}
		c.terms = append(c.terms, tag)
	}
	if !instance {
		c.terms = append(c.terms, wire.Tag{Key: wire.KeyInstanceName, Value: c.device})
	}
	c.terms = slices.Clone(c.terms) // without room for more, of which there are as many as devices
}

const keyLBMethod = "io.rsocket.broker.LBMethod"

var (
	keyServiceName = []byte(wire.KeyServiceName)
	keyRouteID     = []byte(wire.KeyRouteID)
)

// term returns a condition of an address as terms have it; false: it says how to choose, not from what. It copies
// neither key nor value.
func term(k, v []byte) (key, value []byte, ok bool) {
	switch string(k) {
	case keyLBMethod:
		return nil, nil, false
	case "service":
		return keyServiceName, v, true
	case "id", "uuid":
		return keyRouteID, v, true
	case wire.KeyRouteID:
		if id, found := bytes.CutPrefix(v, []byte("Id{")); found { // as Java prints one
			v = bytes.TrimSuffix(id, []byte("}"))
		}
	}
	return k, v, true
}

// meets reports whether the device meets every condition of an address.
func (c *card) meets(t *wire.Target) bool {
	for k, v := range t.Conditions() {
		if key, value, ok := term(k, v); ok && !c.has(key, value) {
			return false
		}
	}
	return true
}

func (c *card) has(key, value []byte) bool {
	for i := range c.terms {
		if c.terms[i].Key == string(key) && c.terms[i].Value == string(value) {
			return true
		}
	}
	return false
}
