package service

import (
	"context"
	"errors"
	"iter"

	"github.com/perchcam/perch/pkg/api"
	"github.com/perchcam/perch/pkg/gpio"
	"github.com/perchcam/perch/pkg/peer"
)

// read answers RouteRead with what is known, without touching a device.
func (s *Service) read(_ context.Context, options []byte) (peer.Payload, error) {
	q, err := api.Parse[api.SensorsRequest](options)
	if err != nil {
		return peer.Payload{}, invalid(err)
	}
	items, err := s.cfg.Board.Read(q.Sensors...)
	if err != nil {
		return peer.Payload{}, unknown(err)
	}
	return answer(struct {
		Readings []gpio.Item `json:"readings"`
	}{items})
}

// watch answers RouteWatch. An item is taken when it may leave. It is not taken back when the link is lost then: it waits for the
// next one, because it will not come again.
func (s *Service) watch(ctx context.Context, options []byte) iter.Seq2[peer.Payload, error] {
	q, err := api.Parse[api.SensorsRequest](options)
	if err != nil {
		return peer.Fail(invalid(err))
	}
	o := gpio.WatchOptions{Sensors: q.Sensors, After: (*gpio.Position)(q.After), Latest: q.Mode == api.ModeLatest}
	w, err := s.cfg.Board.Watch(o)
	if err != nil {
		return peer.Fail(unknown(err))
	}
	return func(yield func(peer.Payload, error) bool) {
		for peer.Ready(ctx) == nil {
			item, err := w.Next(ctx)
			if err != nil {
				yield(peer.Payload{}, err)
				return
			}
			if !yield(answer(item)) {
				return
			}
		}
	}
}

// unknown gives what the configuration does not allow its code.
func unknown(err error) error {
	if _, refused := errors.AsType[gpio.RefusedError](err); refused || errors.Is(err, gpio.ErrUnknown) {
		return invalid(err)
	}
	return err
}
