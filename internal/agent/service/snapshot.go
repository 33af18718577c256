package service

import (
	"context"

	"github.com/perchcam/perch/pkg/api"
	"github.com/perchcam/perch/pkg/camera"
	"github.com/perchcam/perch/pkg/peer"
)

// snapshot answers RouteSnapshot. The picture is taken when it may leave, and again if the link was lost meanwhile: what the
// options say of its age holds at the moment of delivery.
func (s *Service) snapshot(ctx context.Context, options []byte) (peer.Payload, error) {
	q, err := api.Parse[api.SnapshotRequest](options)
	if err != nil {
		return peer.Payload{}, invalid(err)
	}
	h, err := s.camera(q.Camera)
	if err != nil {
		return peer.Payload{}, err
	}
	defer s.viewing()()
	for {
		if err := peer.Ready(ctx); err != nil {
			return peer.Payload{}, err
		}
		p, err := h.Snapshot(ctx, camera.SnapshotOptions{
			Width: q.Width, Height: q.Height, Quality: q.Quality, MaxAge: q.MaxAge.D(), Settled: q.Settled,
		})
		if err != nil {
			return peer.Payload{}, trouble(err)
		}
		if peer.Writable(ctx) {
			return s.picture(p, 0)
		}
	}
}
