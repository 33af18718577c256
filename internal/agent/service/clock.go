package service

import (
	"context"
	"time"

	"github.com/perchcam/perch/pkg/api"
	"github.com/perchcam/perch/pkg/camera"
	"github.com/perchcam/perch/pkg/peer"
)

// clock answers RouteClock: the time of its round trip says how far the requester's clock and this one are apart, so the clock is
// read last and nothing is waited for.
func (s *Service) clock(context.Context, []byte) (peer.Payload, error) {
	r := api.ClockReply{Boot: s.cfg.Boot, Synced: s.cfg.Synced()}
	r.At, r.MonoNS = time.Now().UTC(), int64(camera.Mono())
	return answer(r)
}
