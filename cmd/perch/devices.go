package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/perchcam/perch/pkg/api"
	"github.com/perchcam/perch/pkg/client"
)

func (a *app) devices() *cobra.Command {
	var asJSON, watch bool
	cmd := &cobra.Command{
		Use:   "devices",
		Short: "List the devices that are connected to the broker",
		Long: `List the devices that are connected to the broker: since when each is in its state, for how long its agent runs, and how long
ago its last picture came, whoever it was for.

With --watch a terminal shows the list as it changes, until Ctrl-C; elsewhere it is what perch watch tells, a line at a time.
With --json it is one object, {"devices":[…]}, as the broker has it.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			switch {
			case watch && !asJSON && terminal(a.stdout) && a.getenv("TERM") != "dumb":
				return a.liveDevices(cmd.Context())
			case watch:
				return a.watchDevices(cmd.Context(), "", asJSON)
			}
			return a.within(cmd.Context(), func(ctx context.Context, c *client.Client) error {
				list, err := c.Registry(ctx, "")
				switch {
				case err != nil:
					return err
				case asJSON:
					return a.json(list)
				case len(list.Devices) == 0:
					a.say("no device is connected")
					return nil
				}
				return table(a.stdout, list.Devices, nowOf(list))
			})
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "for programs")
	cmd.Flags().BoolVarP(&watch, "watch", "w", false, "go on, and show what changes")
	return cmd
}

// nowOf is the time from which a list's times count: the broker's clock and ours may differ.
func nowOf(list api.Devices) time.Time {
	if list.At.IsZero() { // an older broker
		return time.Now()
	}
	return list.At
}

// table writes the devices for a person.
func table(w io.Writer, list []api.Device, now time.Time) error {
	t := tabwriter.NewWriter(w, 0, 0, 3, ' ', 0)
	fmt.Fprintln(t, "DEVICE\tSTATE\tSINCE\tUPTIME\tVERSION\tCAMERAS\tSENSORS\tLAST PICTURE")
	for _, d := range list {
		var cameras, sensors []string
		for _, c := range d.Cameras {
			cameras = append(cameras, api.Text(c.Name+" ("+c.Kind+")"))
		}
		for _, s := range d.Sensors {
			sensors = append(sensors, api.Text(s.Name))
		}
		uptime, picture := "-", "-"
		if !d.Started.IsZero() && d.State == api.StateOnline {
			uptime = ago(now.Sub(d.Started))
		}
		if !d.Picture.IsZero() {
			picture = ago(now.Sub(d.Picture)) + " ago"
		}
		fmt.Fprintln(t, strings.Join([]string{
			api.Text(d.Name), api.Text(d.State), ago(now.Sub(d.Since)), uptime, orDash(api.Text(shortVersion(d.Version))),
			orDash(strings.Join(cameras, ", ")), orDash(strings.Join(sensors, ", ")), picture,
		}, "\t"))
	}
	return t.Flush()
}

// pseudo is a version that Go makes of a commit.
var pseudo = regexp.MustCompile(`^v\d+\.\d+\.\d+-(?:[\w.]*\.)?(\d{8})\d{6}-([0-9a-f]{7})[0-9a-f]{5}(\+dirty)?$`)

// shortVersion is what a table has room for: of a commit its day and the beginning of its name.
func shortVersion(version string) string {
	if m := pseudo.FindStringSubmatch(version); m != nil {
		return m[1] + "-" + m[2]
	}
	return version
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

func (a *app) watchCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "watch [DEVICE]",
		Short: "Tell of devices as they come and go",
		Long:  "Tell of devices, or of one, as they are and then as they come and go, until Ctrl-C. With --json it is one object per line.",
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return nil
			}
			return deviceArg(cmd, args)
		},
		ValidArgsFunction: a.completeDevice,
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.watchDevices(cmd.Context(), strings.Join(args, ""), asJSON)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "for programs")
	return cmd
}

// watchDevices tells of changes until Ctrl-C.
func (a *app) watchDevices(ctx context.Context, device string, asJSON bool) error {
	return a.with(ctx, func(c *client.Client) error {
		if err := a.sayWaiting(ctx, c, device); err != nil {
			return untilCtrlC(ctx, err)
		}
		for e, err := range c.Watch(ctx, device) {
			if ctx.Err() != nil {
				return nil // as it was meant to end
			}
			if err == nil {
				err = a.event(e, asJSON)
			}
			if err != nil {
				return err
			}
		}
		return errors.New("the broker has ended the watch")
	})
}

// sayWaiting tells a person why nothing is shown yet.
func (a *app) sayWaiting(ctx context.Context, c *client.Client, device string) error {
	list, err := c.Devices(ctx)
	if err != nil {
		return err
	}
	var names []string
	for _, d := range list {
		if d.Name == device {
			return nil
		}
		names = append(names, api.Text(d.Name))
	}
	switch {
	case device != "":
		a.say("device %q is not connected; waiting for it, until Ctrl-C", device)
		if len(names) > 0 {
			a.say("hint: %s", known(device, names))
		}
	case len(list) == 0:
		a.say("no device is connected; waiting for one, until Ctrl-C")
	}
	return nil
}

func (a *app) event(e api.DeviceEvent, asJSON bool) error {
	if asJSON {
		return a.jsonLine(e)
	}
	var err error
	switch {
	case e.Type == api.EventGap && e.Missed > 0:
		_, err = fmt.Fprintf(a.stdout, "%s  missed: %s; this is how it is now\n", clock(time.Now()), count(e.Missed, "change"))
	case e.Type == api.EventGap:
		_, err = fmt.Fprintf(a.stdout, "%s  changes may have been missed; this is how it is now\n", clock(time.Now()))
	case e.Device != nil:
		d := e.Device
		line := fmt.Sprintf("%s  %s %s", clock(d.Since), api.Text(d.Name), api.Text(d.State))
		if d.Reason != "" {
			line += ": " + api.Text(d.Reason)
		}
		_, err = fmt.Fprintln(a.stdout, line)
	}
	return err
}

func clock(t time.Time) string { return t.Local().Format(time.TimeOnly) }

func noArgs(_ *cobra.Command, args []string) error {
	if len(args) > 0 {
		return fmt.Errorf("%q is an argument too many", args[0])
	}
	return nil
}
