// Command perch-broker is the broker that Perch's devices and laptops meet at.
//
// It writes slog text to standard error, state changes only: among them one line "msg=listening url=…"
// for each listener once it is open. The first SIGTERM or SIGINT ends it in good order, the second at once.
// Its exit codes are in the help text.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/perchcam/perch/internal/page"
	"github.com/perchcam/perch/internal/version"
	"github.com/perchcam/perch/pkg/broker"
)

// Exit codes.
const (
	exitOK     = 0
	exitFailed = 1  // it could not listen, or could not go on
	exitUsage  = 64 // EX_USAGE; not 2, with which Go ends a program that has crashed, and which is to be started again
)

const long = `perch-broker is where Perch's devices and laptops meet. A device connects and stays; a laptop connects and
asks; the broker carries what they say to one another.

Without --state there are no credentials, and it serves this machine only: every address to listen on must be a
loopback one. With them it serves anybody who has one:

  perch-broker init --url tls://broker.example.org:7878
  perch-broker add device front-door
  perch-broker --state DIR

Exit codes:
   0  it was told to stop (SIGTERM or SIGINT) and did; the command did what it was asked to
   1  it could not listen, or could not go on; the command could not do it, or check found a fault
  64  a flag or argument was wrong`

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

// errUsage marks errors in what was typed.
type errUsage struct{ error }

func run(args []string, stdout, stderr io.Writer) int {
	cmd := command(stdout, stderr)
	cmd.SetArgs(args)
	err := cmd.Execute()
	if err == nil {
		return exitOK
	}
	fmt.Fprintf(stderr, "perch-broker: %v\n", err)
	if _, ok := errors.AsType[errUsage](err); ok {
		fmt.Fprintln(stderr, "Try perch-broker --help.")
		return exitUsage
	}
	return exitFailed
}

