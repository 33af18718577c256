package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"

	"github.com/perchcam/perch/internal/version"
	"github.com/perchcam/perch/pkg/api"
	"github.com/perchcam/perch/pkg/client"
)

const long = `perch looks through the cameras of devices that are connected to a broker.

  perch devices                             which devices are there
  perch snapshot hen-house -o hens.jpg      one picture
  perch stream hen-house -n 100 -o hens/    a hundred, each in its file
  perch info hen-house                      what the device says of itself

The broker is named by --broker or the environment variable PERCH_BROKER, such as tcp://127.0.0.1:7878, or was saved by
perch login. Without any, --direct :7878 takes a device's connection itself.
Data goes to standard output, everything else to standard error.

Exit codes:
  0    done
  1    failed; the text says why
  2    a flag, an argument or a setting is wrong
  3    the device is not there: unknown, or away
  4    it took too long (--timeout)
  5    the broker cannot be reached, or has ended the connection
  6    the broker refuses: not permitted
  130  interrupted (Ctrl-C)`

// app is one run of the program.
type app struct {
	ui
	stdin  io.Reader
	getenv func(string) string

	settings
	direct  string // address to listen on, instead of a broker elsewhere
	timeout time.Duration
	dialed  time.Duration // of timeout, spent on connecting
	started bool          // flags and arguments were right
	device  string        // the one that the command is about; "": none, or several
}

// run runs one command and returns its exit code.
func run(ctx context.Context, args []string, getenv func(string) string, stdin io.Reader, stdout, stderr io.Writer) int {
	a := &app{ui: ui{stdout: stdout, stderr: stderr}, stdin: stdin, getenv: getenv}
	cmd := a.command()
	cmd.SetArgs(args)
	ran, err := cmd.ExecuteContextC(ctx)
	a.ui.command = ran.CommandPath()
	if err != nil && !a.started {
		err = &usageError{err}
		if !ran.HasParent() { // it stopped at the name of a command
			err = meant(cmd, args, err)
		}
	}
	return a.report(ctx, err)
}

func (a *app) command() *cobra.Command {
	cmd := &cobra.Command{
		Use:                        "perch",
		Short:                      "Look through the cameras of Perch's devices",
		Long:                       long,
		Version:                    version.String(),
		SilenceErrors:              true,
		SuggestionsMinimumDistance: 2,
		DisableSuggestions:         true, // they would be part of the error: see meant
		SilenceUsage:               true,
		PersistentPreRun:           func(cmd *cobra.Command, args []string) { a.started, a.device = true, deviceOf(cmd, args) },
	}
	cmd.SetOut(a.stdout)
	cmd.SetErr(a.stderr)
	cmd.SetVersionTemplate("perch {{.Version}}\n")
	f := cmd.PersistentFlags()
	a.settings.flags(f)
	f.StringVar(&a.direct, "direct", "", "`ADDRESS` to listen on, such as :7878, for devices that connect to this program and to no broker")
	spanFlag(f, &a.timeout, "timeout", 10*time.Second, "how long to wait for an answer, or for a stream's first picture")
	f.BoolVarP(&a.quiet, "quiet", "q", false, "say nothing but errors")
	_ = cmd.RegisterFlagCompletionFunc("profile", a.completeProfile)
	choices(cmd, "dialect", "rsocket-broker", "alibaba", "plain")
	cmd.AddCommand(a.devices(), a.watchCommand(), a.snapshot(), a.stream(), a.timelapse(), a.album(), a.sensors(), a.set(),
		a.view(), a.info(), a.cameras(), a.health(), a.metrics(), a.logs(), a.bench(), a.login(), a.logout(), a.profiles(), a.version(), a.man())
	return cmd
}

// deviceOf returns the device that a command is about, if its usage says that there is one.
func deviceOf(cmd *cobra.Command, args []string) string {
	_, usage, _ := strings.Cut(cmd.Use, " ")
	switch {
	case !strings.HasPrefix(usage, "DEVICE"), len(args) == 0, isPattern(args[0]), strings.HasPrefix(usage, "DEVICE...") && len(args) > 1:
		return ""
	}
	return args[0]
}

// meant adds the command that somebody may have meant.
func meant(cmd *cobra.Command, args []string, err error) error {
	for _, arg := range args {
		if strings.HasPrefix(arg, "-") {
			continue
		}
		if like := cmd.SuggestionsFor(arg); len(like) > 0 {
			return hinted(err, fmt.Sprintf("did you mean %s %s?", cmd.CommandPath(), like[0]))
		}
	}
	return err
}

func (a *app) version() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Say which version this is",
		Args:  noArgs,
		RunE: func(*cobra.Command, []string) error {
			_, err := fmt.Fprintln(a.stdout, "perch", version.String())
			return err
		},
	}
}

// with runs do with a client. Connecting may take --timeout.
func (a *app) with(ctx context.Context, do func(*client.Client) error) error {
	if a.direct != "" {
		d, err := a.newDirect()
		if err != nil {
			return err
		}
		return d.run(ctx, a.device, func(cfg client.Config) error { return a.dial(ctx, cfg, do) })
	}
	saved, err := loadProfiles()
	if err != nil {
		return err
	}
	cfg, err := a.config(a.getenv, saved)
	if err != nil {
		return err
	}
	return a.dial(ctx, cfg, do)
}

func (a *app) dial(ctx context.Context, cfg client.Config, do func(*client.Client) error) error {
	a.anonymous = cfg.Auth.Scheme == "" && (strings.HasPrefix(cfg.Broker, "tls:") || strings.HasPrefix(cfg.Broker, "wss:"))
	var talk linkTalk
	cfg.Linked = func(up bool) { talk.linked(&a.ui, up) }
	began := time.Now()
	dialing, cancel := context.WithTimeout(ctx, a.timeout)
	defer cancel()
	c, err := client.Dial(dialing, cfg)
	if err != nil {
		return err
	}
	a.dialed = time.Since(began)
	defer func() {
		talk.over.Store(true)
		_ = c.Close()
	}()
	return do(c)
}

// linkTalk tells a person what becomes of the link between the first connection and our own goodbye.
type linkTalk struct {
	over atomic.Bool
	lost bool // owned by linked, which is called by one goroutine at a time
}

func (t *linkTalk) linked(u *ui, up bool) {
	switch {
	case t.over.Load():
	case !up:
		t.lost = true
		u.say("the link to the broker is lost; trying again")
	case t.lost:
		u.say("the link to the broker is back")
	}
}

// within runs do with a client and a context that ends with --timeout.
func (a *app) within(ctx context.Context, do func(context.Context, *client.Client) error) error {
	return a.with(ctx, func(c *client.Client) error {
		ctx, cancel := context.WithTimeout(ctx, a.timeout-a.dialed)
		defer cancel()
		return do(ctx, c)
	})
}

// deviceArg takes exactly one argument, a device's name.
func deviceArg(_ *cobra.Command, args []string) error {
	switch len(args) {
	case 0:
		return hinted(errors.New("which device?"), "perch devices lists them")
	case 1:
		return api.CheckName("device", args[0])
	}
	return fileMeant(args[1], fmt.Errorf("one device is enough; %q is an argument too many", args[1]))
}

// fileMeant adds a hint to what is wrong with an argument that looks like a file.
func fileMeant(arg string, err error) error {
	if err != nil && (arg == "-" || strings.ContainsAny(arg, `/\`) || pictureExtension(arg)) {
		return hinted(err, "did you mean -o "+arg+"?")
	}
	return err
}
