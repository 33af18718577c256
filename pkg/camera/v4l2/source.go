//go:build linux && cgo

package v4l2

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/perchcam/perch/pkg/camera"
)

// Source is the camera at a device path.
type Source struct {
	path string
	gone bool // the last capture ended because there was no device; owned by who iterates or awaits
}

func available() error { return nil }

// Describe opens the device, asks what it can, and closes it. A device that
// somebody else streams from can be asked too.
func (s *Source) Describe(context.Context) (camera.Info, error) {
	k, c, err := openNode(s.path)
	if err != nil {
		return camera.Info{}, err
	}
	defer k.close()
	info := camera.Info{Kind: camera.KindV4L2, Address: s.path, Card: c.Card, Bus: c.BusInfo}
	if info.Modes, err = k.modes(); err != nil {
		return info, sentence("list the formats of", s.path, err)
	}
	return info, nil
}

// Frames captures. See the package comment for the order of calls.
func (s *Source) Frames(ctx context.Context, want camera.Want) iter.Seq2[camera.Frame, error] {
	return func(yield func(camera.Frame, error) bool) {
		if ctx.Err() != nil {
			return
		}
		err := s.frames(ctx, want, yield)
		s.gone = errors.Is(err, camera.ErrAbsent) || errors.Is(err, camera.ErrDenied)
		if err != nil && !errors.Is(err, errStopped) {
			yield(camera.Frame{}, err)
		}
	}
}

func (s *Source) frames(ctx context.Context, want camera.Want, yield func(camera.Frame, error) bool) error {
	k, _, err := openNode(s.path)
	if err != nil {
		return err
	}
	defer k.close()
	return capture(ctx, k, s.path, want, yield)
}

// Await waits until the device may have come back, or is free again.
func (s *Source) Await(ctx context.Context) error { return await(ctx, s.path, s.gone) }

// Discover finds every usable camera, in the order of their numbers.
func Discover() []Found {
	nodes, _ := filepath.Glob("/dev/video*") // only a malformed pattern is an error
	slices.SortFunc(nodes, func(a, b string) int { return number(a) - number(b) })
	var cams []Found
	for _, node := range nodes {
		if st, err := os.Stat(node); err != nil || st.Mode()&os.ModeCharDevice == 0 {
			continue
		}
		k, c, err := openNode(node)
		if err != nil {
			continue
		}
		list, err := k.formats()
		k.close()
		if err == nil && len(list) > 0 {
			cams = append(cams, Found{Node: node, Card: c.Card})
		}
	}
	return name(cams, readLinks("/dev/v4l"))
}

// number is N of /dev/videoN.
func number(node string) int {
	n, _ := strconv.Atoi(strings.TrimPrefix(filepath.Base(node), "video")) // others sort first
	return n
}

// Why tells of each node that is no usable camera what it is instead.
func Why() []string {
	nodes, _ := filepath.Glob("/dev/video*") // only a malformed pattern is an error
	slices.SortFunc(nodes, func(a, b string) int { return number(a) - number(b) })
	var out []string
	for _, node := range nodes {
		k, _, err := openNode(node)
		if err != nil {
			out = append(out, fmt.Sprint(err))
			continue
		}
		k.close()
	}
	return out
}
