package client

import (
	"context"
	"iter"
	"math"
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
	newestWindow = 2 // pictures under way for a loop that is quick: one more than the one being looked at, so that the link is not idle
	allWindow    = 16
)

// Stream asks for pictures each time it is ranged over. The device sends them at the pace of the loop: whoever
// takes his time gets fewer, not older ones. The last element has the error that ended the stream, if one did.
func (c *Client) Stream(ctx context.Context, device string, o StreamOptions) iter.Seq2[Picture, error] {
	return func(yield func(Picture, error) bool) {
		s := &stream{c: c, device: device, ctx: ctx, o: o, yield: yield}
		f := follow{window: allWindow, ask: s.ask, take: s.take}
		if !o.KeepAll {
			f.pace = s.pace
		}
		if err := c.follow(ctx, f); err != nil {
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

	// Of a stream of the newest pictures. A loop that takes longer than the camera for a picture would find the next one old if
	// it had been asked for before.
	quick  bool          // the loop was done with the last picture in time for the next
	window uint32        // what pace gave last
	ahead  bool          // the next picture was asked for before the loop had the last
	period time.Duration // between the camera's pictures; 0 while it is not known
	passed uint64        // pictures that were passed over since the last, and what they had skipped
}

// pace is how many pictures are wanted under way.
func (s *stream) pace() uint32 {
	s.window = 1
	if s.quick && s.taken+1 != s.o.Count {
		s.window = newestWindow
	}
	return s.window
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
	s.quick, s.ahead = false, false
	limit := o.Count
	if !o.KeepAll {
		limit = 0 // it is pace that keeps to it: a picture that is passed over does not count
	}
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
	waited := s.ahead && !s.quick
	s.ahead = s.window > 1
	if waited && cut == nil && !s.o.KeepAll {
		s.passed += pic.Skipped + 1
		return true, nil
	}
	if cut != nil {
		pic.Gap = gap(s.last, pic.FrameHeader, s.o.FPS, cut)
	}
	pic.Skipped += s.passed
	s.passed = 0
	if s.taken > 0 && pic.Boot == s.last.Boot && pic.Seq > s.last.Seq {
		s.period = time.Duration(pic.MonoNS-s.last.MonoNS) / time.Duration(pic.Seq-s.last.Seq)
	}
	s.taken++
	s.last = pic.FrameHeader
	began := time.Now()
	more := s.yield(pic, nil) && s.taken != s.o.Count
	s.quick = time.Since(began) <= s.period
	return more, nil
}

// gap says what is missing between two pictures of a stream of fps pictures per second; 0 is all of the camera's.
func gap(last, next api.FrameHeader, fps float64, why error) *Gap {
	g := &Gap{Err: why, Restarted: last.Boot != next.Boot}
	from := last.Seq + 1
	if g.Restarted || next.Seq <= from {
		return g
	}
	g.Missing = next.Seq - from
	if fps > 0 {
		due := math.Round(time.Duration(next.MonoNS-last.MonoNS).Seconds()*fps) - 1
		g.Missing = min(g.Missing, uint64(max(due, 0)))
	}
	return g
}
