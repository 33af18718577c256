package main

import (
	"context"
	"errors"
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

func (a *app) health() *cobra.Command {
	cmd := a.about("health", "Say whether everything in a device's agent goes on", api.RouteHealth,
		func(ctx context.Context, c *client.Client, device string, asJSON bool) error {
			h, err := c.Health(ctx, device)
			switch {
			case err != nil:
				return err
			case asJSON:
				err = a.json(h)
			default:
				err = healthTable(a.stdout, h)
			}
			if err == nil && !h.OK {
				err = fmt.Errorf("%s is not well", device)
			}
			return err
		})
	cmd.Long = cmd.Short + ". The exit code is 1 if something does not."
	return cmd
}

func healthTable(w io.Writer, h api.Health) error {
	now := h.At       // the device's clock, which may be wrong
	if now.IsZero() { // an older agent
		now = time.Now()
	}
	t := tabwriter.NewWriter(w, 0, 0, 3, ' ', 0)
	fmt.Fprintln(t, "PART\tOK\tSTATE\tSINCE")
	for _, l := range h.Loops {
		ok, state, last := "yes", l.State, "-"
		if !l.OK {
			ok = "no"
		}
		if l.Error != "" {
			state = strings.TrimPrefix(state+": "+l.Error, ": ")
		}
		if !l.Last.IsZero() {
			last = ago(now.Sub(l.Last))
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\n", api.Text(l.Name), ok, orDash(api.Text(state)), last)
	}
	return t.Flush()
}

func (a *app) metrics() *cobra.Command {
	return a.about("metrics", "Print a device's counters as Prometheus reads them", "",
		func(ctx context.Context, c *client.Client, device string, _ bool) error {
			text, err := c.Metrics(ctx, device)
			for line := range strings.Lines(text) {
				if err == nil {
					_, err = fmt.Fprintln(a.stdout, api.Text(strings.TrimRight(line, "\r\n")))
				}
			}
			return err
		})
}

func (a *app) logs() *cobra.Command {
	var o client.LogsOptions
	lines := number(20)
	var asJSON bool
	cmd := &cobra.Command{
		Use:               "logs DEVICE",
		Short:             "Print what a device's agent has logged",
		Args:              deviceArg,
		ValidArgsFunction: a.completeDevice,
		RunE: func(cmd *cobra.Command, args []string) error {
			o.Lines = int(lines)
			if o.Follow {
				return a.with(cmd.Context(), func(c *client.Client) error { return a.tail(cmd.Context(), c, args[0], o, asJSON) })
			}
			return a.within(cmd.Context(), func(ctx context.Context, c *client.Client) error { return a.tail(ctx, c, args[0], o, asJSON) })
		},
	}
	f := cmd.Flags()
	f.VarP(&lines, "lines", "n", "of the past, at most")
	f.StringVar(&o.Level, "level", "info", "`LEVEL` and above: debug, info, warn or error")
	choices(cmd, "level", "debug", "info", "warn", "error")
	f.BoolVarP(&o.Follow, "follow", "f", false, "go on with new ones")
	f.BoolVar(&asJSON, "json", false, "for programs, one object per line")
	return cmd
}

func (a *app) tail(ctx context.Context, c *client.Client, device string, o client.LogsOptions, asJSON bool) error {
	for l, err := range c.Logs(ctx, device, o) {
		switch {
		case o.Follow && ctx.Err() != nil:
			return nil // as it was meant to end
		case err != nil:
			return err
		case asJSON:
			err = a.jsonLine(l)
		default:
			_, err = fmt.Fprintln(a.stdout, logText(l))
		}
		if err != nil {
			return err
		}
	}
	if o.Follow {
		return errors.New("the device has ended the log")
	}
	return nil
}

// logText is a log line in one line, safe for a terminal.
func logText(l api.LogLine) string {
	parts := []string{l.At.Local().Format(time.DateTime), fmt.Sprintf("%-5s", l.Level), l.Text}
	for _, key := range slices.Sorted(maps.Keys(l.Attrs)) {
		parts = append(parts, fmt.Sprintf("%s=%v", key, l.Attrs[key]))
	}
	return api.Text(strings.Join(parts, " "))
}
