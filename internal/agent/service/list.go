package service

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/perchcam/perch/pkg/api"
	"github.com/perchcam/perch/pkg/camera"
	"github.com/perchcam/perch/pkg/peer"
)

// describeTimeout bounds how long one camera may take to say what it can do.
const describeTimeout = 3 * time.Second

// list answers RouteCameras. The cameras are asked at the same time, so that one which does not answer delays nobody for long.
func (s *Service) list(ctx context.Context, options []byte) (peer.Payload, error) {
	if _, err := api.Parse[api.NoOptions](options); err != nil {
		return peer.Payload{}, invalid(err)
	}
	ctx, cancel := context.WithTimeout(ctx, describeTimeout)
	defer cancel()
	hubs := s.cfg.Cameras()
	cameras := make(api.List[api.Camera], len(hubs))
	var asking sync.WaitGroup
	for i, h := range hubs {
		asking.Go(func() { cameras[i] = describe(ctx, h) })
	}
	asking.Wait()
	return answer(api.CameraList{Cameras: cameras})
}

func describe(ctx context.Context, h *camera.Hub) api.Camera {
	info, err := h.Source().Describe(ctx)
	st := h.State()
	c := api.Camera{Name: h.Name(), Kind: info.Kind, Model: info.Card, State: stateOf(st, err), Viewers: h.Stats().Viewers}
	if m := st.Mode; m.Width > 0 {
		c.Mode = &api.Mode{Format: m.Format.String(), Width: m.Width, Height: m.Height, FPS: rates(m.FPS)}
	}
	for _, m := range info.Modes {
		c.Modes = append(c.Modes, api.Mode{Format: m.Format.String(), Width: m.Width, Height: m.Height, FPS: rates(m.FPS)})
	}
	if err == nil {
		c.Controls = controls(ctx, h.Source())
	}
	if st.Err != nil && c.State != api.CameraIdle {
		c.Error = st.Err.Error()
	} else if err != nil && c.State != api.CameraActive {
		c.Error = err.Error()
	}
	return c
}

func rates(fps float64) []float64 {
	if fps <= 0 {
		return nil
	}
	return []float64{fps}
}

// stateOf is a camera's state for a laptop. A camera that is off knows no trouble, so what Describe met counts for it; and one that was
// missing when somebody looked is missing no more when it can be asked.
func stateOf(st camera.State, err error) string {
	switch st.Phase {
	case camera.Starting, camera.Streaming:
		return api.CameraActive
	case camera.Busy:
		return api.CameraBusy
	case camera.Absent:
		if err == nil {
			return api.CameraIdle
		}
		return api.CameraMissing
	case camera.Idle:
		switch {
		case err == nil:
			return api.CameraIdle
		case errors.Is(err, camera.ErrAbsent):
			return api.CameraMissing
		case errors.Is(err, camera.ErrBusy):
			return api.CameraBusy
		}
	}
	return api.CameraFailed
}
