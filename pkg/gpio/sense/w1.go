package sense

import (
	"context"
	"fmt"
	"io/fs"
	"math"
	"path/filepath"
	"strings"

	"github.com/perchcam/perch/pkg/gpio"
)

// powerOn is what a DS18B20 says after it got power and before it has measured (its datasheet): a number, and no temperature.
const powerOn = 85

// near is how far the last temperature may be from 85 °C for that to be one: a sensor does not climb further between two reads unseen.
const near = 10

// thermometer is a DS18x20 on 1-wire, by the kernel's w1_therm.
type thermometer struct {
	files
	last  float64
	known bool
}

// openW1 opens a thermometer by its id, 28-3c01d607ab12, or by the beginning of it if there is only one such.
func openW1(sys, id string) (gpio.Sensor, error) {
	dirs, err := filepath.Glob(filepath.Join(sys, "bus/w1/devices/*-*"))
	if err != nil {
		return nil, err
	}
	var there, found []string
	for _, dir := range dirs {
		name := filepath.Base(dir)
		there = append(there, name)
		if name == id {
			found = []string{dir}
			break
		}
		if strings.HasPrefix(name, id) {
			found = append(found, dir)
		}
	}
	switch {
	case len(found) == 0:
		return nil, missing("w1", id, there)
	case len(found) > 1:
		return nil, &deviceError{fmt.Sprintf("more than one w1 device begins with %q: %q", id, there), "give the whole id", fs.ErrNotExist}
	}
	file := filepath.Join(found[0], "temperature") // since Linux 5.8
	if !exists(file) {
		if file, err = hwmonOf(found[0]); err != nil {
			return nil, missing("w1", id, there)
		}
	}
	c := channel{quantity: "temperature", unit: "Cel", value: file, factor: 1e-3}
	return &thermometer{files: files{what: "the thermometer " + id, channels: []channel{c}}}, nil
}

// hwmonOf is the file of the hwmon device that w1_therm makes for a thermometer.
func hwmonOf(dir string) (string, error) {
	list, err := filepath.Glob(filepath.Join(dir, "hwmon/hwmon*/temp1_input"))
	if err == nil && len(list) != 1 {
		err = errNoValue
	}
	if err != nil {
		return "", err
	}
	return list[0], nil
}

// Read implements gpio.Sensor. It takes 0.75 s, the time of a conversion with 12 bits.
func (t *thermometer) Read(ctx context.Context) ([]gpio.Value, error) {
	values, err := t.files.Read(ctx)
	if err != nil {
		return nil, err
	}
	v := values[0].Value
	if math.Round(v*1000) == 1000*powerOn && (!t.known || t.last < powerOn-near || t.last > powerOn+near) {
		return nil, fmt.Errorf("%s has lost power: it says %d °C, its value before the first measurement", t.what, powerOn)
	}
	t.last, t.known = v, true
	return values, nil
}
