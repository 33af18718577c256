package host

import (
	"bytes"
	"fmt"
	"log"
	"strings"

	"golang.org/x/sys/unix"
	"periph.io/x/conn/v3/driver/driverreg"
	"periph.io/x/host/v3/gpioioctl"
	_ "periph.io/x/host/v3/sysfs" // I²C; alone it would make driverreg.Init fail: it wants ioctl-gpio
)

// Init looks for the machine's chips and buses. Call it first in main: while it runs, file descriptors are closed that may not be its
// own (see keepStdin), which no other goroutine survives.
func Init() (*Machine, error) {
	var said bytes.Buffer
	var state *driverreg.State
	var err error
	keepStdin(func() {
		// gpioioctl tells of chips it cannot open through the global logger, at no level.
		was, flags := log.Writer(), log.Flags()
		log.SetOutput(&said)
		log.SetFlags(0)
		defer func() { log.SetOutput(was); log.SetFlags(flags) }()
		state, err = driverreg.Init()
	})
	if err != nil {
		return nil, fmt.Errorf("periph cannot start: %w", err)
	}
	m := &Machine{dev: "/dev"}
	for _, c := range gpioioctl.Chips {
		m.paths = append(m.paths, c.Path())
	}
	for _, f := range state.Failed { // expected where a driver needs root; pins work all the same
		m.notes = append(m.notes, f.String())
	}
	for line := range strings.Lines(said.String()) {
		m.notes = append(m.notes, strings.TrimSpace(line))
	}
	return m, nil
}

// keepStdin runs f and gives descriptor 0 back if f has closed it.
//
// gpioioctl closes it whenever a chip has two names, as on a Pi 5 with Raspberry Pi OS, where gpiochip4 is a link to gpiochip0: Close of
// the second sets the chip's descriptor to 0 and then closes that (gpioioctl/gpio.go:434,443). The next file opened is 0 then, and if that
// is a line, gpioioctl takes it for "not requested". Where the kernel has GPIO in sysfs, periph's driver for it opens the next file,
// /sys/class/gpio/export (seen on Debian's arm64 6.1.192), and keeps it.
func keepStdin(f func()) {
	saved, err := unix.FcntlInt(0, unix.F_DUPFD_CLOEXEC, 3)
	if err != nil {
		saved, err = unix.Open("/dev/null", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	}
	f()
	if err != nil {
		return
	}
	if _, gone := unix.FcntlInt(0, unix.F_GETFD, 0); gone != nil && saved != 0 {
		_ = unix.Dup3(saved, 0, 0)
	}
	if saved != 0 {
		_ = unix.Close(saved)
	}
}
