// Command perch-agent makes a Raspberry Pi's cameras and sensors available through a broker. It is configured by its
// environment and listens on no port.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"os/signal"
	"runtime/debug"
	"strings"
	"syscall"
	"text/tabwriter"

	"github.com/perchcam/perch/internal/agent"
	"github.com/perchcam/perch/internal/version"
	"github.com/perchcam/perch/pkg/gpio/host"
	"github.com/perchcam/perch/pkg/gpio/sense"
)

// Exit codes.
const (
	exitOK     = 0
	exitFailed = 1
	exitUsage  = 2
	exitConfig = 78 // EX_CONFIG of sysexits.h: the unit does not start it again
)

const usage = `perch-agent makes this machine's cameras and sensors available through a broker.

Usage:
  perch-agent                  run, until SIGTERM or SIGINT
  perch-agent check [--json]   look at everything that is needed, and say what to do
  perch-agent safe-state       put the outputs into their safe state; the service does so when the agent has ended
  perch-agent --version        also -v
  perch-agent --help

It is configured by its environment; as a service, by %s:

%s
Exit codes:
   0  it was told to stop and did
   1  it could not go on; of check: something does not work; of safe-state: an output may not be safe
   2  an argument was wrong
  78  a setting is wrong, and starting again cannot mend it
`

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

func run(args []string, stdout io.Writer, stderr *os.File) int {
	if len(args) == 0 {
		return serve(stderr)
	}
	switch args[0] {
	case "--version", "-version", "-v":
		if len(args) == 1 {
			fmt.Fprintln(stdout, "perch-agent", version.String())
			return exitOK
		}
	case "--help", "-help", "-h":
		if len(args) == 1 {
			fmt.Fprintf(stdout, usage, agent.File, variables())
			return exitOK
		}
	case "check":
		if len(args) == 1 || len(args) == 2 && args[1] == "--json" {
			return check(stdout, stderr, len(args) == 2)
		}
	case "safe-state":
		if len(args) == 1 {
			return safeState(stderr)
		}
	}
	fmt.Fprintf(stderr, "perch-agent: unknown argument %q\nTry perch-agent --help.\n", args[len(args)-1]) // of several, the first may be right
	return exitUsage
}

// variables is the table of settings in the help.
func variables() string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	for _, v := range agent.Vars() {
		text := v.Desc
		if v.Default != "" {
			text += " Default: " + v.Default + "."
		}
		for i, part := range wrap(text, 80) {
			if i > 0 {
				v.Name = ""
			}
			fmt.Fprintf(w, "  %s\t%s\n", v.Name, part)
		}
	}
	_ = w.Flush()
	return b.String()
}

// wrap breaks text into lines of at most width characters.
func wrap(text string, width int) (lines []string) {
	line := ""
	for word := range strings.FieldsSeq(text) {
		if line != "" && len(line)+1+len(word) > width {
			lines = append(lines, line)
			line = ""
		}
		if line != "" {
			line += " "
		}
		line += word
	}
	return append(lines, line)
}

func serve(stderr *os.File) int {
	// A camera's pictures are large and short-lived, and little else lives: the collector runs when so much of them has gathered,
	// which is 6 MB, at Go's own 100 per cent 4 MB, with nearly twice the work. GOGC overrides this, as usual.
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(150)
	}
	cfg, err := agent.Load()
	if err != nil {
		return wrong(stderr, err)
	}
	level := slog.Level(cfg.LogLevel)
	o := agent.Options{Config: cfg, Version: version.String(), Devices: sense.Devices{}, Log: agent.NewLog(stderr, level), Level: min(level, slog.LevelInfo)}
	machine, err := lines(cfg)
	if err != nil {
		fmt.Fprintf(stderr, "perch-agent: %v\n", err)
		return exitFailed
	}
	if machine != nil {
		o.Lines = machine
		slog.New(o.Log).Debug("GPIO", "notes", machine.Notes())
	}
	a, err := agent.New(o)
	if err != nil {
		return wrong(stderr, err)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	context.AfterFunc(ctx, stop) // a second signal ends it at once
	if err := a.Run(ctx); err != nil {
		fmt.Fprintf(stderr, "perch-agent: %v\n", err)
		return exitFailed
	}
	return exitOK
}

// lines finds the machine's GPIO, where it is needed: nil is none. It must be called before any goroutine is started, see host.Init.
func lines(cfg agent.Config) (*host.Machine, error) {
	if len(cfg.Sensors)+len(cfg.Outputs) == 0 {
		return nil, nil
	}
	return host.Init()
}

// serviceSettings reads the service's file, unless the environment says where the broker is: then it has the settings.
func serviceSettings() error {
	if os.Getenv("PERCH_BROKER") != "" {
		return nil
	}
	if err := agent.LoadFile(agent.File); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("cannot read the service's settings: %w", err)
	}
	return nil
}

// check looks at what the service would have.
func check(stdout, stderr io.Writer, asJSON bool) int {
	if err := serviceSettings(); err != nil {
		fmt.Fprintf(stderr, "perch-agent: %v\nTry: sudo perch-agent check\n", err)
		return exitFailed
	}
	cfg, loaded := agent.Load()
	d := agent.Doctor{Devices: sense.Devices{}}
	machine, err := lines(cfg)
	if err != nil {
		fmt.Fprintf(stderr, "perch-agent: %v\n", err)
		return exitFailed
	}
	d.Lines = machine
	list := d.Check(context.Background(), cfg, loaded)
	if asJSON {
		if err := agent.PrintJSON(stdout, list); err != nil {
			fmt.Fprintf(stderr, "perch-agent: %v\n", err)
			return exitFailed
		}
	} else {
		agent.Print(stdout, list)
	}
	if agent.Failed(list) {
		return exitFailed
	}
	return exitOK
}

// wrong lists what is wrong with the configuration.
func wrong(stderr io.Writer, err error) int {
	for line := range strings.SplitSeq(err.Error(), "\n") {
		fmt.Fprintf(stderr, "perch-agent: %s\n", line)
	}
	return exitConfig
}
