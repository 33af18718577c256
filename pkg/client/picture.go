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
	Age  Age // when it arrived here

	// Gap is set on the first picture of a stream after an interruption.
	Gap *Gap
}

// Gap is what a stream did not deliver because it was interrupted. Pictures skipped at the viewer's pace are not
// among them: FrameHeader.Skipped counts those.
type Gap struct {
	Missing   uint64 // pictures between the last one and this, as far as that can be counted
	Restarted bool   // the device has started to count anew: before its restart more may be missing
	Err       error  // why
}

// picture makes a Picture of an answer that arrived at our time own.
func (c *Client) picture(p peer.Payload, k *clock, own int64) (Picture, error) {
	h, err := api.HeaderOf(p.Metadata)
	if err != nil {
		return Picture{}, &Error{Kind: ErrAnswer, Text: "the picture cannot be read: " + api.Text(err.Error()), Err: err, Device: k.device}
	}
	if len(p.Data) == 0 {
		return Picture{}, &Error{Kind: ErrAnswer, Text: "the picture is empty", Device: k.device}
	}
	return Picture{FrameHeader: h, Data: p.Data, Age: k.age(own, h)}, nil
}

// SnapshotOptions say which picture is wanted. Zero values leave it to the device.
type SnapshotOptions struct {
	Camera        string        // "" is the first
	Width, Height int           // pixels, clamped to what the camera has
	Quality       int           // of the JPEG, 1 to 100
	MaxAge        time.Duration // takes a picture that is no older when it arrives here; 0 takes one newer than the request
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
		err = &Error{Kind: ErrAnswer, Device: device, Text: fmt.Sprintf("a new picture was %s old when it arrived, more than %s", pic.Age, o.MaxAge)}
	}
	return pic, err
}

// older reports whether it is certain that limit, if there is one, is not kept.
func (a Age) older(limit time.Duration) bool {
	return limit > 0 && a.Known && a.Age-a.Error > limit
}

func (c *Client) snapshot(ctx context.Context, device string, o SnapshotOptions) (Picture, error) {
	k := c.clock(device)
	if n, err := c.connect(ctx); err != nil {
		return Picture{}, err
	} else if api.CheckName("device", device) == nil {
		k.keep(n) // meanwhile
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
	own := c.now()
	select {
	case <-k.keep(n):
	case <-ctx.Done(): // we have the picture, if not its age
	}
	return c.picture(p, k, own)
}
