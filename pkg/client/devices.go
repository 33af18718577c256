package client

import (
	"context"
	"iter"

	"github.com/perchcam/perch/pkg/api"
)

// Devices returns the devices that the broker knows, by name.
func (c *Client) Devices(ctx context.Context) ([]api.Device, error) { return c.list(ctx, "") }

func (c *Client) list(ctx context.Context, device string) ([]api.Device, error) {
	d, err := answer[api.Devices](ctx, c, question{
		route: api.RouteDevices, what: "the list of devices", data: api.DevicesRequest{Device: device},
	})
	return d.Devices, err
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
