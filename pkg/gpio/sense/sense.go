// Package sense reads measured sensors: the files of the kernel's drivers (IIO, hwmon, 1-wire, thermal zones), and chips on I²C by periph's
// drivers.
//
// A kernel driver is to be preferred: one reader of files covers a DHT22, a BME280, a DS18B20 and the CPU, and the timing is done where it
// can be. It needs a line in config.txt; a sensor that is missing says which, as the Hint of its error. A chip on I²C needs only the bus.
//
// Units are SenML's (RFC 8428): Cel, %RH, Pa, V, A, W, lx. A value that a device cannot give is an error, never a number.
package sense

import (
	"errors"
	"fmt"
	"io/fs"

	"periph.io/x/conn/v3/i2c"

	"github.com/perchcam/perch/pkg/gpio"
)

// Devices opens the sensors of this machine. It implements gpio.Devices. The zero value is ready.
type Devices struct {
	Sys string                                   // default "/sys"
	Bus func(name string) (i2c.BusCloser, error) // opens "i2c-1"; default the machine's
}

// OpenSensor implements gpio.Devices. A device that is not there is an error that wraps fs.ErrNotExist and has a Hint.
func (d Devices) OpenSensor(spec gpio.SensorSpec) (gpio.Sensor, error) {
	sys := d.Sys
	if sys == "" {
		sys = "/sys"
	}
	switch spec.Kind {
	case "iio":
		return openIIO(sys, spec.Address)
	case "hwmon":
		return openHwmon(sys, spec.Address)
	case "w1":
		return openW1(sys, spec.Address)
	case "thermal":
		return openThermal(sys, spec.Address)
	}
	open := d.Bus
	if open == nil {
		open = openBus
	}
	return openChip(open, spec)
}

// deviceError is an error with what to do about it.
type deviceError struct {
	text, hint string
	err        error
}

func (e *deviceError) Error() string { return e.text }
func (e *deviceError) Unwrap() error { return e.err }
func (e *deviceError) Hint() string  { return e.hint }

// missing says that there is no device of a name, and what there is.
func missing(kind, name string, there []string) error {
	text := fmt.Sprintf("there is no %s device %q", kind, name)
	if len(there) > 0 {
		text += fmt.Sprintf(", only %q", there)
	}
	return &deviceError{text, Hint(kind, name), fs.ErrNotExist}
}

var errNoValue = errors.New("no value")
