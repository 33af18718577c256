package main

import (
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/perchcam/perch/pkg/api"
	"github.com/perchcam/perch/pkg/client"
)

// isPattern reports whether an argument means devices by a pattern and not one by its name.
func isPattern(arg string) bool { return strings.ContainsAny(arg, `*?[\`) }

func checkPattern(arg string) error {
	if !isPattern(arg) {
		return api.CheckName("device", arg)
	}
	if _, err := path.Match(arg, ""); err != nil {
		return fmt.Errorf("%q is no pattern: * stands for anything, ? for one character, [a-c] for one of these", arg)
	}
	return nil
}

// matching returns the devices that the arguments mean, by name and each once. Of those meant by a pattern it leaves out
// devices that have no camera, or no link.
func matching(ctx context.Context, c *client.Client, args []string) ([]string, error) {
	var names []string
	var list []api.Device
	for _, arg := range args {
		if !isPattern(arg) {
			names = append(names, arg)
			continue
		}
		if list == nil {
			var err error
			if list, err = c.Devices(ctx); err != nil {
				return nil, err
			}
		}
		before := len(names)
		for _, d := range list {
			if ok, _ := path.Match(arg, d.Name); ok && d.State == api.StateOnline && len(d.Cameras) > 0 && api.CheckName("device", d.Name) == nil {
				names = append(names, d.Name)
			}
		}
		if len(names) == before {
			what := fmt.Sprintf("no device that is online and has a camera matches %q", arg)
			if arg == "*" {
				what = "no device with a camera is online"
			}
			return nil, &client.Error{Kind: client.ErrNoDevice, Text: what}
		}
	}
	slices.Sort(names)
	return slices.Compact(names), nil
}

const (
	atOnce    = 32          // pictures on their way, as long as they come; a picture is up to some MB
	slowAfter = time.Second // after which a device that says nothing gives its place to the next
)

// each calls do for every device, atOnce at a time or more where devices are slow. The first error of ctx ends it.
func each(ctx context.Context, devices []string, do func(ctx context.Context, device string)) {
	places := make(chan struct{}, atOnce)
	var work sync.WaitGroup
	defer work.Wait()
	for _, device := range devices {
		select {
		case places <- struct{}{}:
		case <-ctx.Done():
			return
		}
		leave := sync.OnceFunc(func() { <-places })
		slow := time.AfterFunc(slowAfter, leave)
		work.Go(func() {
			defer leave()
			defer slow.Stop()
			do(ctx, device)
		})
	}
}

// many takes one picture of each device.
func (s *snapshot) many(ctx context.Context, args []string) error {
	switch s.out {
	case "":
		s.out = "."
	case "-":
		return &usageError{errors.New("-o - is for one picture: name a folder, or one device")}
	}
	if pictureExtension(s.out) {
		return hinted(&usageError{fmt.Errorf("-o is for a folder here, and %s looks like one file", s.out)}, "leave the extension away, or name one device")
	}
	if s.all {
		args = []string{"*"}
	}
	folder, err := makeFolder(s.out, s.force)
	if err != nil {
		return err
	}
	defer folder.close()
	return s.a.with(ctx, func(c *client.Client) error {
		finding, cancel := context.WithTimeout(ctx, s.a.timeout)
		defer cancel()
		devices, err := matching(finding, c, args)
		if err != nil {
			return err
		}
		t := &toll{total: len(devices), began: time.Now()}
		bar := s.a.progress(len(devices), "pictures")
		each(ctx, devices, func(ctx context.Context, device string) {
			ctx, cancel := context.WithTimeout(ctx, s.a.timeout+s.want.wait)
			defer cancel()
			pic, err := c.Snapshot(ctx, device, s.options())
			if err == nil {
				err = folder.write(fileName(device, pic, 0), pic.Data)
			}
			t.add(len(pic.Data), err)
			if err != nil && ctx.Err() != context.Canceled {
				bar.say("%s: %v", device, err)
			}
			bar.step()
		})
		bar.done()
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		s.a.say("%s", t)
		return t.err()
	})
}

// toll counts what became of many.
type toll struct {
	total int
	began time.Time

	mu     sync.Mutex // guards the following
	bytes  int64
	failed []error
}

func (t *toll) add(n int, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if err != nil {
		t.failed = append(t.failed, err)
		return
	}
	t.bytes += int64(n)
}

func (t *toll) String() string {
	return fmt.Sprintf("%s of %s in %.1f s, %s", count(t.total-len(t.failed), "picture"), count(t.total, "device"), time.Since(t.began).Seconds(), size(t.bytes))
}

// err is what the command fails with. Where all failed in one way, that way is its exit code.
func (t *toll) err() error {
	if len(t.failed) == 0 {
		return nil
	}
	code, _ := judge(t.failed[0])
	for _, err := range t.failed[1:] {
		if other, _ := judge(err); other != code {
			code = exitFailed
		}
	}
	return &someError{fmt.Errorf("%d of %s failed", len(t.failed), count(t.total, "device")), code}
}

// someError is the failure of some of many, each of which has been told.
type someError struct {
	error
	code int
}
