package client

import (
	"context"
	"iter"
	"time"

	"github.com/perchcam/perch/pkg/api"
)

// Readings returns what each sensor says now. names "" are all.
func (c *Client) Readings(ctx context.Context, device string, names ...string) ([]api.Reading, error) {
	r, err := answer[api.Readings](ctx, c, question{
		route: api.RouteRead, device: device, what: "the sensors", data: api.SensorsRequest{Sensors: names},
	})
	return r.Readings, err
}

// SensorsOptions say which readings are wanted.
type SensorsOptions struct {
	Names  []string      // none is all
	Latest bool          // only the last state of each sensor, for a reader that has no time for every change
	Wait   time.Duration // for a device that is away; 0 leaves it to the broker
}

// Sensors tells how each sensor is, then what happens. After an interruption it goes on behind the last reading;
// what the device does not have any more is a reading of type api.ReadingGap.
func (c *Client) Sensors(ctx context.Context, device string, o SensorsOptions) iter.Seq2[api.Reading, error] {
	return func(yield func(api.Reading, error) bool) {
		r := api.SensorsRequest{Sensors: o.Names}
		if o.Latest {
			r.Mode = api.ModeLatest
		}
		ask := func() question {
			return question{route: api.RouteWatch, device: device, wait: o.Wait, what: "the sensors", data: r}
		}
		seen := func(v api.Reading) {
			if v.Seq > 0 && v.Boot != "" {
				r.After = &api.Position{Boot: v.Boot, Seq: v.Seq}
			}
		}
		jsonStream(ctx, c, ask, seen, nil)(yield)
	}
}

// Set switches an output. span is for how long, 0 as long as the device lets it. It is never asked for twice: after
// an error that is not ErrRejected or ErrInvalid, whether the output was switched is not known.
func (c *Client) Set(ctx context.Context, device, output string, on bool, span time.Duration) (api.OutputState, error) {
	return answer[api.OutputState](ctx, c, question{
		route: api.RouteSet, device: device, what: "the output", once: true,
		data: api.SetRequest{Output: output, On: &on, For: api.Duration(span)},
	})
}
