package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/perchcam/perch/pkg/api"
	"github.com/perchcam/perch/pkg/camera"
)

// Finder finds the cameras that PERCH_CAMERAS=auto means.
type Finder interface {
	// Find returns what is there now, under names that are the same after a restart.
	Find(ctx context.Context) []camera.Spec
	// Changed waits until there may be more. An error says that it cannot tell.
	Changed(ctx context.Context) error
}

// cameras is the device's cameras: those that its owner named and, with auto, those that are found, now or later. The set only
// grows: a camera that is unplugged keeps its name and is missing.
type cameras struct {
	open   func(camera.Spec) (camera.Source, error)
	finder Finder // nil: nothing is searched
	log    *slog.Logger

	mu   sync.Mutex // guards the following
	all  []cam
	seen map[string]bool // specs that were found and cannot be opened: said once
}

type cam struct {
	*camera.Hub
	kind, address string
}

// findPatience is how long a device waits with its first SETUP for the search: rpicam-hello takes a second on a Pi Zero.
const findPatience = 5 * time.Second

// newCameras opens what its owner named. The error lists everything that is wrong.
func newCameras(specs []camera.Spec, open func(camera.Spec) (camera.Source, error), finder Finder, log *slog.Logger) (*cameras, error) {
	c := &cameras{open: open, log: log, seen: map[string]bool{}}
	var errs []error
	for _, spec := range specs {
		if spec.Kind == camera.KindAuto {
			c.finder = finder
			continue
		}
		if _, err := c.add(spec); err != nil {
			errs = append(errs, err)
		}
	}
	return c, errors.Join(errs...)
}

func (c *cameras) add(spec camera.Spec) (cam, error) {
	src, err := c.open(spec)
	if err != nil {
		return cam{}, err
	}
	h, err := camera.NewHub(camera.Config{Name: spec.Name, Source: src, Want: spec.Want, Linger: spec.Linger, Log: c.log})
	if err != nil {
		return cam{}, err
	}
	k := cam{h, spec.Kind, place(spec)}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.all = append(c.all, k)
	return k, nil
}

// place is where a camera is, whichever of its paths names it.
func place(spec camera.Spec) string {
	if real, err := filepath.EvalSymlinks(spec.Address); err == nil {
		return spec.Kind + ":" + real
	}
	return spec.Kind + ":" + spec.Address
}

// run runs the cameras until ctx ends. searched is called when the first search is over; grown when a later one has found more.
func (c *cameras) run(ctx context.Context, searched, grown func()) {
	var running sync.WaitGroup
	defer running.Wait()
	for _, k := range c.list() {
		running.Go(func() { _ = k.Run(ctx) })
	}
	for first := true; c.finder != nil && ctx.Err() == nil; first = false {
		found := c.search(ctx)
		for _, k := range found {
			running.Go(func() { _ = k.Run(ctx) })
		}
		switch {
		case first:
			searched()
		case len(found) > 0:
			grown()
		}
		if err := c.finder.Changed(ctx); err != nil {
			if ctx.Err() == nil {
				c.log.Warn("cameras that are plugged in from now on are not found before a restart", "err", err)
			}
			break
		}
	}
	searched()
}

// search adds the cameras that are new.
func (c *cameras) search(ctx context.Context) (added []cam) {
	for _, spec := range c.finder.Find(ctx) {
		if c.has(place(spec)) || c.seen[spec.String()] {
			continue
		}
		spec.Name = c.free(spec.Name)
		k, err := c.add(spec)
		if err != nil {
			c.seen[spec.String()] = true
			c.log.Warn("a camera that was found cannot be used", "camera", spec.String(), "err", err)
			continue
		}
		c.log.Info("camera found", "camera", spec.Name, "kind", spec.Kind, "address", spec.Address)
		added = append(added, k)
	}
	return added
}

func (c *cameras) has(place string) bool {
	return slices.ContainsFunc(c.list(), func(k cam) bool { return k.address == place })
}

// free returns a name that no camera has.
func (c *cameras) free(name string) string {
	for n := 1; ; n++ {
		candidate := name
		if n > 1 {
			suffix := "-" + strconv.Itoa(n)
			candidate = name[:min(len(name), 63-len(suffix))] + suffix
		}
		if !slices.ContainsFunc(c.list(), func(k cam) bool { return k.Name() == candidate }) {
			return candidate
		}
	}
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

// refs is list for the advert; it has as many entries as its revision says.
func (c *cameras) refs() (refs []api.CameraRef) {
	for _, k := range c.list() {
		refs = append(refs, api.CameraRef{Name: k.Name(), Kind: k.kind})
	}
	return refs
}

// alive is for the watchdog.
func (c *cameras) alive(grace time.Duration) error {
	var errs []error
	for _, k := range c.list() {
		k.Stats() // takes the hub's lock
		if st := k.State(); st.Phase == camera.Starting && time.Since(st.Since) > startLimit+grace {
			errs = append(errs, fmt.Errorf("%s has been starting for %v", k.Name(), time.Since(st.Since).Round(time.Second)))
		}
	}
	return errors.Join(errs...)
}

// startLimit is more than a Hub gives a camera to deliver its first frame.
const startLimit = 15 * time.Second
