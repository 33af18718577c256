// Package rpicam is the ribbon (CSI) cameras of a Raspberry Pi, through
// Raspberry Pi's own rpicam-vid as a child process. Since Bookworm these are
// no plain V4L2 cameras: libcamera must run them, and libcamera is not linked
// because its binary interface changes every few months.
//
// The child belongs to one run of Frames: it is started in a process group of
// its own, its pictures are read from its standard output, and the group is
// killed and reaped before Frames returns. What it says on standard error is
// kept as the one line that matters.
//
// A picture's stamp is when its first byte came, which is later than the
// exposure by what sensor, image processor and encoder take.
package rpicam

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"maps"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/perchcam/perch/pkg/camera"
	"github.com/perchcam/perch/pkg/camera/internal/h264"
	"github.com/perchcam/perch/pkg/camera/internal/mjpeg"
)

// What is asked for when the spec leaves it open.
const (
	defaultWidth, defaultHeight = 1280, 720
	defaultFPS                  = 30
	defaultQuality              = 75 // the program's own 50 shows
	maxPicture                  = 64 << 20
)

// options are the keys that are handed on to rpicam-vid as they are; its
// documentation explains them. Where a value has commas, write colons.
var options = []string{
	"autofocus-mode", "autofocus-range", "autofocus-speed", "awb", "awbgains", "bitrate", "brightness",
	"contrast", "denoise", "ev", "exposure", "flicker-period", "gain", "hdr", "hflip", "intra", "lens-position",
	"level", "metering", "mode", "profile", "quality", "roi", "rotation", "saturation", "sharpness", "shutter",
	"tuning-file", "vflip",
}

var plainValue = regexp.MustCompile(`^[A-Za-z0-9._:/+-]+$`)

// Source is one ribbon camera.
type Source struct {
	address string // number, or the id that libcamera gives it
	options map[string]string
	tools   Tools
}

// Tools are the programs that are run: the first that is installed.
type Tools struct {
	Video []string // rpicam-vid, libcamera-vid
	Hello []string // rpicam-hello, libcamera-hello
}

// Installed are the programs as Raspberry Pi OS has them, the names of
// Bookworm and later first.
func Installed() Tools {
	return Tools{
		Video: []string{"rpicam-vid", "libcamera-vid"},
		Hello: []string{"rpicam-hello", "libcamera-hello"},
	}
}

