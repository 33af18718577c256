package client

import (
	"context"
	"fmt"
	"time"

	"github.com/perchcam/perch/pkg/api"
	"github.com/perchcam/perch/pkg/peer"
)

// Picture is an image of a device's camera and what is known of it.
type Picture struct {
	api.FrameHeader
	Data []byte
	Age  Age // when it was handed over

	// Gap is set on the first picture of a stream after an interruption.
	Gap *Gap
}

// Gap is what a stream did not deliver because it was interrupted.
type Gap struct {
	Missing   uint64 // pictures that were due between the last one and this; FrameHeader.Skipped may count them, too
	Restarted bool   // the device counts anew: Missing is not known, and 0
	Err       error  // why
}

// picture makes a Picture of an answer. wait: until its age is known.
func (c *Client) picture(ctx context.Context, n *conn, device string, p peer.Payload, wait bool) (Picture, error) {
	h, err := api.HeaderOf(p.Metadata)
	if err != nil {
		return Picture{}, &Error{Kind: ErrAnswer, Text: "the picture cannot be read: " + api.Text(err.Error()), Err: err, Device: device}
	}
	if len(p.Data) == 0 {
		return Picture{}, &Error{Kind: ErrAnswer, Text: "the picture is empty", Device: device}
	}
	k := c.clock(device)
	ready := k.keep(n, h.Boot)
	if wait {
		limit := time.NewTimer(ageLimit)
		defer limit.Stop()
		select {
		case <-ready:
		case <-limit.C:
		case <-ctx.Done(): // we have the picture, if not its age
		}
	}
	return Picture{FrameHeader: h, Data: p.Data, Age: k.age(h)}, nil
}

// ageLimit is how long a picture waits for its age. The first round trip begins with the request of the picture, or
// with the picture at the latest.
const ageLimit = 500 * time.Millisecond

// SnapshotOptions say which picture is wanted. Zero values leave it to the device.
type SnapshotOptions struct {
	Camera        string        // "" is the first
	Width, Height int           // pixels, clamped to what the camera has
	Quality       int           // of the JPEG, 1 to 100
	MaxAge        time.Duration // takes a picture that is no older when it is handed over; 0 takes one newer than the request
	Settled       bool          // waits until exposure and colour have settled
	Wait          time.Duration // for a device that is away; 0 leaves it to the broker
}

// Snapshot returns one picture. Where MaxAge cannot be kept, because the way from the device takes too long,
// it is an ErrAnswer that says so.
func (c *Client) Snapshot(ctx context.Context, device string, o SnapshotOptions) (Picture, error) {
	pic, err := c.snapshot(ctx, device, o)
	if err != nil || !pic.Age.older(o.MaxAge) {
		return pic, err
	}
	fresh := o
	fresh.MaxAge = 0
	pic, err = c.snapshot(ctx, device, fresh)
	if err == nil && pic.Age.older(o.MaxAge) {
		err = &Error{Kind: ErrAnswer, Device: device, Text: fmt.Sprintf("a new picture was %s old when it was here, more than %s", pic.Age, o.MaxAge)}
	}
	return pic, err
}

// older reports whether it is certain that limit, if there is one, is not kept.
func (a Age) older(limit time.Duration) bool {
	return limit > 0 && a.Known && a.Age-a.Error > limit
}

func (c *Client) snapshot(ctx context.Context, device string, o SnapshotOptions) (Picture, error) {
	if n, err := c.connect(ctx); err != nil {
		return Picture{}, err
	} else if api.CheckName("device", device) == nil {
		c.clock(device).keep(n, "") // meanwhile
	}
	p, n, err := c.ask(ctx, question{
		route: api.RouteSnapshot, device: device, wait: o.Wait, what: "the snapshot",
		data: api.SnapshotRequest{
			Camera: o.Camera, Width: o.Width, Height: o.Height, Quality: o.Quality, MaxAge: api.Duration(o.MaxAge), Settled: o.Settled,
		},
	})
	if err != nil {
		return Picture{}, err
	}
	return c.picture(ctx, n, device, p, true)
}
