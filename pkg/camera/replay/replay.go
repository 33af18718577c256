// Package replay is a camera whose pictures come from files: a folder of
// JPEGs, in the order of their names, or one file of JPEGs one after the
// other (Motion JPEG, as ffmpeg and rpicam-vid write it). At the end it begins
// again. Pictures are read one at a time, so a long file costs no memory.
package replay

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/perchcam/perch/pkg/camera"
	"github.com/perchcam/perch/pkg/camera/internal/mjpeg"
	"github.com/perchcam/perch/pkg/camera/internal/pace"
)

const (
	defaultFPS = 10
	maxPicture = 64 << 20
)

// Source plays a file or a folder.
type Source struct{ path string }

// New gives the source for a spec of kind replay, whose address is a file or
// a folder. It need not exist yet.
func New(spec camera.Spec) (*Source, error) {
	switch spec.Want.Format {
	case 0, camera.MJPEG, camera.JPEG:
	default:
		return nil, fmt.Errorf("camera %s: kind replay gives mjpeg only: %w", spec.Name, camera.ErrUnsupported)
	}
	if err := spec.CheckOptions(); err != nil {
		return nil, err
	}
	return &Source{path: spec.Address}, nil
}

// Describe looks at the first picture.
func (s *Source) Describe(context.Context) (camera.Info, error) {
	info := camera.Info{Kind: camera.KindReplay, Address: s.path, Card: "Replay of " + filepath.Base(s.path)}
	for p, err := range s.pictures() {
		if err != nil {
			return info, err
		}
		info.Modes = []camera.Mode{{Format: camera.MJPEG, Width: p.Width, Height: p.Height}}
		return info, nil
	}
	return info, s.empty()
}

// Frames plays at the rate wanted, over and over. Size cannot be chosen.
func (s *Source) Frames(ctx context.Context, want camera.Want) iter.Seq2[camera.Frame, error] {
	return func(yield func(camera.Frame, error) bool) {
		fps := want.FPS
		if fps == 0 {
			fps = defaultFPS
		}
		period := time.Duration(float64(time.Second) / min(fps, 1000))
		next, stop := iter.Pull2(pace.Beat(ctx, period))
		defer stop()
		for {
			any := false
			for p, err := range s.pictures() {
				if errors.Is(err, mjpeg.ErrTorn) && ctx.Err() == nil {
					if want.Dropped != nil {
						want.Dropped(camera.DropTorn)
					}
					continue
				}
				n, now, ok := next()
				if !ok {
					return
				}
				if err != nil {
					yield(camera.Frame{}, err)
					return
				}
				any = true
				if !yield(camera.Frame{
					Seq: n, Mono: now, Period: period,
					Format: camera.MJPEG, Width: p.Width, Height: p.Height, Data: p.data,
				}, nil) {
					return
				}
			}
			if !any {
				yield(camera.Frame{}, s.empty())
				return
			}
		}
	}
}

func (s *Source) empty() error {
	return fmt.Errorf("there is no whole JPEG picture in %s: %w", s.path, camera.ErrAbsent)
}

// picture is one picture, valid until the next.
type picture struct {
	mjpeg.Layout
	data []byte
}

// pictures reads everything once. ErrTorn is not the end; other errors are.
func (s *Source) pictures() iter.Seq2[picture, error] {
	return func(yield func(picture, error) bool) {
		st, err := os.Stat(s.path)
		if err == nil && st.IsDir() {
			err = s.folder(yield)
		} else if err == nil {
			err = s.file(yield)
		}
		switch {
		case err == nil:
		case errors.Is(err, fs.ErrNotExist):
			yield(picture{}, fmt.Errorf("cannot replay: %w (%w)", camera.ErrAbsent, err))
		case errors.Is(err, fs.ErrPermission):
			yield(picture{}, fmt.Errorf("cannot replay: %w (%w)", camera.ErrDenied, err))
		default:
			yield(picture{}, fmt.Errorf("cannot replay %s: %w", s.path, err))
		}
	}
}

func (s *Source) folder(yield func(picture, error) bool) error {
	entries, err := os.ReadDir(s.path) // sorted by name
	if err != nil {
		return err
	}
	entries = slices.DeleteFunc(entries, func(e fs.DirEntry) bool {
		ext := strings.ToLower(filepath.Ext(e.Name()))
		return e.IsDir() || ext != ".jpg" && ext != ".jpeg"
	})
	var buf bytes.Buffer // of one picture after the other: a Frame's data is valid only inside the iteration
	for _, e := range entries {
		name := filepath.Join(s.path, e.Name())
		if st, err := os.Stat(name); err != nil || !st.Mode().IsRegular() || st.Size() > maxPicture {
			continue // gone since, or no picture
		}
		err := read(&buf, name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		b := buf.Bytes()
		l, err := mjpeg.Walk(b)
		if err != nil {
			if !yield(picture{}, mjpeg.ErrTorn) {
				return nil
			}
			continue
		}
		if !yield(picture{l, b[:l.End]}, nil) {
			return nil
		}
	}
	return nil
}

// read fills buf with a file.
func read(buf *bytes.Buffer, name string) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	buf.Reset()
	_, err = buf.ReadFrom(f)
	return err
}

func (s *Source) file(yield func(picture, error) bool) error {
	f, err := os.Open(s.path)
	if err != nil {
		return err
	}
	defer f.Close()
	r := mjpeg.NewReader(f, maxPicture)
	torn := 0
	r.Torn = func() { torn++ }
	for {
		b, l, err := r.Next()
		for ; torn > 0; torn-- {
			if !yield(picture{}, mjpeg.ErrTorn) {
				return nil
			}
		}
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case errors.Is(err, io.ErrUnexpectedEOF):
			yield(picture{}, mjpeg.ErrTorn)
			return nil
		case err != nil:
			return err
		}
		if !yield(picture{l, b}, nil) {
			return nil
		}
	}
}
