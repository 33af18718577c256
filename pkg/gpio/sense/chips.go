package sense

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"time"

	"periph.io/x/conn/v3/i2c"
	"periph.io/x/conn/v3/i2c/i2creg"
	"periph.io/x/conn/v3/physic"
	"periph.io/x/devices/v3/ads1x15"
	"periph.io/x/devices/v3/aht20"
	"periph.io/x/devices/v3/bmxx80"
	"periph.io/x/devices/v3/hdc302x"
	"periph.io/x/devices/v3/ina219"
	"periph.io/x/host/v3/sysfs"

	"github.com/perchcam/perch/pkg/gpio"
)

// chip is a sensor driven over I²C.
type chip struct {
	bus   *guard
	what  string
	sense func() ([]gpio.Value, error)
	halt  func() error
}

// openBus opens the machine's bus "i2c-1". periph knows those that were there at host.Init; one that has come since is opened directly.
func openBus(name string) (i2c.BusCloser, error) {
	number, err := strconv.Atoi(strings.TrimPrefix(name, "i2c-"))
	if err != nil {
		return nil, fmt.Errorf("%q is no I²C bus", name)
	}
	node := "/dev/i2c-" + strconv.Itoa(number)
	f, err := os.OpenFile(node, os.O_RDWR, 0) // periph's errors are only text
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, &deviceError{"there is no I²C bus " + name, Hint("i2c", name), err}
	case errors.Is(err, fs.ErrPermission):
		return nil, &deviceError{"no permission to open " + node, "the user needs the group that owns " + node + ", on Raspberry Pi OS i2c", err}
	case err != nil:
		return nil, err
	}
	f.Close()
	if bus, err := i2creg.Open(node); err == nil {
		return bus, nil
	}
	return sysfs.NewI2C(number)
}

// openChip opens a chip on a bus and makes sure that it is the one that was asked for, as far as the chip can tell.
func openChip(open func(string) (i2c.BusCloser, error), spec gpio.SensorSpec) (gpio.Sensor, error) {
	name, address, _ := strings.Cut(spec.Address, "/")
	addr, err := strconv.ParseUint(address, 0, 8)
	if err != nil {
		return nil, fmt.Errorf("%q is no I²C address", address)
	}
	start := map[string]func(*chip, uint16, gpio.SensorSpec) error{
		"bme280": startBosch, "bmp280": startBosch, "bmp180": startBosch, "ina219": startINA219,
		"ads1115": startADS, "ads1015": startADS, "aht20": startAHT20, "hdc302x": startHDC302x,
	}[spec.Kind]
	if start == nil {
		return nil, fmt.Errorf("no driver for %q", spec.Kind)
	}
	bus, err := open(name)
	if err != nil {
		return nil, err
	}
	c := &chip{bus: &guard{BusCloser: bus}, what: spec.Kind + " at " + spec.Address, halt: func() error { return nil }}
	c.bus.limit()
	if err := start(c, uint16(addr), spec); err != nil {
		bus.Close()
		return nil, fmt.Errorf("no answer from the %s: %w", c.what, err)
	}
	return c, nil
}

// Read implements gpio.Sensor.
func (c *chip) Read(context.Context) ([]gpio.Value, error) {
	c.bus.limit()
	values, err := c.sense()
	if err != nil {
		return nil, fmt.Errorf("cannot read the %s: %w", c.what, err)
	}
	return values, nil
}

// Close implements gpio.Sensor.
func (c *chip) Close() error {
	c.bus.limit()
	return errors.Join(c.halt(), c.bus.Close())
}

// guard ends a measurement that takes too long: bmxx80 asks a chip whether it is done until it says so, and one that answers 0xff, as a
// bus without a chip does, never would.
type guard struct {
	i2c.BusCloser
	until time.Time
	late  time.Duration // waited before a conversion is fetched
}

// turn is how long one measurement may take; the slowest chip needs 1 s to start.
const turn = 3 * time.Second

func (g *guard) limit() { g.until = time.Now().Add(turn) }

// Tx implements i2c.Bus.
func (g *guard) Tx(addr uint16, w, r []byte) error {
	if g.late > 0 && len(w) == 1 && len(r) > 0 {
		time.Sleep(g.late)
	}
	if time.Now().After(g.until) {
		return os.ErrDeadlineExceeded
	}
	return g.BusCloser.Tx(addr, w, r)
}

