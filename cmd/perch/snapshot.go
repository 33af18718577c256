package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/perchcam/perch/pkg/api"
	"github.com/perchcam/perch/pkg/client"
)

// snapshot is one run of the command.
type snapshot struct {
	a       *app
	want    picture
	out     string
	force   bool
	all     bool
	show    protocol
	maxAge  time.Duration
	settled bool
}

func (a *app) snapshot() *cobra.Command {
	s := &snapshot{a: a}
	cmd := &cobra.Command{
		Use:   "snapshot DEVICE... [-o FILE | -o DIR | -o -]",
		Short: "Take a picture, or one of each of many devices",
		Long: `Take a picture with a device's camera and write it to a file, or to standard output with -o -. Without -o a terminal that can
show pictures shows it.

Several devices, a pattern such as 'pi-*' (quoted, so that the shell leaves it alone) or --all take one picture of each, all at
the same time, into the folder -o (default the present one) as DEVICE-CAMERA-NUMBER.jpg. A device that does not answer within
--timeout delays none of the others.

A picture is newer than the command, unless --max-age takes an older one. No file is overwritten without --force, and a file
appears under its name only when it is whole.`,
		Args:              s.args,
		ValidArgsFunction: a.completeDevices,
		RunE: func(cmd *cobra.Command, args []string) error {
			if s.all || len(args) > 1 || isPattern(args[0]) {
				return s.many(cmd.Context(), args)
			}
			return s.one(cmd.Context(), args[0])
		},
	}
	f := cmd.Flags()
	f.StringVarP(&s.out, "output", "o", "", "`FILE` or folder to write to, or - for standard output")
	f.BoolVarP(&s.force, "force", "f", false, "overwrite")
	f.BoolVar(&s.all, "all", false, "one picture of each device that is online")
	s.want.flags(a, cmd)
	spanFlag(f, &s.maxAge, "max-age", 0, "take a picture that is no older, instead of a new one")
	f.BoolVar(&s.settled, "settled", false, "wait until exposure and colour have settled")
	f.Var(&s.show, "show", "`HOW` a terminal is shown the picture: auto, kitty, iterm2 or sixel")
	choices(cmd, "show", "auto", "kitty", "iterm2", "sixel")
	return cmd
}

func (s *snapshot) args(_ *cobra.Command, args []string) error {
	switch {
	case s.all && len(args) > 0:
		return fmt.Errorf("--all is all devices; %q is an argument too many", args[0])
	case !s.all && len(args) == 0:
		return hinted(errors.New("which device?"), "perch devices lists them")
	}
	for i, arg := range args {
		if err := checkPattern(arg); err != nil {
			return fileMeant(arg, err)
		}
		if i > 0 && s.out == "" && pictureExtension(arg) { // a device may be called so, and is not
			return hinted(fmt.Errorf("%q looks like a file, and is in the place of a device", arg), "did you mean -o "+arg+"?")
		}
	}
	return nil
}

func (s *snapshot) options() client.SnapshotOptions {
	w := s.want
	return client.SnapshotOptions{
		Camera: w.camera, Width: w.size.w, Height: w.size.h, Quality: w.quality, MaxAge: s.maxAge, Settled: s.settled, Wait: w.wait,
	}
}

// one takes one picture.
func (s *snapshot) one(ctx context.Context, device string) error {
	put, err := s.destination(device)
	if err != nil {
		return err
	}
	defer put.close()
	return s.a.with(ctx, func(c *client.Client) error {
		ctx, cancel := context.WithTimeout(ctx, s.a.timeout-s.a.dialed+s.want.wait)
		defer cancel()
		pic, err := c.Snapshot(ctx, device, s.options())
		if err != nil {
			return err
		}
		where, err := put.write(pic)
		if err != nil {
			return err
		}
		s.a.say("%s: %s, %s old, %s", where, dimensions(pic), pic.Age, size(int64(len(pic.Data))))
		return nil
	})
}

func dimensions(p client.Picture) string {
	return fmt.Sprintf("%d x %d %s", p.Width, p.Height, api.Text(p.Format))
}

// destination is where one picture goes: to a file, to a terminal, or to the next program.
type destination struct {
	a      *app
	device string
	folder *folder // nil: standard output
	name   string  // "": named after the picture
	show   protocol
}

func (s *snapshot) destination(device string) (*destination, error) {
	tty := terminal(s.a.stdout)
	switch s.out {
	case "":
		show := s.show.choose(s.a.getenv, tty)
		if show == noPictures {
			return nil, &usageError{errors.New("where should the picture go? -o FILE, or -o - for standard output")}
		}
		return &destination{a: s.a, device: device, show: show}, nil
	case "-":
		if tty {
			return nil, &usageError{errors.New("standard output is a terminal, which would show the picture as garbage: use -o FILE, or a pipe")}
		}
		return &destination{a: s.a, device: device}, nil
	}
	dir, name := filepath.Split(s.out)
	if info, err := os.Stat(s.out); err == nil && info.IsDir() {
		dir, name = s.out, "" // named when it is known what it is
	} else if err := notJPEG(s.out); err != nil {
		return nil, err
	}
	if dir == "" {
		dir = "."
	}
	folder, err := openFolder(dir, s.force)
	if err != nil {
		return nil, err
	}
	if name != "" {
		if err := folder.check(name); err != nil {
			folder.close()
			return nil, err
		}
	}
	return &destination{a: s.a, device: device, folder: folder, name: name}, nil
}

func (d *destination) close() {
	if d.folder != nil {
		d.folder.close()
	}
}

// write puts the picture there, and says where that is.
func (d *destination) write(p client.Picture) (where string, err error) {
	switch {
	case d.show != "":
		return d.device, show(d.a.stdout, d.show, p.Data)
	case d.folder == nil:
		_, err := d.a.stdout.Write(p.Data)
		return "standard output", err
	}
	name := d.name
	if name == "" {
		name = fileName(d.device, p, 0)
	}
	return filepath.Join(d.folder.path, name), d.folder.write(name, p.Data)
}
