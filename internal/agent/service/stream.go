package service

import (
	"context"
	"iter"
	"math"
	"time"

	"github.com/perchcam/perch/pkg/api"
	"github.com/perchcam/perch/pkg/camera"
	"github.com/perchcam/perch/pkg/peer"
)

// stream answers RouteStream.
func (s *Service) stream(ctx context.Context, options []byte) iter.Seq2[peer.Payload, error] {
	q, err := api.Parse[api.StreamRequest](options)
	if err != nil {
		return peer.Fail(invalid(err))
	}
	h, err := s.camera(q.Camera)
	if err != nil {
		return peer.Fail(err)
	}
	opt := camera.ViewOptions{Width: q.Width, Height: q.Height, Quality: q.Quality, FPS: q.FPS}
	if q.Format == api.FormatH264 {
		opt.Format = camera.H264
	}
	return func(yield func(peer.Payload, error) bool) {
		if opt.All = q.Keep == api.KeepAll; opt.All && q.From != nil && q.From.Boot == s.cfg.Boot {
			opt.From = q.From.Seq // the hub may still hold it
		}
		v := &view{Viewer: h.View(opt), s: s, from: q.From, fps: q.FPS}
		defer v.Close()
		defer s.viewing()()
		if opt.All {
			v.all(ctx, yield)
			return
		}
		peer.Fresh(ctx, v.newest)(yield)
	}
}

// view is one stream's look at a camera.
type view struct {
	*camera.Viewer
	s    *Service
	from *api.Position // what the requester wants to begin with; nil once it has
	fps  float64
	last camera.Picture // without its data: the one before
	owed uint64         // pictures that were chosen and could not be sent, with what had been skipped before them
	fail uint64         // of these, those that the camera lost
}

// next waits for the next picture. What the requester misses at the beginning, because it had asked for an earlier one, counts
// as skipped.
func (v *view) next(ctx context.Context) (camera.Picture, error) {
	for {
		p, err := v.Next(ctx)
		if err != nil {
			return p, trouble(err)
		}
		if v.from == nil {
			return p, nil
		}
		from := *v.from
		if from.Boot != v.s.cfg.Boot { // another run's numbers mean nothing here
			v.from = nil
			return p, nil
		}
		if p.Seq < from.Seq {
			continue
		}
		v.from = nil
		p.Skipped = p.Seq - from.Seq
		p.Failed = min(p.Failed, p.Skipped)
		return p, nil
	}
}

// newest is the next picture of a stream that keeps none. again: the one before was not sent, and counts as skipped.
func (v *view) newest(ctx context.Context, again bool) (peer.Payload, error) {
	if again {
		v.owed, v.fail = v.owed+v.last.Skipped+1, v.fail+v.last.Failed
	} else {
		v.owed, v.fail = 0, 0
	}
	p, err := v.next(ctx)
	if err != nil {
		return peer.Payload{}, err
	}
	v.last = p
	v.last.Data = nil
	p.Skipped, p.Failed = p.Skipped+v.owed, p.Failed+v.fail
	return v.s.picture(p, 0)
}

// all yields every picture, and lets them queue when the requester or the link is slower. What does not fit is stated.
func (v *view) all(ctx context.Context, yield func(peer.Payload, error) bool) {
	peer.Keep(ctx, v.s.cfg.Keep)
	for begun := false; ; begun = true {
		p, err := v.next(ctx)
		if err != nil {
			yield(peer.Payload{}, err)
			return
		}
		lost := p.Skipped - p.Failed // what the camera lost could not be kept by anybody
		if begun {
			lost = min(v.lost(p), lost)
		}
		v.last = p
		v.last.Data = nil
		if !yield(v.s.picture(p, lost)) {
			return
		}
	}
}

// lost is how many pictures were due to the requester between the last one and p, at the rate it had asked for.
func (v *view) lost(p camera.Picture) uint64 {
	if v.fps <= 0 {
		return p.Skipped
	}
	step := time.Duration(float64(time.Second) / v.fps)
	due := math.Round(float64(p.Mono-v.last.Mono) / float64(step))
	return min(uint64(max(due-1, 0)), p.Skipped)
}
