package service

import (
	"context"
	"time"

	"github.com/perchcam/perch/pkg/api"
	"github.com/perchcam/perch/pkg/camera"
	"github.com/perchcam/perch/pkg/peer"
)

// info answers RouteInfo.
func (s *Service) info(_ context.Context, options []byte) (peer.Payload, error) {
	if _, err := api.Parse[api.NoOptions](options); err != nil {
		return peer.Payload{}, invalid(err)
	}
	in := s.cfg.Info()
	in.Boot, in.Synced = s.cfg.Boot, s.cfg.Synced()
	in.Drops = s.drops()
	in.At, in.MonoNS = time.Now().UTC(), int64(camera.Mono())
	return answer(in)
}

// drops adds up what the cameras threw away, by reason.
func (s *Service) drops() map[string]uint64 {
	drops := map[string]uint64{}
	for _, h := range s.cfg.Cameras() {
		st := h.Stats()
		for reason, n := range st.Dropped {
			drops[reason] += n
		}
		if st.Lost > 0 {
			drops["lost"] += st.Lost
		}
	}
	return drops
}
