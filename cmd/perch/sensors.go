package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/perchcam/perch/pkg/api"
	"github.com/perchcam/perch/pkg/client"
)

func (a *app) sensors() *cobra.Command {
	var asJSON, follow, latest bool
	var form readingForm
	cmd := &cobra.Command{
		Use:   "sensors DEVICE [SENSOR...]",
		Short: "Read a device's sensors",
		Long: `Read a device's sensors, all of them or those named.

With --follow it goes on with what happens, until Ctrl-C. Nothing is left out silently: what was missed is told as a gap.
With --json it is one object per line. With --format senml it is for programs that know SenML (RFC 8428): one pack, or with --follow one
per line, without what SenML has no words for: gaps, errors and sequence numbers.`,
		Args:              deviceAndNames("sensor"),
		ValidArgsFunction: a.completeParts(64, sensorsOf),
		RunE: func(cmd *cobra.Command, args []string) error {
			device, names := args[0], args[1:]
			if asJSON {
				form = formJSON
			}
			if follow {
				return a.followSensors(cmd.Context(), device, client.SensorsOptions{Names: names, Latest: latest}, form)
			}
			return a.within(cmd.Context(), func(ctx context.Context, c *client.Client) error {
				list, err := c.Readings(ctx, device, names...)
				switch {
				case err != nil:
					return err
				case form == formSenML:
					return a.senML(device, list...)
				case form == formJSON:
					for _, r := range list {
						if err := a.jsonLine(r); err != nil {
							return err
						}
					}
					return nil
				case len(list) == 0:
					a.say("%s has no sensors", device)
					return nil
				}
				for _, r := range list {
					if r.Error != nil && r.Error.Hint != "" {
						a.say("hint: %s: %s", api.Text(r.Sensor), api.Text(r.Error.Hint))
					}
				}
				return readingsTable(a.stdout, list)
			})
		},
	}
	f := cmd.Flags()
	f.BoolVarP(&follow, "follow", "f", false, "go on, and tell of what happens")
	f.BoolVar(&latest, "latest", false, "with --follow: only the last state where there is no time for every change")
	f.Var(&form, "format", "`FORM` of what is written: text, json or senml")
	choices(cmd, "format", "text", "json", "senml")
	f.BoolVar(&asJSON, "json", false, "for programs: --format json")
	return cmd
}

// readingForm is how readings are written; "" is text.
type readingForm string

const (
	formJSON  readingForm = "json"
	formSenML readingForm = "senml"
)

func (f *readingForm) String() string { return string(*f) }
func (f *readingForm) Type() string   { return "FORM" }

// Set implements pflag.Value.
func (f *readingForm) Set(s string) error {
	switch s {
	case "text":
		s = ""
	case "json", "senml":
	default:
		return errors.New("it must be text, json or senml")
	}
	*f = readingForm(s)
	return nil
}

// senML writes one pack, whose names begin with the device's.
func (a *app) senML(device string, list ...api.Reading) error {
	pack, err := api.SenML(device+"/", list...)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(a.stdout, "%s\n", pack)
	return err
}

func deviceAndNames(what string) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		if len(args) == 0 {
			return deviceArg(nil, nil)
		}
		for i, arg := range args {
			kind := what
			if i == 0 {
				kind = "device"
			}
			if err := api.CheckName(kind, arg); err != nil {
				return err
			}
		}
		return nil
	}
}

func readingsTable(w io.Writer, list []api.Reading) error {
	t := tabwriter.NewWriter(w, 0, 0, 3, ' ', 0)
	fmt.Fprintln(t, "SENSOR\tCLASS\tSTATE\tAT")
	for _, r := range list {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\n", api.Text(r.Sensor), orDash(api.Text(r.Class)), orDash(readingText(r)), moment(r.At))
	}
	return t.Flush()
}

func moment(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.Local().Format(time.DateTime)
}

