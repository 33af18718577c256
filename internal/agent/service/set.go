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
	return answer(outputState(st))
}

// outputs answers RouteOutputs.
func (s *Service) outputs(context.Context, []byte) (peer.Payload, error) {
	var list api.Outputs
	for _, st := range s.cfg.Board.Outputs() {
		list.Outputs = append(list.Outputs, outputState(st))
	}
	return answer(list)
}

func outputState(st gpio.OutputState) api.OutputState {
	o := api.OutputState{Output: st.Name, On: st.On, Until: st.Until, At: time.Now().UTC(), Shows: st.Shows}
	if st.Error != nil {
		o.Error = st.Error.Text
	}
	return o
}
