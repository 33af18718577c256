package main

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/perchcam/perch/pkg/api"
	"github.com/perchcam/perch/pkg/client"
)

// about makes a command that says something of one device: for a person, or with --json as a route answers it.
func (a *app) about(use, short, route string, say func(ctx context.Context, c *client.Client, device string, asJSON bool) error) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:               use + " DEVICE",
		Short:             short,
		Args:              deviceArg,
		ValidArgsFunction: a.completeDevice,
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.within(cmd.Context(), func(ctx context.Context, c *client.Client) error { return say(ctx, c, args[0], asJSON) })
		},
	}
	if route != "" {
		cmd.Flags().BoolVar(&asJSON, "json", false, "for programs: the answer of the route "+route)
	}
	return cmd
}

func (a *app) info() *cobra.Command {
	return a.about("info", "Say what a device is and how it does", api.RouteInfo,
		func(ctx context.Context, c *client.Client, device string, asJSON bool) error {
			i, err := c.Info(ctx, device)
			if err != nil {
				return err
			}
			if asJSON {
				return a.json(i)
			}
			cameras, err := c.Cameras(ctx, device)
			if err != nil {
				return err
			}
			return writeInfo(a.stdout, i, cameras)
		})
}

func (a *app) cameras() *cobra.Command {
	return a.about("cameras", "List a device's cameras and what they can do", api.RouteCameras,
		func(ctx context.Context, c *client.Client, device string, asJSON bool) error {
			list, err := c.Cameras(ctx, device)
			switch {
			case err != nil:
				return err
			case asJSON:
				return a.json(api.CameraList{Cameras: list})
			case len(list) == 0:
				a.say("%s has no cameras", device)
			}
			for _, cam := range list {
				if err := writeCamera(a.stdout, cam); err != nil {
					return err
				}
			}
			return nil
		})
}

func writeInfo(w io.Writer, i api.Info, cameras []api.Camera) error {
	t := tabwriter.NewWriter(w, 0, 0, 3, ' ', 0)
	row := func(name, value string) {
		if value != "" {
			fmt.Fprintf(t, "%s\t%s\n", name, api.Text(value))
		}
	}
	row("device", i.Device)
	row("id", i.ID)
	row("version", i.Version)
	row("board", i.Model)
	row("system", strings.Join(slices.DeleteFunc([]string{i.OS, i.Arch, i.Kernel}, func(s string) bool { return s == "" }), " "))
	row("boot", i.Boot)
	row("uptime", ago(i.At.Sub(i.Started)))
	set := "not set by NTP"
	if i.Synced {
		set = "set by NTP"
	}
	row("clock", i.At.Local().Format(time.DateTime)+", "+set)
	row("link", "resumed "+count(i.Resumes, "time"))
	for _, why := range slices.Sorted(maps.Keys(i.Drops)) {
		row("dropped", fmt.Sprintf("%d %s", i.Drops[why], why))
	}
	for _, c := range cameras {
		row("camera", cameraLine(c))
	}
	return t.Flush()
}

// cameraLine is a camera in one line.
func cameraLine(c api.Camera) string {
	line := fmt.Sprintf("%s (%s), %s", c.Name, c.Kind, c.State)
	if c.Model != "" {
		line = fmt.Sprintf("%s (%s, %s), %s", c.Name, c.Kind, c.Model, c.State)
	}
	if c.Mode != nil {
		line += ", " + modeText(*c.Mode)
	}
	if c.Viewers > 0 {
		line += ", " + count(c.Viewers, "viewer")
	}
	if c.Error != "" {
		line += ": " + c.Error
	}
	return line
}

func modeText(m api.Mode) string {
	s := fmt.Sprintf("%d x %d %s", m.Width, m.Height, m.Format)
	var rates []string
	for _, fps := range m.FPS {
		rates = append(rates, fmt.Sprintf("%.4g", fps))
	}
	if len(rates) > 0 {
		s += " at " + strings.Join(rates, ", ") + " fps"
	}
	return s
}

// writeCamera is a camera with all it can do.
func writeCamera(w io.Writer, c api.Camera) error {
	if _, err := fmt.Fprintln(w, api.Text(cameraLine(c))); err != nil {
		return err
	}
	for _, m := range c.Modes {
		if _, err := fmt.Fprintln(w, "  "+api.Text(modeText(m))); err != nil {
			return err
		}
	}
	t := tabwriter.NewWriter(w, 0, 0, 3, ' ', 0)
	for _, k := range c.Controls {
		line := fmt.Sprintf("  %s\t%s\t%d (%d to %d, usually %d)", k.Name, k.Type, k.Value, k.Min, k.Max, k.Default)
		if k.Off {
			line += ", cannot be set now"
		}
		fmt.Fprintln(t, "  "+escapeColumns(line))
	}
	return t.Flush()
}

// escapeColumns makes text safe between the tabs that separate columns.
func escapeColumns(line string) string {
	columns := strings.Split(line, "\t")
	for i := range columns {
		columns[i] = api.Text(columns[i])
	}
	return strings.Join(columns, "\t")
}
