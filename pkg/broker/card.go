package broker

import (
	"fmt"
	"slices"

	"github.com/rsocket/rsocket-go/core"

	"github.com/perchcam/perch/pkg/api"
	"github.com/perchcam/perch/pkg/session"
	"github.com/perchcam/perch/pkg/wire"
)

// card is who a session said it is in SETUP. It does not change.
type card struct {
	device   string   // its name; "": not a device, and never routable
	id       string   // stable over connections, where the device gives one
	route    string   // of this connection only: route id, or Alibaba's uuid
	services []string // under which it is found
	tags     []wire.Tag
	auth     wire.Auth
}

// title is how a session is called in texts that others read.
func (c *card) title() string {
	if c.device == "" {
		return "the other side"
	}
	return fmt.Sprintf("device %q", c.device)
}

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
	c := card{route: said.ID, tags: said.Tags, auth: said.Auth}
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
	for _, service := range append([]string{api.Service, said.Service}, said.Services...) {
		if service != "" && !slices.Contains(c.services, service) {
			c.services = append(c.services, service)
		}
	}
	return c, advert, nil
}

// has reports whether the device meets one condition of an address.
func (c *card) has(key, value []byte) bool {
	switch string(key) {
	case wire.KeyDevice:
		return string(value) == c.device
	case wire.KeyServiceName, "service":
		return slices.Contains(c.services, string(value))
	case wire.KeyRouteID, "id", "uuid":
		return string(value) == c.route || len(value) == len(c.route)+4 && string(value) == "Id{"+c.route+"}" // as Java prints one
	case keyLBMethod:
		return true // how to choose, not from what
	}
	for _, tag := range c.tags {
		if tag.Key == string(key) {
			return tag.Value == string(value)
		}
	}
	return string(key) == wire.KeyInstanceName && string(value) == c.device
}

const keyLBMethod = "io.rsocket.broker.LBMethod"

// meets reports whether the device meets every condition of an address.
func (c *card) meets(t *wire.Target) bool {
	for key, value := range t.Conditions() {
		if !c.has(key, value) {
			return false
		}
	}
	return true
}
