package service

import (
	"context"
	"errors"
	"time"

	"github.com/perchcam/perch/pkg/api"
	"github.com/perchcam/perch/pkg/gpio"
	"github.com/perchcam/perch/pkg/peer"
)

// set answers RouteSet.
func (s *Service) set(_ context.Context, options []byte) (peer.Payload, error) {
	q, err := api.Parse[api.SetRequest](options)
	if err != nil {
		return peer.Payload{}, invalid(err)
	}
	st, err := s.cfg.Board.Set(q.Output, *q.On, q.For.D())
	if err != nil {
		if _, busy := errors.AsType[*gpio.BusyError](err); busy || errors.Is(err, gpio.ErrStopped) {
			return peer.Payload{}, peer.Errorf(peer.CodeRejected, "%v", err)
		}
		return peer.Payload{}, unknown(err)
	}
	return answer(api.OutputState{Output: st.Name, On: st.On, Until: st.Until, At: time.Now().UTC()})
}