// env turns periph's environment into values.
func env(e physic.Env, pressure, humidity bool) []gpio.Value {
	values := []gpio.Value{{Quantity: "temperature", Value: float64(e.Temperature-physic.ZeroCelsius) / float64(physic.Celsius), Unit: "Cel"}}
	if humidity {
		values = append(values, gpio.Value{Quantity: "humidity", Value: float64(e.Humidity) / float64(physic.PercentRH), Unit: "%RH"})
	}
	if pressure {
		values = append(values, gpio.Value{Quantity: "pressure", Value: float64(e.Pressure) / float64(physic.Pascal), Unit: "Pa"})
	}
	return values
}

// startBosch starts a BME280, BMP280 or BMP180. The chip says which it is: a BMP280 sold as a BME280 has no humidity to give.
func startBosch(c *chip, addr uint16, spec gpio.SensorSpec) error {
	opts := bmxx80.DefaultOpts
	dev, err := bmxx80.NewI2C(c.bus, addr, &opts)
	if err != nil {
		return err
	}
	name, _, _ := strings.Cut(dev.String(), "{")
	if name = strings.ToLower(name); name != spec.Kind {
		return &deviceError{"it is a " + name, "configure it as " + name + ":" + spec.Address, nil}
	}
	c.sense = func() ([]gpio.Value, error) {
		var e physic.Env
		err := dev.Sense(&e)
		return env(e, true, name == "bme280"), err
	}
	return nil
}

func startAHT20(c *chip, addr uint16, _ gpio.SensorSpec) error {
	dev, err := aht20.NewI2C(c.bus, nil)
	if err != nil {
		return err
	}
	c.sense = func() ([]gpio.Value, error) {
		var e physic.Env
		err := dev.Sense(&e)
		return env(e, false, true), err
	}
	return nil
}

func startHDC302x(c *chip, addr uint16, _ gpio.SensorSpec) error {
	dev, err := hdc302x.NewI2C(c.bus, addr, hdc302x.RateHertz)
	if err != nil {
		return err
	}
	c.halt = dev.Halt
	c.sense = func() ([]gpio.Value, error) {
		var e physic.Env
		err := dev.Sense(&e)
		return env(e, false, true), err
	}
	return nil
}

// shuntFull is the voltage over the shunt at which an INA219 is at the end of its range.
const shuntFull = 320 * physic.MilliVolt

func startINA219(c *chip, addr uint16, spec gpio.SensorSpec) error {
	shunt := physic.ElectricResistance(spec.Shunt * float64(physic.Ohm))
	most := physic.ElectricCurrent(float64(shuntFull) / spec.Shunt)
	dev, err := ina219.New(c.bus, &ina219.Opts{Address: int(addr), SenseResistor: shunt, MaxCurrent: most})
	if err != nil {
		return err
	}
	c.sense = func() ([]gpio.Value, error) {
		pm, err := dev.Sense()
		return []gpio.Value{
			{Quantity: "voltage", Value: float64(pm.Voltage) / float64(physic.Volt), Unit: "V"},
			{Quantity: "current", Value: float64(pm.Current) / float64(physic.Ampere), Unit: "A"},
			{Quantity: "power", Value: float64(pm.Power) / float64(physic.Watt), Unit: "W"},
		}, err
	}
	return nil
}

func startADS(c *chip, addr uint16, spec gpio.SensorSpec) error {
	dev, err := ads1x15.NewADS1115(c.bus, &ads1x15.Opts{I2cAddress: addr})
	if spec.Kind == "ads1015" {
		dev, err = ads1x15.NewADS1015(c.bus, &ads1x15.Opts{I2cAddress: addr})
	}
	if err != nil {
		return err
	}
	channel, ok := map[string]ads1x15.Channel{
		"0": ads1x15.Channel0, "1": ads1x15.Channel1, "2": ads1x15.Channel2, "3": ads1x15.Channel3,
		"0-1": ads1x15.Channel0Minus1, "0-3": ads1x15.Channel0Minus3, "1-3": ads1x15.Channel1Minus3, "2-3": ads1x15.Channel2Minus3,
	}[spec.Channel]
	if !ok {
		return fmt.Errorf("no channel %q", spec.Channel)
	}
	pin, err := dev.PinForChannel(channel, physic.ElectricPotential(spec.Range*float64(physic.Volt)), physic.Hertz, ads1x15.BestQuality)
	if err != nil {
		return err
	}
	// The driver waits exactly one conversion by the nominal rate, which the chip's own clock may miss by 10 % (datasheet, 7.5): fetched
	// too early, the result is that of the conversion before. At 8 per second that is 12.5 ms.
	c.bus.late = 15 * time.Millisecond
	c.sense = func() ([]gpio.Value, error) {
		s, err := pin.Read()
		return []gpio.Value{{Quantity: "voltage", Value: float64(s.V) / float64(physic.Volt), Unit: "V"}}, err
	}
	return nil
}
