package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/perchcam/perch/pkg/api"
	"github.com/perchcam/perch/pkg/client"
)

// albumRun is one run of the command.
type albumRun struct {
	a      *app
	camera string
	out    string
	force  bool
	json   bool
}

func (a *app) album() *cobra.Command {
	r := &albumRun{a: a}
	cmd := &cobra.Command{
		Use:   "album DEVICE [-o DIR]",
		Short: "List or fetch the pictures that a device took by itself",
		Long: `List the pictures that a device's triggers took (PERCH_TRIGGERS), whether it had a link or not. The device keeps them in its memory:
old ones make room for new ones, and a restart of its agent ends them all.

With -o they are written to a folder, which is made if it is missing, as DEVICE-CAMERA-RUN-NUMBER.jpg. Those that are there already are
left out, so the same command again brings what is new.`,
		Args:              deviceArg,
		ValidArgsFunction: a.completeDevice,
		RunE:              func(cmd *cobra.Command, args []string) error { return r.run(cmd.Context(), args[0]) },
	}
	f := cmd.Flags()
	f.StringVarP(&r.out, "output", "o", "", "`FOLDER` to write the pictures to")
	f.BoolVarP(&r.force, "force", "f", false, "write those that are there again")
	f.StringVar(&r.camera, "camera", "", "only of this `CAMERA`")
	f.BoolVar(&r.json, "json", false, "for programs")
	return cmd
}

func (r *albumRun) run(ctx context.Context, device string) error {
	return r.a.with(ctx, func(c *client.Client) error {
		asking, cancel := context.WithTimeout(ctx, r.a.timeout)
		defer cancel()
		list, err := c.Album(asking, device, r.camera)
		switch {
		case err != nil:
			return err
		case r.json:
			err = r.a.json(list)
		case r.out == "" && len(list.Pictures) == 0:
			r.a.say("the album of %s is empty", device)
		case r.out == "":
			err = albumTable(r.a.stdout, list)
		}
		if err != nil {
			return err
		}
		if text := goneText(list); text != "" && !r.json {
			r.a.say("not in the album: %s", text)
		}
		if r.out == "" {
			return nil
		}
		return r.fetch(ctx, c, device, list)
	})
}

// fetch writes the pictures that are not there yet.
func (r *albumRun) fetch(ctx context.Context, c *client.Client, device string, list api.Album) error {
	put, err := makeFolder(r.out, r.force)
	if err != nil {
		return err
	}
	defer put.close()
	written, there, gone := 0, 0, 0
	for _, p := range list.Pictures {
		name := albumName(device, p.Header)
		if err := put.check(name); errors.Is(err, fs.ErrExist) {
			there++
			continue
		} else if err != nil {
			return err
		}
		asking, cancel := context.WithTimeout(ctx, r.a.timeout)
		pic, err := c.AlbumPicture(asking, device, list, p.Picture)
		cancel()
		if errors.Is(err, client.ErrInvalid) { // it has left the album since
			gone++
			continue
		}
		if err == nil {
			err = put.write(name, pic.Data)
		}
		if err != nil {
			return err
		}
		written++
	}
	text := fmt.Sprintf("%s: %d new", filepath.Clean(r.out), written)
	if there > 0 {
		text += fmt.Sprintf(", %d there already", there)
	}
	if gone > 0 {
		text += fmt.Sprintf(", %d gone from the album meanwhile", gone)
	}
	r.a.say("%s", text)
	return nil
}

// albumName is the same whenever a picture is fetched.
func albumName(device string, h api.FrameHeader) string {
	return api.FileName(fmt.Sprintf("%s-%s-%.6s-%08d", device, h.Camera, h.Boot, h.Seq)) + "." + extension(h.Format)
}

func albumTable(w io.Writer, list api.Album) error {
	t := tabwriter.NewWriter(w, 0, 0, 3, ' ', 0)
	fmt.Fprintln(t, "PICTURE\tCAMERA\tBECAUSE\tTAKEN\tSIZE")
	for _, p := range list.Pictures {
		fmt.Fprintf(t, "%d\t%s\t%s %s\t%s\t%s\n", p.Picture, api.Text(p.Header.Camera), api.Text(p.Sensor), onOff(p.On), moment(p.Header.At), size(int64(p.Bytes)))
	}
	return t.Flush()
}

// goneText says why how many pictures are missing.
func goneText(list api.Album) string {
	words := map[string]string{
		api.GoneKeep: "more than their trigger keeps", api.GoneRoom: "made room for newer ones", api.GoneTooLarge: "too large",
		api.GoneFailed: "the camera had none", api.GoneMerged: "the picture before was newer than the edge",
	}
	var parts []string
	for _, reason := range slices.Sorted(maps.Keys(list.Gone)) {
		text := words[reason]
		if text == "" { // a later version's
			text = api.Text(reason)
		}
		parts = append(parts, fmt.Sprintf("%d %s", list.Gone[reason], text))
	}
	return strings.Join(parts, ", ")
}
