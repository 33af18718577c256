package client

import (
	"context"
	"iter"
	"time"

	"github.com/perchcam/perch/pkg/api"
	"github.com/perchcam/perch/pkg/peer"
)

// StreamOptions say which pictures are wanted. Zero values leave it to the device.
type StreamOptions struct {
	Camera        string  // "" is the first
	FPS           float64 // pictures per second, at most; 0 is the camera's own
	Width, Height int     // pixels, clamped to what the camera has
	Quality       int     // of the JPEG, 1 to 100
	Format        string  // api.FormatJPEG (the default) or api.FormatH264

	// KeepAll has the device keep pictures that there is no room for, up to its own limit, instead of skipping
	// to the newest. FrameHeader.Lost counts what it could not keep.
	KeepAll bool
	Share   bool          // one stream from the device for every viewer who asks for the same
	Count   uint32        // pictures, in all; 0 is without end
	Wait    time.Duration // for a device that is away; 0 leaves it to the broker
}

const (
	newestWindow = 2 // pictures under way: one more than the one being looked at, so that the link is not idle
	allWindow    = 16
)

// Stream asks for pictures each time it is ranged over. The device sends them at the pace of the loop: whoever
// takes his time gets fewer, not older ones. The last element has the error that ended the stream, if one did.
func (c *Client) Stream(ctx context.Context, device string, o StreamOptions) iter.Seq2[Picture, error] {
	return func(yield func(Picture, error) bool) {
		s := &stream{c: c, device: device, ctx: ctx, o: o, yield: yield}
		window := uint32(newestWindow)
		if o.KeepAll {
			window = allWindow
		}
		if err := c.follow(ctx, follow{window: window, ask: s.ask, take: s.take}); err != nil {
			yield(Picture{}, err)
		}
	}
}

// stream is one loop over a Stream.
type stream struct {
	ctx    context.Context
	c      *Client
	device string
	o      StreamOptions
	yield  func(Picture, error) bool

	taken uint32
	last  api.FrameHeader // of the newest picture; none while taken is 0
}

func (s *stream) ask() (question, uint32) {
	o := s.o
	r := api.StreamRequest{
		Camera: o.Camera, FPS: o.FPS, Quality: o.Quality, Width: o.Width, Height: o.Height, Format: o.Format, Share: o.Share,
	}
	if o.KeepAll {
		r.Keep = api.KeepAll
	}
	if s.taken > 0 && !o.Share {
		r.From = &api.Position{Boot: s.last.Boot, Seq: s.last.Seq + 1}
	}
	limit := o.Count
	if limit > 0 {
		limit -= s.taken
	}
	return question{route: api.RouteStream, device: s.device, wait: o.Wait, share: o.Share, what: "the stream", data: r}, limit
}

func (s *stream) take(n *conn, p peer.Payload, cut error) (bool, error) {
	pic, err := s.c.picture(s.ctx, n, s.device, p, s.taken == 0 || cut != nil)
	if err != nil {
		return true, err
	}
	if cut != nil {
		pic.Gap = gap(s.last, pic.FrameHeader, cut)
	}
	s.taken++
	s.last = pic.FrameHeader
	return s.yield(pic, nil) && s.taken != s.o.Count, nil
}

// gap says what is missing between two pictures.
func gap(last, next api.FrameHeader, why error) *Gap {
	g := &Gap{Err: why, Restarted: last.Boot != next.Boot}
	if from := last.Seq + 1; !g.Restarted && next.Seq > from {
		g.Missing = next.Seq - from
	}
	return g
}
