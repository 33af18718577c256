package client

import (
	"context"
	"iter"

	"github.com/perchcam/perch/pkg/api"
)

// Devices returns the devices that the broker knows, by name.
func (c *Client) Devices(ctx context.Context) ([]api.Device, error) {
	d, err := c.Registry(ctx, "")
	return d.Devices, err
}

// Registry returns the same with the broker's time, from which the times of its devices count. device "" is all.
func (c *Client) Registry(ctx context.Context, device string) (api.Devices, error) {
	return c.Find(ctx, api.DevicesRequest{Device: device})
}

const maxPages = 1000 // of a list: more is not what a broker has

// Find returns the devices that q asks for. Many of them come in several answers, so that the list is that of no one moment.
func (c *Client) Find(ctx context.Context, q api.DevicesRequest) (all api.Devices, err error) {
	for range maxPages {
		p, err := answer[api.Devices](ctx, c, question{route: api.RouteDevices, what: "the list of devices", data: q})
		if err != nil {
			return all, err
		}
		all.Devices, all.At = append(all.Devices, p.Devices...), p.At
		if p.Next == "" {
			return all, nil
		}
		if p.Next <= q.After {
			break
		}
		q.After = p.Next
	}
	return all, &Error{Kind: ErrAnswer, Text: "the list of devices: it does not come to an end"}
}

// Watch tells of each device as it is, then of what changes. device "" is all. After an interruption it says
// api.EventGap, which may miss anything, and then tells of each device anew.
func (c *Client) Watch(ctx context.Context, device string) iter.Seq2[api.DeviceEvent, error] {
	q := question{route: api.RouteDevicesWatch, what: "the watch", data: api.DevicesRequest{Device: device}}
	return jsonStream(ctx, c, func() question { return q }, func(api.DeviceEvent) {},
		func() api.DeviceEvent { return api.DeviceEvent{Type: api.EventGap} })
}

// Broker returns what the broker says of itself.
func (c *Client) Broker(ctx context.Context) (api.BrokerInfo, error) {
	return answer[api.BrokerInfo](ctx, c, question{route: api.RouteBrokerInfo, what: "the broker's info", data: api.NoOptions{}})
}
