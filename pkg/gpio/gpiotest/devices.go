package gpiotest

import (
	"context"
	"fmt"
	"io/fs"
	"sync"

	"github.com/perchcam/perch/pkg/gpio"
)

// Devices is a gpio.Devices of memory: sensors by name, each with the values or the error it was given last.
type Devices struct {
	mu    sync.Mutex
	now   map[string]answer
	opens map[string]int
}

type answer struct {
	values []gpio.Value
	err    error
}

// NewDevices returns devices of which none is there.
func NewDevices() *Devices { return &Devices{now: map[string]answer{}, opens: map[string]int{}} }

// Measure lets the sensor of this name answer with values from now on.
func (d *Devices) Measure(name string, values ...gpio.Value) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.now[name] = answer{values: values}
}

// Fail lets the sensor of this name, and opening it, fail from now on.
func (d *Devices) Fail(name string, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.now[name] = answer{err: err}
}

// Opens is how often the sensor of this name was opened.
func (d *Devices) Opens(name string) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.opens[name]
}

// OpenSensor implements gpio.Devices.
func (d *Devices) OpenSensor(spec gpio.SensorSpec) (gpio.Sensor, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	a, ok := d.now[spec.Name]
	if !ok {
		return nil, fmt.Errorf("no %s %s: %w", spec.Kind, spec.Address, fs.ErrNotExist)
	}
	if a.err != nil {
		return nil, a.err
	}
	d.opens[spec.Name]++
	return &device{d, spec.Name}, nil
}

type device struct {
	all  *Devices
	name string
}

func (d *device) Read(context.Context) ([]gpio.Value, error) {
	d.all.mu.Lock()
	defer d.all.mu.Unlock()
	a := d.all.now[d.name]
	return a.values, a.err
}

func (d *device) Close() error { return nil }
