package main

import (
	"context"
	"errors"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/perchcam/perch/pkg/api"
	"github.com/perchcam/perch/pkg/client"
)

func (a *app) timelapse() *cobra.Command {
	var (
		want    picture
		out     string
		force   bool
		every   time.Duration
		n       uint32
		span    time.Duration
		settled bool
	)
	cmd := &cobra.Command{
		Use:   "timelapse DEVICE -o DIR",
		Short: "Take a picture at a steady interval",
		Long: `Take a picture every so often and write each to a file of its own, named DEVICE-CAMERA-TIME.jpg with the time in UTC.

A picture that cannot be had is told of and left out; the next one is tried at its time. Between two pictures the device's
camera may be off. Without -n or --for it goes on until Ctrl-C.

  ffmpeg -framerate 25 -pattern_type glob -i 'hens/*.jpg' hens.mp4`,
		Args:              deviceArg,
		ValidArgsFunction: a.completeDevice,
		RunE: func(cmd *cobra.Command, args []string) error {
			switch {
			case out == "":
				return &usageError{errors.New("where should the pictures go? -o DIR")}
			case every < 100*time.Millisecond:
				return &usageError{errors.New("--every must be 100ms or more; perch stream is for less")}
			}
			if err := notAFolder(out, args[0]); err != nil {
				return err
			}
			folder, err := makeFolder(out, force)
			if err != nil {
				return err
			}
			defer folder.close()
			l := &lapse{device: args[0], folder: folder, every: every, count: int(n), span: span, options: client.SnapshotOptions{
				Camera: want.camera, Width: want.size.w, Height: want.size.h, Quality: want.quality, Settled: settled, Wait: want.wait,
			}}
			return a.with(cmd.Context(), func(c *client.Client) error { return l.run(cmd.Context(), a, c) })
		},
	}
	f := cmd.Flags()
	f.StringVarP(&out, "output", "o", "", "`DIR` for the files, which is made if it is missing")
	spanFlag(f, &every, "every", 10*time.Second, "from one picture to the next")
	f.VarP((*number)(&n), "count", "n", "how many pictures (default without end)")
	spanFlag(f, &span, "for", 0, "how long (default without end)")
	f.BoolVarP(&force, "force", "f", false, "overwrite")
	f.BoolVar(&settled, "settled", false, "wait each time until exposure and colour have settled")
	want.flags(a, cmd)
	return cmd
}

// lapse is one run of the command.
type lapse struct {
	device  string
	folder  *folder
	every   time.Duration
	count   int
	span    time.Duration
	options client.SnapshotOptions

	taken, failed int
}

// run takes pictures. Their times are multiples of the interval from the first on, however long each one takes.
func (l *lapse) run(ctx context.Context, a *app, c *client.Client) error {
	began := time.Now()
	for i := 0; l.count == 0 || i < l.count; i++ {
		due := time.Duration(i) * l.every
		if late := time.Since(began) - due; late > l.every { // the time has passed while another one was waited for
			l.failed++
			continue
		}
		if l.span > 0 && due >= l.span {
			break
		}
		select {
		case <-time.After(time.Until(began.Add(due))):
		case <-ctx.Done():
		}
		if ctx.Err() != nil {
			break
		}
		if err := l.one(ctx, a, c); err != nil {
			if i == 0 { // not one picture yet: most likely it is the command that is wrong
				return err
			}
			l.failed++
			a.say("%s: %v", l.device, err)
		}
	}
	a.say("%s of %s, %d missing", count(l.taken, "picture"), l.device, l.failed)
	if ctx.Err() != nil && l.count > 0 {
		return context.Cause(ctx)
	}
	return nil
}

func (l *lapse) one(ctx context.Context, a *app, c *client.Client) error {
	ctx, cancel := context.WithTimeout(ctx, a.timeout+l.options.Wait)
	defer cancel()
	pic, err := c.Snapshot(ctx, l.device, l.options)
	if err != nil {
		return err
	}
	at := time.Now()
	if pic.Age.Known {
		at = at.Add(-pic.Age.Age)
	}
	name := api.FileName(l.device+"-"+pic.Camera+"-"+at.UTC().Format("20060102T150405.000Z")) + "." + extension(pic.Format)
	if err := l.folder.write(name, pic.Data); err != nil {
		return err
	}
	l.taken++
	a.say("%s: %s", filepath.Join(l.folder.path, name), dimensions(pic))
	return nil
}