// New gives the source for a spec of kind rpicam. Its address is the camera's
// number (default 0) or id as rpicam-hello --list-cameras says. The program
// need not be installed yet.
func New(spec camera.Spec, tools Tools) (*Source, error) {
	var errs []error
	switch spec.Want.Format {
	case 0, camera.MJPEG, camera.JPEG, camera.H264:
	default:
		errs = append(errs, fmt.Errorf("camera %s: kind rpicam gives mjpeg and h264 only: %w", spec.Name, camera.ErrUnsupported))
	}
	if n, err := strconv.Atoi(spec.Address); spec.Address != "" && !strings.HasPrefix(spec.Address, "/") && (err != nil || n < 0) {
		errs = append(errs, fmt.Errorf("camera %s: address %q is neither the number nor the id that rpicam-hello --list-cameras shows", spec.Name, spec.Address))
	}
	errs = append(errs, spec.CheckOptions(options...))
	for _, key := range slices.Sorted(maps.Keys(spec.Options)) {
		if value := spec.Options[key]; !plainValue.MatchString(value) {
			errs = append(errs, fmt.Errorf("camera %s: %s=%s: a value is letters, digits and . _ : / + -", spec.Name, key, value))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return &Source{address: spec.Address, options: spec.Options, tools: tools}, nil
}

// Describe asks rpicam-hello. That takes a second or so, and fails for some
// versions while the camera runs.
func (s *Source) Describe(ctx context.Context) (camera.Info, error) {
	info := camera.Info{Kind: camera.KindRpicam, Address: s.address}
	list, err := List(ctx, s.tools)
	if err != nil {
		return info, err
	}
	c, err := s.pick(list)
	if err != nil {
		return info, err
	}
	info.Card, info.Bus, info.Modes = c.Model, c.ID, c.Modes
	return info, nil
}

// pick finds this camera among those that are there.
func (s *Source) pick(list []Listed) (Listed, error) {
	for _, c := range list {
		if s.address == c.ID || s.address == strconv.Itoa(c.Number) || s.address == "" && c.Number == 0 {
			return c, nil
		}
	}
	return Listed{}, fmt.Errorf("rpicam-hello lists %d ribbon cameras, and no %s: %w; check the cable, and camera_auto_detect=1 in config.txt",
		len(list), s.address, camera.ErrAbsent)
}

// Frames runs the program. MJPEG comes as it is written; H.264 a picture late,
// see [h264.Reader].
func (s *Source) Frames(ctx context.Context, want camera.Want) iter.Seq2[camera.Frame, error] {
	return func(yield func(camera.Frame, error) bool) {
		if err := s.frames(ctx, want, yield); err != nil && ctx.Err() == nil && !errors.Is(err, errStopped) {
			yield(camera.Frame{}, err)
		}
	}
}

// errStopped: the consumer has had enough.
var errStopped = errors.New("stopped")

func (s *Source) frames(ctx context.Context, want camera.Want, yield func(camera.Frame, error) bool) error {
	number := s.address
	if strings.HasPrefix(number, "/") { // ids stay, numbers may change with the cables
		list, err := List(ctx, s.tools)
		if err != nil {
			return err
		}
		c, err := s.pick(list)
		if err != nil {
			return err
		}
		number = strconv.Itoa(c.Number)
	}
	path, err := look(s.tools.Video)
	if err != nil {
		return err
	}
	c, err := start(ctx, path, s.arguments(number, want)...)
	if err != nil {
		return err
	}
	err = s.read(c.out, want, yield)
	return c.end(err)
}

// read yields what comes out of the program until there is no more.
func (s *Source) read(out io.Reader, want camera.Want, yield func(camera.Frame, error) bool) error {
	w, h, fps := chosen(want)
	f := camera.Frame{Format: camera.MJPEG, Width: w, Height: h, Period: time.Duration(float64(time.Second) / fps)}
	if _, set := s.options["shutter"]; set {
		f.Period = 0 // a long exposure slows the sensor down; it is measured then
	}
	began := func() { f.Mono = camera.Mono() }
	if want.Format == camera.H264 {
		f.Format = camera.H264
		r := h264.NewReader(out, maxPicture)
		r.Began = began
		for ; ; f.Seq++ {
			var err error
			if f.Data, err = r.Next(); err != nil {
				return err
			}
			if !yield(f, nil) {
				return errStopped
			}
		}
	}
	r := mjpeg.NewReader(out, maxPicture)
	r.Began = began
	r.Torn = func() {
		f.Seq++
		if want.Dropped != nil {
			want.Dropped(camera.DropTorn)
		}
	}
	for ; ; f.Seq++ {
		var l mjpeg.Layout
		var err error
		if f.Data, l, err = r.Next(); err != nil {
			return err
		}
		f.Width, f.Height = l.Width, l.Height
		if !yield(f, nil) {
			return errStopped
		}
	}
}

// chosen fills in what is left open. A size of one side alone gets the other
// by the proportion of the default.
func chosen(want camera.Want) (w, h int, fps float64) {
	w, h, fps = want.Width, want.Height, want.FPS
	switch {
	case w == 0 && h == 0:
		w, h = defaultWidth, defaultHeight
	case w == 0:
		w = h * defaultWidth / defaultHeight
	case h == 0:
		h = w * defaultHeight / defaultWidth
	}
	if fps == 0 {
		fps = defaultFPS
	}
	return w &^ 1, h &^ 1, fps
}

// arguments are the command line. Everything is one word, so that a value can
// not become an option.
func (s *Source) arguments(number string, want camera.Want) []string {
	w, h, fps := chosen(want)
	args := []string{
		"--nopreview", "--timeout=0", "--flush", "--output=-",
		fmt.Sprintf("--width=%d", w), fmt.Sprintf("--height=%d", h),
		"--framerate=" + strconv.FormatFloat(fps, 'f', -1, 64),
	}
	if number != "" {
		args = append(args, "--camera="+number)
	}
	if want.Format == camera.H264 {
		args = append(args, "--codec=h264", "--inline")
		if s.options["intra"] == "" { // a viewer waits for a key picture: a second at most
			args = append(args, fmt.Sprintf("--intra=%d", max(int(fps), 1)))
		}
	} else {
		args = append(args, "--codec=mjpeg")
		if s.options["quality"] == "" {
			args = append(args, fmt.Sprintf("--quality=%d", defaultQuality))
		}
	}
	for _, key := range slices.Sorted(maps.Keys(s.options)) {
		value := s.options[key]
		if key == "roi" || key == "awbgains" {
			value = strings.ReplaceAll(value, ":", ",")
		}
		args = append(args, "--"+key+"="+value)
	}
	return args
}

// look finds the first of the programs that is installed.
func look(names []string) (string, error) {
	for _, name := range names {
		if path, err := exec.LookPath(name); err == nil {
			return path, nil
		}
	}
	return "", fmt.Errorf("the program %s is not installed (apt install rpicam-apps-lite): %w", strings.Join(names, " or "), camera.ErrAbsent)
}
