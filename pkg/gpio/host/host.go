// Package host is the GPIO of the machine the process runs on: chips and lines as the kernel has them.
//
//	machine, err := host.Init()      // first thing in main, before any goroutine
//	in, err := machine.OpenInput(…)
//
// periph finds the chips, once, in Init; it is also what drives the I²C buses of package sense. Its drivers are imported one by one:
// bcm283x maps registers, and on a Pi 5 as root those of another SoC (periph.io/x/host/v3 v3.8.5, bcm283x/gpio.go:1447). Lines are taken
// through the GPIO v2 ABI (Linux 5.10) with go-gpiocdev's uapi, because through periph there is no way to kernel debounce, stamps and
// sequence numbers, to a consumer's name, to EBUSY as an errno, or to an output whose first level is the one asked for.
//
// Its own watcher of events is not used: it goes on when a read fails (go-gpiocdev v0.9.1, watcher.go), so it never learns that a chip is
// gone, and a kernel that wakes it with EPOLLHUP then would keep it turning. Here an event is a read of a file, which costs no thread,
// ends with a deadline or Close, and says ENODEV (seen on Linux 6.1.192 with gpio-sim, 0.4 ms after the chip went).
//
// A chip's number is never used: gpiochip4 of a Pi 5 became gpiochip0 in 6.6.45 and gpiochip11 in 6.12.96. A line is found by its name,
// on the chip whose label begins with "pinctrl-" before any other.
package host

import (
	"io/fs"

	"github.com/perchcam/perch/pkg/gpio"
)

// Machine opens the lines of this machine. It implements gpio.Opener.
type Machine struct {
	dev   string   // "/dev"
	paths []string // of the chips, in periph's order
	notes []string
}

// Notes is what periph had to say while it looked, one line each: drivers that did not load and chips that could not be opened. None of
// it is fatal: on a Pi 5 there is always one.
func (m *Machine) Notes() []string { return m.notes }

// Chip is a GPIO chip.
type Chip struct {
	Path  string
	Label string
	Lines int
}

// lineError is an error with what to do about it.
type lineError struct {
	text, hint string
	err        error
}

func (e *lineError) Error() string { return e.text }
func (e *lineError) Unwrap() error { return e.err }
func (e *lineError) Hint() string  { return e.hint }

func noChip() error {
	return &lineError{"this machine has no GPIO chip", "there is no /dev/gpiochip*: is this a Pi, and is the kernel's GPIO driver loaded?", fs.ErrNotExist}
}

func denied(path string) error {
	return &lineError{"no permission to open " + path, "the user needs the group that owns " + path + ", on Raspberry Pi OS gpio", fs.ErrPermission}
}

var _ gpio.Opener = (*Machine)(nil)