func command(stdout, stderr io.Writer) *cobra.Command {
	var cfg broker.Config
	var level slog.Level
	var state string
	var withPage bool
	cmd := &cobra.Command{
		Use:           "perch-broker",
		Short:         "Where Perch's devices and laptops meet",
		Long:          long,
		Version:       version.String(),
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg.Version = cmd.Version
			cfg.Log = slog.New(slog.NewTextHandler(stderr, &slog.HandlerOptions{Level: level}))
			if err := useState(&cfg, state, cmd.Flags().Changed("listen")); err != nil {
				return err
			}
			if err := usePage(&cfg, withPage); err != nil {
				return err
			}
			return serve(cfg)
		},
	}
	cmd.SetOut(stdout)
	cmd.SetErr(stderr)
	cmd.SetVersionTemplate("perch-broker {{.Version}}\n")
	cmd.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return errUsage{err} })
	cmd.CompletionOptions.HiddenDefaultCmd = true
	cmd.SetHelpCommand(&cobra.Command{Hidden: true})
	f := cmd.Flags()
	f.SortFlags = false
	f.StringArrayVar(&cfg.Listen, "listen", []string{"tcp://127.0.0.1:7878"}, "`URL` to listen on, tcp://, tls://, ws:// or wss://; may be given several times; port\n0 takes a free one. With --state the default is the port that init was told")
	f.StringVar(&state, "state", servingState(), "`DIR` of the broker's key and credentials, see init; or PERCH_BROKER_STATE")
	f.StringVar(&cfg.TLS.Cert, "tls-cert", "", "`FILE` of the certificate, instead of the one that init made")
	f.StringVar(&cfg.TLS.Key, "tls-key", "", "`FILE` of its key")
	f.StringVar(&cfg.TLS.ClientCA, "client-ca", "", "`FILE` of the authority whose certificates clients may show")
	f.StringVar(&cfg.TLS.ClientCRL, "client-crl", "", "`FILE` of those certificates that are revoked")
	f.StringVar(&cfg.Ops, "ops", "", "`HOST:PORT` of this machine for /metrics, /healthz and /readyz, such as 127.0.0.1:7879")
	f.StringArrayVar(&cfg.Hosts, "host", nil, "another `NAME` under which browsers know this broker; may be given several times")
	f.StringArrayVar(&cfg.Origins, "origin", nil, "`PATTERN` of other pages that may connect, such as 'https://*.example.org'; may be given several times")
	f.BoolVar(&withPage, "page", false, "serve the live page where there is a WebSocket to listen on, to browsers; it asks for a token")
	f.BoolVar(&cfg.Insecure, "insecure", false, "take credentials over links that others can read")
	f.DurationVar(&cfg.Wait, "wait", 0, "how long a request waits for a device that is away (default 2s)")
	f.DurationVar(&cfg.SessionTime, "session-time", 0, "how long a session may be without a link (default 2m)")
	f.DurationVar(&cfg.Grace, "grace", 0, "how long streams may go on after SIGTERM (default 5s)")
	f.DurationVar(&cfg.FirstFrame, "setup-time", 0, "how long a link may take to begin a session, TLS included (default 5s)")
	f.DurationVar(&cfg.GuessWait, "guess-wait", 0, "how long the answer to wrong credentials waits, at most; it doubles for each to one address (default 5s)")
	f.IntVar(&cfg.Connections, "max-links", 0, "how many links there may be (default 25000)")
	f.IntVar(&cfg.Sessions, "max-sessions", 0, "how many sessions (default 20000)")
	f.IntVar(&cfg.PerHolder, "max-per-credential", 0, "how many sessions with one credential (default 256)")
	f.IntVar(&cfg.Streams, "max-streams", 0, "how many requests of one session may be open (default 1024)")
	f.IntVar(&cfg.Session.MaxFrame, "max-frame", 0, "how many `BYTES` a frame may have (default 16777215)")
	f.IntVar(&cfg.Budget, "budget", 0, "how many `BYTES` may wait for one session (default 33554432)")
	f.IntVar(&cfg.Session.Retain, "retain", 0, "how many `BYTES` a session keeps to be resumed (default 16777216)")
	f.Int64Var(&cfg.RetainTotal, "retain-total", 0, "how many `BYTES` all sessions together keep (default 536870912)")
	f.TextVar(&level, "log-level", slog.LevelInfo, "`LEVEL` of what is logged: debug, info, warn or error")
	cmd.AddCommand(initCommand(), addCommand(), enrolCommand(), listCommand(), revokeCommand(), checkCommand(), manCommand())
	return cmd
}

func noArgs(_ *cobra.Command, args []string) error {
	if len(args) > 0 {
		return errUsage{fmt.Errorf("unknown argument %q", args[0])}
	}
	return nil
}

// usePage has the broker serve the live page where it listens for WebSockets.
func usePage(cfg *broker.Config, on bool) error {
	if !on {
		return nil
	}
	web := func(url string) bool { return strings.HasPrefix(url, "ws://") || strings.HasPrefix(url, "wss://") }
	if !slices.ContainsFunc(cfg.Listen, web) {
		return errUsage{errors.New("--page needs a WebSocket to listen on, such as --listen ws://127.0.0.1:7880")}
	}
	cfg.Page = func(path string) (http.Handler, error) { return page.New(page.Broker, path) }
	return nil
}

// serve runs the broker until it is told to stop: once for good order, twice for at once.
func serve(cfg broker.Config) error {
	b, err := broker.New(cfg)
	if err != nil {
		return errUsage{err}
	}
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT)
	defer signal.Stop(signals)
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	now, hurry := context.WithCancel(context.Background())
	defer hurry()
	go func() {
		select {
		case s := <-signals:
			cfg.Log.Info("stopping", "signal", s)
			stop()
		case <-ctx.Done():
			return
		}
		select {
		case <-signals:
			hurry()
		case <-now.Done():
		}
	}()
	if err := b.Run(ctx, now); err != nil {
		return err
	}
	cfg.Log.Info("stopped")
	return nil
}
