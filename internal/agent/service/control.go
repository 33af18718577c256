package service

import (
	"context"
	"iter"
	"maps"
	"slices"

	"github.com/perchcam/perch/pkg/api"
	"github.com/perchcam/perch/pkg/camera"
	"github.com/perchcam/perch/pkg/peer"
)

// control answers RouteControl: each item of the requester with what is in force after it. first is the first item.
func (s *Service) control(ctx context.Context, first []byte, in iter.Seq2[peer.Payload, error]) iter.Seq2[peer.Payload, error] {
	return func(yield func(peer.Payload, error) bool) {
		if !yield(s.controlOnce(ctx, first)) {
			return
		}
		for item, err := range in {
			if err != nil {
				yield(peer.Payload{}, err)
				return
			}
			if !yield(s.controlOnce(ctx, item.Data)) {
				return
			}
		}
	}
}

// controlOnce sets the controls that one item names, in the order of their names, and reads all of the camera's back.
func (s *Service) controlOnce(ctx context.Context, options []byte) (peer.Payload, error) {
	q, err := api.Parse[api.ControlRequest](options)
	if err != nil {
		return peer.Payload{}, invalid(err)
	}
	h, err := s.camera(q.Camera)
	if err != nil {
		return peer.Payload{}, err
	}
	c, ok := h.Source().(camera.Controller)
	if !ok {
		return peer.Payload{}, peer.Errorf(peer.CodeInvalid, "camera %q has no controls", h.Name())
	}
	r := api.ControlReply{Camera: h.Name(), Values: map[string]int64{}}
	for _, name := range slices.Sorted(maps.Keys(q.Set)) {
		if _, err := c.SetControl(ctx, name, q.Set[name]); err != nil {
			if r.Errors == nil {
				r.Errors = map[string]string{}
			}
			r.Errors[name] = err.Error()
		}
	}
	all, err := c.Controls(ctx)
	if err != nil {
		return peer.Payload{}, trouble(err)
	}
	for _, k := range all {
		if k.Type != camera.ControlButton {
			r.Values[k.Name] = k.Value
		}
	}
	return answer(r)
}

// controls is what camera.list says of a camera's controls.
func controls(ctx context.Context, src camera.Source) (list []api.Control) {
	c, ok := src.(camera.Controller)
	if !ok {
		return nil
	}
	all, err := c.Controls(ctx)
	if err != nil {
		return nil // Describe has met the same
	}
	for _, k := range all {
		out := api.Control{
			Name: k.Name, Type: string(k.Type), Value: k.Value, Default: k.Default, Min: k.Min, Max: k.Max, Step: k.Step,
			Off: k.ReadOnly || k.Inactive,
		}
		for _, m := range k.Menu {
			if out.Menu == nil {
				out.Menu = map[int]string{}
			}
			out.Menu[int(m.Value)] = m.Name
		}
		list = append(list, out)
	}
	return list
}
