// Command demo shows Perch once, on one machine: it starts a broker and an agent on free loopback ports, asks for what a
// laptop would ask for with the perch command, and stops what it started. `make demo` builds the three programs first.
//
// The camera is this machine's own if it has one that works, else a drawn test picture.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/perchcam/perch/e2e/proc"
	"github.com/perchcam/perch/pkg/api"
)

const (
	programs = "build/bin"
	device   = "demo"
	// cutDevice is the one whose link is cut.
	cutDevice = "demo-cut"
	picture   = "snapshot.jpg"
	frames    = "100"

	// limit is for everything: a person who waits longer has seen that it does not work.
	limit = time.Minute
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("not done after %s", limit))
	defer cancel()
	if err := run(ctx, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

// run is the demo. What it started is stopped in any case, the agent before the broker so that it can say goodbye.
func run(ctx context.Context, out io.Writer) (err error) {
	broker, url, err := proc.Broker(ctx, filepath.Join(programs, "perch-broker"))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, broker.Stop()) }()
	fmt.Fprintf(out, "A broker listens on %s.\n", url)

	agent, dev, err := startAgent(ctx, url)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, agent.Stop()) }()
	for _, c := range dev.Cameras {
		fmt.Fprintf(out, "An agent serves the camera %s (%s) as device %s. It listens nowhere.\n", c.Name, c.Kind, dev.Name)
	}

	dir, err := os.MkdirTemp("", "perch-demo-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	for _, args := range [][]string{
		{"devices"},
		{"snapshot", device, "--force", "-o", picture},
		{"stream", device, "-n", frames, "-o", dir},
	} {
		if err := show(ctx, url, out, args...); err != nil {
			return err
		}
	}
	if err := pullThePlug(ctx, url, dir, out); err != nil {
		return err
	}
	fmt.Fprintf(out, "\nDone: one picture is in %s; %s frames of the stream were taken and are gone again, and so are broker and agent.\n", picture, frames)
	return nil
}

// show runs perch as a person would, who sees what it says.
func show(ctx context.Context, url string, out io.Writer, args ...string) error {
	fmt.Fprintf(out, "\n$ perch %s\n", strings.Join(args, " "))
	cmd := perch(ctx, url, args...)
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("perch %s: %w", args[0], err)
	}
	return nil
}

// startAgent starts an agent with this machine's cameras, or with the drawn one if none can be used.
func startAgent(ctx context.Context, url string) (*proc.Process, api.Device, error) {
	if nodes, err := filepath.Glob("/dev/video*"); err == nil && len(nodes) > 0 {
		agent, dev, err := agentWith(ctx, url, url, device, "auto")
		if err != nil || len(dev.Cameras) > 0 {
			return agent, dev, err
		}
		if err := agent.Stop(); err != nil {
			return nil, dev, err
		}
	}
	return agentWith(ctx, url, url, device, "test=pattern,width=1280,height=720,fps=30")
}

// agentWith starts an agent that dials via and waits until the broker at url lists it as online.
func agentWith(ctx context.Context, url, via, device, cameras string) (*proc.Process, api.Device, error) {
	agent, err := proc.Start(filepath.Join(programs, "perch-agent"), nil,
		[]string{"PERCH_BROKER=" + via, "PERCH_DEVICE=" + device, "PERCH_CAMERAS=" + cameras})
	if err != nil {
		return nil, api.Device{}, err
	}
	for {
		dev, err := find(ctx, url, device)
		if err == nil && dev.State == api.StateOnline {
			return agent, dev, nil
		}
		select {
		case <-time.After(100 * time.Millisecond):
			continue
		case <-agent.Done():
		case <-ctx.Done():
		}
		return nil, dev, errors.Join(fmt.Errorf("the agent does not come online; it said:\n%s", agent.Said()), err, context.Cause(ctx), agent.Stop())
	}
}

// find asks the broker for a device; the zero Device is one it does not know.
func find(ctx context.Context, url, device string) (api.Device, error) {
	out, err := perch(ctx, url, "devices", "--json").Output()
	if err != nil {
		return api.Device{}, fmt.Errorf("perch devices: %w", err)
	}
	var list api.Devices
	if err := json.Unmarshal(out, &list); err != nil {
		return api.Device{}, fmt.Errorf("cannot read the list of devices: %w", err)
	}
	for _, d := range list.Devices {
		if d.Name == device {
			return d, nil
		}
	}
	return api.Device{}, nil
}

func perch(ctx context.Context, url string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, filepath.Join(programs, "perch"), args...)
	cmd.Env = append(os.Environ(), "PERCH_BROKER="+url)
	return cmd
}