// readingText is what a reading says, safe for a terminal.
func readingText(r api.Reading) string {
	var parts []string
	switch {
	case r.Type == api.ReadingGap:
		return missingText(r)
	case r.Type == api.ReadingStorm:
		parts = append(parts, "changes too often to be told")
	case r.Type == api.ReadingCalm:
		parts = append(parts, "calm again")
	case r.Error != nil:
		text := "cannot be read: " + r.Error.Text
		if !r.LastOK.IsZero() {
			text += ", last at " + moment(r.LastOK)
		}
		parts = append(parts, text)
	}
	if r.On != nil {
		parts = append(parts, onOff(*r.On))
	}
	if r.Count != nil {
		parts = append(parts, count(*r.Count, "time")+" since boot")
	}
	for _, v := range r.Values {
		parts = append(parts, fmt.Sprintf("%s %.6g %s", v.Quantity, v.Value, unit(v.Unit)))
	}
	return api.Text(strings.Join(parts, ", "))
}

// missingText says what is missing, and why.
func missingText(r api.Reading) string {
	missing := "readings are missing, nobody knows how many"
	if r.Missed > 0 {
		missing = areMissing(r.Missed, "reading")
	}
	switch r.Reason {
	case api.GapKernel:
		missing += ": they came faster than the agent took them from the kernel"
	case api.GapRestart:
		missing += ": the agent has started anew"
	case api.GapRing:
		missing += ": they came faster than they could be told"
	}
	return missing
}

// unit is how people write a unit that SenML spells for programs.
func unit(senml string) string {
	switch senml {
	case "Cel":
		return "°C"
	case "/":
		return ""
	}
	return senml
}

func onOff(on bool) string {
	if on {
		return "on"
	}
	return "off"
}

func (a *app) followSensors(ctx context.Context, device string, o client.SensorsOptions, form readingForm) error {
	return a.with(ctx, func(c *client.Client) error {
		for r, err := range c.Sensors(ctx, device, o) {
			switch {
			case ctx.Err() != nil:
				return nil // as it was meant to end
			case err != nil:
				return err
			case form == formSenML:
				if r.On == nil && len(r.Values) == 0 {
					continue
				}
				err = a.senML(device, r)
			case form == formJSON:
				err = a.jsonLine(r)
			default:
				at := r.At
				if at.IsZero() {
					at = time.Now()
				}
				_, err = fmt.Fprintf(a.stdout, "%s  %s  %s\n", at.Local().Format("15:04:05.000"), orDash(api.Text(r.Sensor)), readingText(r))
			}
			if err != nil {
				return err
			}
		}
		return errors.New("the device has ended the watch")
	})
}

func (a *app) set() *cobra.Command {
	var span time.Duration
	cmd := &cobra.Command{
		Use:   "set DEVICE OUTPUT on|off",
		Short: "Switch one of a device's outputs",
		Long: `Switch one of a device's outputs.

An output that is on goes back to its safe state by itself after --for, or after the longest time that the device allows.
The request is never sent twice.`,
		Args: func(_ *cobra.Command, args []string) error {
			switch {
			case len(args) != 3:
				return errors.New("it needs a device, an output, and on or off")
			case args[2] != "on" && args[2] != "off":
				return fmt.Errorf("%q is neither on nor off", args[2])
			}
			return deviceAndNames("output")(nil, args[:2])
		},
		ValidArgsFunction: a.completeOutput,
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.within(cmd.Context(), func(ctx context.Context, c *client.Client) error {
				s, err := c.Set(ctx, args[0], args[1], args[2] == "on", span)
				if err != nil {
					return err
				}
				text := fmt.Sprintf("%s: %s is %s", args[0], args[1], onOff(s.On))
				if !s.Until.IsZero() {
					text += " until " + s.Until.Local().Format(time.TimeOnly)
				}
				a.say("%s", text)
				return nil
			})
		},
	}
	spanFlag(cmd.Flags(), &span, "for", 0, "how long (default as long as the device allows)")
	return cmd
}
