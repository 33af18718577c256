// Command agent is a whole agent on hardware of memory, for the test of the live page: its drawn cameras have controls, its
// door, thermometer and outputs are moved from outside. It reads its configuration as perch-agent does.
//
// Each line of its input moves something:
//
//	door on|off              the door's line is active, or not
//	air CELSIUS PERCENT      what the thermometer measures
//	break TEXT               what it says instead
//
// and it says on standard output what others do to it:
//
//	output GPIO22 on|off     an output's line was driven
//	control NAME VALUE       a control of a camera was set
package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"

	"github.com/perchcam/perch/internal/agent"
	"github.com/perchcam/perch/pkg/camera"
	"github.com/perchcam/perch/pkg/camera/driver"
	"github.com/perchcam/perch/pkg/gpio"
	"github.com/perchcam/perch/pkg/gpio/gpiotest"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "agent:", err)
		os.Exit(1)
	}
}

func run() error {
	cfg, err := agent.Load()
	if err != nil {
		return err
	}
	lines, devices := wires{gpiotest.NewLines()}, gpiotest.NewDevices()
	measure(devices, 21.4, 48)
	a, err := agent.New(agent.Options{
		Config: cfg, Version: "page", Open: open, Lines: lines, Devices: devices,
		Log: slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelInfo}),
	})
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	go func() {
		for in := bufio.NewScanner(os.Stdin); in.Scan(); {
			if err := move(lines, devices, in.Text()); err != nil {
				fmt.Fprintln(os.Stderr, "agent:", err)
			}
		}
	}()
	return a.Run(ctx)
}

func move(lines wires, devices *gpiotest.Devices, text string) error {
	var celsius, percent float64
	switch verb, rest, _ := strings.Cut(text, " "); verb {
	case "door":
		lines.Line("GPIO17").Push(rest == "on")
	case "air":
		if _, err := fmt.Sscan(rest, &celsius, &percent); err != nil {
			return err
		}
		measure(devices, celsius, percent)
	case "break":
		devices.Fail("air", errors.New(rest))
	default:
		return fmt.Errorf("%q is nothing that can be moved", verb)
	}
	return nil
}

func measure(devices *gpiotest.Devices, celsius, percent float64) {
	devices.Measure("air", gpio.Value{Quantity: "temperature", Value: celsius, Unit: "Cel"}, gpio.Value{Quantity: "humidity", Value: percent, Unit: "%RH"})
}

// wires tells of every output that is driven.
type wires struct{ *gpiotest.Lines }

func (w wires) OpenOutput(c gpio.OutputConfig) (gpio.Output, error) {
	o, err := w.Lines.OpenOutput(c)
	if err != nil {
		return nil, err
	}
	return told{o, c.Line}, nil
}

type told struct {
	gpio.Output
	line string
}

func (t told) Set(on bool) error {
	err := t.Output.Set(on)
	if err == nil {
		fmt.Printf("output %s %s\n", t.line, map[bool]string{true: "on", false: "off"}[on])
	}
	return err
}

// open gives a camera controls, whatever kind it is of.
func open(spec camera.Spec) (camera.Source, error) {
	src, err := driver.Open(spec)
	if err != nil {
		return nil, err
	}
	return &knobs{Source: src, all: []camera.Control{
		{Name: "brightness", Type: camera.ControlInt, Min: -64, Max: 64, Step: 1},
		{Name: "contrast", Type: camera.ControlInt, Max: 95, Step: 1, Default: 32, Value: 32},
		{Name: "white_balance_automatic", Type: camera.ControlBool, Max: 1, Default: 1, Value: 1},
		{Name: "power_line_frequency", Type: camera.ControlMenu, Max: 2, Default: 1, Value: 1, Menu: []camera.MenuItem{
			{Value: 0, Name: "Disabled"},
			{Value: 1, Name: "50 Hz"},
			{Value: 2, Name: "60 Hz"},
			{Value: 3, Name: "<img src=x onerror=\"window.injected=1\">"},
		}},
	}}, nil
}

type knobs struct {
	camera.Source

	mu  sync.Mutex // guards the following
	all []camera.Control
}

func (k *knobs) Controls(context.Context) ([]camera.Control, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return append([]camera.Control(nil), k.all...), nil
}

func (k *knobs) SetControl(_ context.Context, name string, value int64) (int64, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for i := range k.all {
		if c := &k.all[i]; c.Name == name {
			c.Value = min(max(value, c.Min), c.Max)
			fmt.Printf("control %s %d\n", name, c.Value)
			return c.Value, nil
		}
	}
	return 0, fmt.Errorf("there is no control %q", name)
}
