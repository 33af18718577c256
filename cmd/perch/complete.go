package main

import (
	"context"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/perchcam/perch/pkg/api"
	"github.com/perchcam/perch/pkg/client"
)

// patienceOfShell is for how long a person who has pressed Tab waits. A broker that has not answered by then offers nothing.
const patienceOfShell = time.Second

// completeDevice offers the names of devices to the shell, for one argument.
func (a *app) completeDevice(cmd *cobra.Command, args []string, prefix string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return a.completeDevices(cmd, args, prefix)
}

// completeDevices does the same for any number of arguments.
func (a *app) completeDevices(cmd *cobra.Command, args []string, prefix string) ([]string, cobra.ShellCompDirective) {
	return a.offer(cmd, "", args, prefix, func(d api.Device) []string { return []string{d.Name} })
}

// completeParts offers a device for the first argument, and what it has for the others, at most most of them.
func (a *app) completeParts(most int, parts func(api.Device) []string) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, prefix string) ([]string, cobra.ShellCompDirective) {
		switch {
		case len(args) == 0:
			return a.completeDevices(cmd, args, prefix)
		case len(args) > most:
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return a.offer(cmd, args[0], args[1:], prefix, parts)
	}
}

// completeOutput offers a device, an output of it, and how it can be.
func (a *app) completeOutput(cmd *cobra.Command, args []string, prefix string) ([]string, cobra.ShellCompDirective) {
	if len(args) == 2 {
		return []string{"on", "off"}, cobra.ShellCompDirectiveNoFileComp
	}
	return a.completeParts(1, outputsOf)(cmd, args, prefix)
}

// completeCamera offers the cameras of the devices that are named, for a flag.
func (a *app) completeCamera(cmd *cobra.Command, args []string, prefix string) ([]string, cobra.ShellCompDirective) {
	return a.offer(cmd, "", nil, prefix, func(d api.Device) (names []string) {
		if len(args) == 0 || slices.Contains(args, d.Name) {
			for _, c := range d.Cameras {
				names = append(names, c.Name)
			}
		}
		return names
	})
}

func sensorsOf(d api.Device) (names []string) {
	for _, s := range d.Sensors {
		names = append(names, s.Name)
	}
	return names
}

func outputsOf(d api.Device) (names []string) {
	for _, o := range d.Outputs {
		names = append(names, o.Name)
	}
	return names
}

// offer asks the broker for a device, "" all, and offers the names that pick takes from each, but for those that are there already.
func (a *app) offer(cmd *cobra.Command, device string, already []string, prefix string, pick func(api.Device) []string) ([]string, cobra.ShellCompDirective) {
	a.timeout, a.quiet = patienceOfShell, true
	found := map[string]bool{}
	_ = a.within(cmd.Context(), func(ctx context.Context, c *client.Client) error {
		list, err := c.Registry(ctx, device)
		for _, d := range list.Devices {
			for _, name := range pick(d) {
				// A name that is none could be more than one word to the shell.
				if strings.HasPrefix(name, prefix) && !slices.Contains(already, name) && api.CheckName("", name) == nil {
					found[name] = true
				}
			}
		}
		return err
	})
	return slices.Sorted(maps.Keys(found)), cobra.ShellCompDirectiveNoFileComp
}

// choices has the shell offer the values of a flag.
func choices(cmd *cobra.Command, flag string, values ...string) {
	_ = cmd.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp)) // fails for a flag that is not there
}

func (a *app) completeProfile(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	saved, err := loadProfiles()
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return slices.Sorted(maps.Keys(saved.Profiles)), cobra.ShellCompDirectiveNoFileComp
}
