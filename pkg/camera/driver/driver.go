// Package driver opens cameras by the kind that their spec names, and finds
// those that nobody named. It is the one place that knows all kinds.
package driver

import (
	"context"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/perchcam/perch/pkg/camera"
	"github.com/perchcam/perch/pkg/camera/pattern"
	"github.com/perchcam/perch/pkg/camera/replay"
	"github.com/perchcam/perch/pkg/camera/rpicam"
	"github.com/perchcam/perch/pkg/camera/v4l2"
)

// Open gives the source for a spec. It checks the spec, all of it, and does
// not touch the camera.
func Open(spec camera.Spec) (camera.Source, error) {
	switch spec.Kind {
	case camera.KindV4L2:
		return opened(v4l2.New(spec))
	case camera.KindRpicam:
		return opened(rpicam.New(spec, rpicam.Installed()))
	case camera.KindPattern:
		return opened(pattern.New(spec))
	case camera.KindReplay:
		return opened(replay.New(spec))
	case camera.KindAuto:
		return nil, fmt.Errorf("%q stands for cameras that must be found first: %w", spec.Kind, camera.ErrUnsupported)
	}
	return nil, fmt.Errorf("camera %s: unknown kind %q: %w", spec.Name, spec.Kind, camera.ErrUnsupported)
}

// opened keeps a nil pointer from becoming a Source.
func opened[S camera.Source](s S, err error) (camera.Source, error) {
	if err != nil {
		return nil, err
	}
	return s, nil
}

// Expand puts in the place of each auto the cameras that are found now: every
// usable V4L2 node, then every ribbon camera that rpicam-hello lists. A camera
// that another spec names already is left out. Finding none is no error.
// Names are made of what stays the same over a reboot.
func Expand(ctx context.Context, specs []camera.Spec) []camera.Spec {
	return expand(specs, func() []camera.Spec { return find(ctx) })
}

func expand(specs []camera.Spec, find func() []camera.Spec) []camera.Spec {
	taken := make(map[string]bool) // names, and kinds with addresses
	for _, s := range specs {
		taken[s.Name] = true
		taken[place(s)] = true
	}
	var out []camera.Spec
	for _, s := range specs {
		if s.Kind != camera.KindAuto {
			out = append(out, s)
			continue
		}
		for _, f := range find() {
			if taken[place(f)] {
				continue
			}
			for n, name := 2, f.Name; taken[f.Name]; n++ {
				f.Name = name + "-" + strconv.Itoa(n)
			}
			taken[f.Name], taken[place(f)] = true, true
			out = append(out, f)
		}
	}
	return out
}

// place is where a spec's camera is, the same for every way to write it.
func place(s camera.Spec) string {
	address := s.Address
	switch s.Kind {
	case camera.KindV4L2:
		if node, err := filepath.EvalSymlinks(address); err == nil {
			address = node
		}
	case camera.KindRpicam:
		if address == "" {
			address = "0"
		}
	}
	return s.Kind + ":" + address
}

// find looks for cameras.
func find(ctx context.Context) []camera.Spec {
	var specs []camera.Spec
	for _, f := range v4l2.Discover() {
		specs = append(specs, camera.Spec{Name: f.Name, Kind: camera.KindV4L2, Address: f.Address})
	}
	list, err := rpicam.List(ctx, rpicam.Installed())
	if err != nil { // most often: it is not installed, and there is no ribbon camera
		return specs
	}
	return append(specs, ribbons(list)...)
}

// ribbons names ribbon cameras after their sensors. A single one is addressed
// by its number, which is quicker; of several, numbers may change when one is
// added, so they are addressed by what libcamera calls them.
func ribbons(list []rpicam.Listed) []camera.Spec {
	models := make(map[string]int)
	for _, c := range list {
		models[c.Model]++
	}
	var specs []camera.Spec
	for _, c := range list {
		s := camera.Spec{Name: sensor(c.Model), Kind: camera.KindRpicam, Address: c.ID}
		if len(list) == 1 {
			s.Address = strconv.Itoa(c.Number)
		}
		if models[c.Model] > 1 {
			s.Name += "-" + strconv.Itoa(c.Number)
		}
		specs = append(specs, s)
	}
	return specs
}

// sensor makes a camera's name of a sensor's.
func sensor(model string) string {
	name := strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= '0' && r <= '9', r == '.', r == '-', r == '_':
			return r
		}
		return '-'
	}, strings.ToLower(model))
	if name = strings.Trim(name, "-._"); name == "" {
		return "ribbon"
	}
	return name[:min(len(name), 40)]
}
