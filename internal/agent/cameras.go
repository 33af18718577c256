package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync"
	"time"

	"github.com/perchcam/perch/pkg/api"
	"github.com/perchcam/perch/pkg/camera"
)

// Search is how the cameras that PERCH_CAMERAS=auto means are found.
type Search struct {
	// Expand puts what is there now in the place of auto among specs, under names that are the same after a restart, and
	// leaves out what specs has already (driver.Expand).
	Expand func(ctx context.Context, specs []camera.Spec) []camera.Spec
	// Watch calls look when it has begun to watch and whenever there may be more, until ctx ends. An error says that it cannot.
	Watch func(ctx context.Context, look func()) error
}

// cameras is the device's cameras: those that its owner named and, with auto, those that are found, now or later. The set only
// grows: a camera that is unplugged keeps its name and is missing.
type cameras struct {
	open  func(camera.Spec) (camera.Source, error)
	auto  Search // Expand nil: nothing is searched
	log   *slog.Logger
	known []camera.Spec // owned by run after New: all, those that cannot be used too

	mu  sync.Mutex // guards the following
	all []cam
}

type cam struct {
	*camera.Hub
	kind string
}

// findPatience is how long a device waits with its first SETUP for the search: rpicam-hello takes a second on a Pi Zero.
const findPatience = 5 * time.Second

// newCameras opens what its owner named. The error lists everything that is wrong.
func newCameras(specs []camera.Spec, open func(camera.Spec) (camera.Source, error), auto Search, log *slog.Logger) (*cameras, error) {
	c := &cameras{open: open, log: log}
	var errs []error
	for _, spec := range specs {
		if spec.Kind == camera.KindAuto {
			c.auto = auto
			continue
		}
		if _, err := c.add(spec); err != nil {
			errs = append(errs, err)
		}
	}
	return c, errors.Join(errs...)
}

func (c *cameras) add(spec camera.Spec) (cam, error) {
	c.known = append(c.known, spec)
	src, err := c.open(spec)
	if err != nil {
		return cam{}, err
	}
	h, err := camera.NewHub(camera.Config{Name: spec.Name, Source: src, Want: spec.Want, Linger: spec.Linger, Log: c.log, Rested: c.rested})
	if err != nil {
		return cam{}, err
	}
	k := cam{h, spec.Kind}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.all = append(c.all, k)
	return k, nil
}

// run runs the cameras until ctx ends. searched is called when the first search is over; grown when a later one has found more.
func (c *cameras) run(ctx context.Context, searched, grown func()) {
	var running sync.WaitGroup
	defer running.Wait()
	for _, k := range c.list() {
		running.Go(func() { _ = k.Run(ctx) })
		running.Go(func() { look(ctx, k.Hub) })
	}
	if c.auto.Expand == nil {
		searched()
		<-ctx.Done()
		return
	}
	looks := make(chan struct{}, 1)
	more := func() {
		select {
		case looks <- struct{}{}:
		default:
		}
	}
	running.Go(func() {
		if err := c.auto.Watch(ctx, more); err != nil && ctx.Err() == nil {
			c.log.Warn("cameras that are plugged in from now on are not found before a restart", "err", err)
			more()
		}
	})
	for first := true; ; first = false {
		select {
		case <-ctx.Done():
			return
		case <-looks:
		}
		found := c.search(ctx)
		for _, k := range found {
			running.Go(func() { _ = k.Run(ctx) })
		}
		if first {
			searched()
			if len(c.list()) == 0 {
				c.log.Warn("no camera is found; one that is plugged in later is", "next", "perch-agent check says what the video devices are")
			}
		} else if len(found) > 0 {
			grown()
		}
	}
}

// rested gives the memory that pictures took back to the kernel when no camera runs any more. The runtime would do so too, but
// only some of it, and after minutes: it collects when as much again is in use.
func (c *cameras) rested() {
	for _, k := range c.list() {
		if p := k.State().Phase; p == camera.Starting || p == camera.Streaming {
			return
		}
	}
	debug.FreeOSMemory()
}

// look asks a camera that its owner named whether it is there, so that a wrong address is in the log before somebody looks.
func look(ctx context.Context, h *camera.Hub) {
	ctx, cancel := context.WithTimeout(ctx, lookLimit)
	defer cancel()
	h.Look(ctx)
}

// lookLimit bounds how long a camera may take to say that it is there: rpicam-hello takes some seconds on a Pi Zero that boots.
const lookLimit = 15 * time.Second

// search adds the cameras that are new.
func (c *cameras) search(ctx context.Context) (added []cam) {
	n := len(c.known)
	specs := append(c.known[:n:n], camera.Spec{Kind: camera.KindAuto})
	for _, spec := range c.auto.Expand(ctx, specs)[n:] {
		k, err := c.add(spec)
		if err != nil {
			c.log.Warn("a camera that was found cannot be used", "camera", spec.String(), "err", err)
			continue
		}
		c.log.Info("camera found", "camera", spec.Name, "kind", spec.Kind, "address", spec.Address)
		added = append(added, k)
	}
	return added
}

// list returns the cameras there are, in their order: those named first. It must not be changed.
func (c *cameras) list() []cam {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.all[:len(c.all):len(c.all)]
}

// hubs is list for who looks at pictures.
func (c *cameras) hubs() []*camera.Hub {
	list := c.list()
	hubs := make([]*camera.Hub, len(list))
	for i, k := range list {
		hubs[i] = k.Hub
	}
	return hubs
}

// refs is list for the advert.
func (c *cameras) refs() (refs []api.CameraRef) {
	for _, k := range c.list() {
		refs = append(refs, api.CameraRef{Name: k.Name(), Kind: k.kind})
	}
	return refs
}

// alive is for the watchdog: no camera's loop hangs in its driver or waits for its child beyond grace.
func (c *cameras) alive(grace time.Duration) error {
	var errs []error
	for _, k := range c.list() {
		if d := k.Overdue(); d > grace {
			errs = append(errs, fmt.Errorf("%s does not let go of its camera, for %v now", k.Name(), d.Round(time.Second)))
		}
	}
	return errors.Join(errs...)
}
