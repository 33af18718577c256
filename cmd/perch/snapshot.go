package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/perchcam/perch/pkg/api"
	"github.com/perchcam/perch/pkg/client"
)

// picture says which pictures are wanted, as flags.
type picture struct {
	camera  string
	size    pixels
	quality int
	wait    time.Duration
}

func (p *picture) flags(f *pflag.FlagSet) {
	f.StringVar(&p.camera, "camera", "", "`NAME` of the camera (default the device's first)")
	f.Var(&p.size, "size", "`WxH` in pixels, at most (default the camera's own)")
	f.IntVar(&p.quality, "quality", 0, "of the JPEG, `1-100` (default the device's choice)")
	f.DurationVar(&p.wait, "wait", 0, "how long to wait for a device that is away (default the broker's choice)")
}

// pixels is a size such as 640x480, as a flag.
type pixels struct{ w, h int }

func (p *pixels) Type() string { return "WxH" }

func (p *pixels) String() string {
	if *p == (pixels{}) {
		return ""
	}
	return fmt.Sprintf("%dx%d", p.w, p.h)
}

func (p *pixels) Set(s string) error {
	w, h, ok := strings.Cut(strings.ToLower(s), "x")
	var err1, err2 error
	p.w, err1 = strconv.Atoi(w)
	p.h, err2 = strconv.Atoi(h)
	if !ok || err1 != nil || err2 != nil || p.w < 1 || p.h < 1 {
		return errors.New("it must be like 640x480")
	}
	return nil
}

func (a *app) snapshot() *cobra.Command {
	var (
		want    picture
		out     string
		force   bool
		maxAge  time.Duration
		settled bool
	)
	cmd := &cobra.Command{
		Use:   "snapshot DEVICE -o FILE",
		Short: "Take a picture",
		Long: `Take a picture with a device's camera and write it to a file, or to standard output with -o -.

The picture is newer than the command, unless --max-age takes an older one. No file is overwritten without --force, and
the file appears under its name only when it is whole.`,
		Args:              deviceArg,
		ValidArgsFunction: a.completeDevice,
		RunE: func(cmd *cobra.Command, args []string) error {
			device := args[0]
			put, err := a.destination(out, device, force)
			if err != nil {
				return err
			}
			defer put.close()
			return a.within(cmd.Context(), func(ctx context.Context, c *client.Client) error {
				pic, err := c.Snapshot(ctx, device, client.SnapshotOptions{
					Camera: want.camera, Width: want.size.w, Height: want.size.h, Quality: want.quality, MaxAge: maxAge, Settled: settled, Wait: want.wait,
				})
				if err != nil {
					return err
				}
				where, err := put.picture(pic)
				if err != nil {
					return err
				}
				a.say("%s: %s, %s old, %s", where, dimensions(pic), pic.Age, size(int64(len(pic.Data))))
				return nil
			})
		},
	}
	f := cmd.Flags()
	f.StringVarP(&out, "output", "o", "", "`FILE` to write, or - for standard output")
	f.BoolVarP(&force, "force", "f", false, "overwrite")
	want.flags(f)
	f.DurationVar(&maxAge, "max-age", 0, "take a picture that is no older, instead of a new one")
	f.BoolVar(&settled, "settled", false, "wait until exposure and colour have settled")
	return cmd
}

func dimensions(p client.Picture) string {
	return fmt.Sprintf("%d x %d %s", p.Width, p.Height, api.Text(p.Format))
}

// destination is where one picture goes.
type destination struct {
	a      *app
	device string
	folder *folder // nil: standard output
	name   string  // "": named after the picture
}

func (a *app) destination(out, device string, force bool) (*destination, error) {
	switch out {
	case "":
		return nil, &usageError{errors.New("where should the picture go? -o FILE, or -o - for standard output")}
	case "-":
		if terminal(a.stdout) {
			return nil, &usageError{errors.New("standard output is a terminal, which would show the picture as garbage: use -o FILE, or a pipe")}
		}
		return &destination{a: a, device: device}, nil
	}
	dir, name := filepath.Split(out)
	if info, err := os.Stat(out); err == nil && info.IsDir() {
		dir, name = out, "" // named when it is known what it is
	}
	if dir == "" {
		dir = "."
	}
	folder, err := openFolder(dir, force)
	if err != nil {
		return nil, err
	}
	if name != "" {
		if err := folder.check(name); err != nil {
			folder.close()
			return nil, err
		}
	}
	return &destination{a, device, folder, name}, nil
}

func (d *destination) close() {
	if d.folder != nil {
		d.folder.close()
	}
}

// picture writes it, and says where.
func (d *destination) picture(p client.Picture) (string, error) {
	if d.folder == nil {
		_, err := d.a.stdout.Write(p.Data)
		return "standard output", err
	}
	name := d.name
	if name == "" {
		name = fileName(d.device, p, 0)
	}
	return filepath.Join(d.folder.path, name), d.folder.write(name, p.Data)
}
