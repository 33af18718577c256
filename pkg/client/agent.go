package client

import (
	"context"
	"iter"
	"time"

	"github.com/perchcam/perch/pkg/api"
)

// Info returns what the device's agent says of itself.
func (c *Client) Info(ctx context.Context, device string) (api.Info, error) {
	return answer[api.Info](ctx, c, question{route: api.RouteInfo, device: device, what: "the device's info", data: api.NoOptions{}})
}

// Cameras returns the device's cameras, with what they can do.
func (c *Client) Cameras(ctx context.Context, device string) ([]api.Camera, error) {
	l, err := answer[api.CameraList](ctx, c, question{route: api.RouteCameras, device: device, what: "the list of cameras", data: api.NoOptions{}})
	return l.Cameras, err
}

// Health returns how the things do that have to go on in the device's agent.
func (c *Client) Health(ctx context.Context, device string) (api.Health, error) {
	return answer[api.Health](ctx, c, question{route: api.RouteHealth, device: device, what: "the device's health", data: api.NoOptions{}})
}

// Metrics returns the agent's counters as the text that Prometheus reads.
func (c *Client) Metrics(ctx context.Context, device string) (string, error) {
	p, _, err := c.ask(ctx, question{route: api.RouteMetrics, device: device, what: "the metrics", data: api.NoOptions{}})
	return string(p.Data), err
}

// LogsOptions say which log lines are wanted.
type LogsOptions struct {
	Lines  int    // of the past, at most; 0 leaves it to the device
	Level  string // debug, info, warn or error; "" is info
	Follow bool   // goes on with new ones
}

// Logs tells what the device's agent has logged. After an interruption lines may be missing.
func (c *Client) Logs(ctx context.Context, device string, o LogsOptions) iter.Seq2[api.LogLine, error] {
	return func(yield func(api.LogLine, error) bool) {
		r := api.LogsRequest{Lines: o.Lines, Level: o.Level, Follow: o.Follow}
		var newest time.Time
		asked := 0
		ask := func() question {
			asked++
			return question{route: api.RouteLogs, device: device, what: "the log", data: r}
		}
		for v, err := range jsonStream(ctx, c, ask, func(api.LogLine) {}, nil) {
			if err == nil && asked > 1 && !v.At.After(newest) {
				continue // told before the interruption
			}
			newest = v.At
			if !yield(v, err) {
				return
			}
		}
	}
}

// RoundTrip measures how long the device takes to answer a request that asks for nothing else.
func (c *Client) RoundTrip(ctx context.Context, device string) (time.Duration, error) {
	q := question{route: api.RouteClock, device: device, what: "the round trip", data: api.NoOptions{}}
	n, err := c.connect(ctx)
	if err != nil {
		return 0, err
	}
	req, err := q.payload(n)
	if err != nil {
		return 0, err
	}
	sent := time.Now()
	_, err = n.requester().RequestResponse(ctx, req)
	took := time.Since(sent)
	if err != nil {
		return 0, c.fault(ctx, q, err)
	}
	return took, nil
}
