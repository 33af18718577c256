// Package driver opens cameras by the kind that their spec names. It is the
// one place that knows all kinds.
package driver

import (
	"fmt"

	"github.com/perchcam/perch/pkg/camera"
	"github.com/perchcam/perch/pkg/camera/pattern"
)

// Open gives the source for a spec. It checks the spec, all of it, and does
// not touch the camera.
func Open(spec camera.Spec) (camera.Source, error) {
	switch spec.Kind {
	case camera.KindPattern:
		return pattern.New(spec)
	}
	return nil, fmt.Errorf("camera %s: this build has no cameras of kind %s: %w", spec.Name, spec.Kind, camera.ErrUnsupported)
}
