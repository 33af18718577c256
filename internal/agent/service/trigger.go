package service

import (
	"context"
	"sync"
	"time"

	"github.com/perchcam/perch/pkg/api"
	"github.com/perchcam/perch/pkg/camera"
	"github.com/perchcam/perch/pkg/gpio"
)

// shotLimit is how long a trigger waits for its picture. A camera that is off takes a second or two to start.
const shotLimit = 15 * time.Second

// quietTime is how long a camera that comes and goes is not logged again. The album counts every time.
const quietTime = 10 * time.Minute

// RunTriggers takes the pictures that the triggers ask for, with or without a link, until ctx ends. Each trigger has a loop of its own, so
// that a camera that hangs delays no other.
func (s *Service) RunTriggers(ctx context.Context) {
	var running sync.WaitGroup
	defer running.Wait()
	for i, spec := range s.cfg.Triggers {
		watch, err := s.cfg.Board.Triggers([]gpio.TriggerSpec{spec})
		if err != nil {
			continue // New has asked for all of them
		}
		running.Go(func() { s.runTrigger(ctx, i, spec, watch) })
	}
}

// runTrigger takes a picture after each edge. Edges that come while the camera starts wait in the board's ring; one that was there before
// the last picture was asked for has its picture: that one is newer.
func (s *Service) runTrigger(ctx context.Context, number int, spec gpio.TriggerSpec, watch *gpio.TriggerWatch) {
	var asked time.Duration // when the last picture was
	var told time.Time      // when a failure was logged last
	failing := false        // and that it is over has not been
	for {
		fired, err := watch.Next(ctx)
		if err != nil {
			return
		}
		if asked != 0 && time.Duration(fired.Item.Mono) <= asked {
			s.album.lose(api.GoneMerged)
			continue
		}
		now := s.cfg.Board.Mono()
		picture, err := s.shoot(ctx, spec.Target)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			s.album.lose(api.GoneFailed)
			if !failing && (told.IsZero() || time.Since(told) > quietTime) {
				s.cfg.Log.Warn("a trigger gets no pictures", "sensor", spec.Sensor, "camera", spec.Target, "err", err)
				failing, told = true, time.Now()
			}
			continue
		case failing:
			s.cfg.Log.Info("a trigger gets pictures again", "sensor", spec.Sensor, "camera", spec.Target)
			failing = false
		}
		asked = now
		s.album.put(kept{trigger: number, edge: fired.Item, picture: picture}, spec.Keep)
	}
}

// shoot takes one picture. Somebody will look at it, so it counts as viewing.
func (s *Service) shoot(ctx context.Context, name string) (camera.Picture, error) {
	ctx, cancel := context.WithTimeout(ctx, shotLimit)
	defer cancel()
	h, err := s.camera(name)
	if err != nil {
		return camera.Picture{}, err
	}
	defer s.viewing()()
	return h.Snapshot(ctx, camera.SnapshotOptions{})
}
