//go:build !linux

package host

import (
	"errors"
	"fmt"
	"runtime"

	"github.com/perchcam/perch/pkg/gpio"
)

// Init succeeds everywhere; elsewhere than on Linux every line is missing.
func Init() (*Machine, error) { return &Machine{}, nil }

// Chips returns the chips that can be opened now.
func (m *Machine) Chips() []Chip { return nil }

// Find implements gpio.Opener.
func (m *Machine) Find(line, _ string) (gpio.Place, error) { return gpio.Place{}, unsupported(line) }

// OpenInput implements gpio.Opener.
func (m *Machine) OpenInput(c gpio.InputConfig) (gpio.Input, error) { return nil, unsupported(c.Line) }

// OpenOutput implements gpio.Opener.
func (m *Machine) OpenOutput(c gpio.OutputConfig) (gpio.Output, error) {
	return nil, unsupported(c.Line)
}

func unsupported(line string) error {
	return &lineError{
		fmt.Sprintf("cannot open the line %s: GPIO lines need Linux, this is %s", line, runtime.GOOS),
		"run the agent on the Pi", errors.ErrUnsupported,
	}
}
