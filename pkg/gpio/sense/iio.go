package sense

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/perchcam/perch/pkg/gpio"
)

// quantity is what a channel type is called here, and the factor from IIO's unit to ours (Documentation/ABI/testing/sysfs-bus-iio:
// milli-degrees, milli-percent, kilopascal, millivolt, milliampere, milliwatt).
type quantity struct {
	name, unit string
	factor     float64
}

var iioTypes = map[string]quantity{
	"temp":             {"temperature", "Cel", 1e-3},
	"humidityrelative": {"humidity", "%RH", 1e-3},
	"pressure":         {"pressure", "Pa", 1e3},
	"voltage":          {"voltage", "V", 1e-3},
	"altvoltage":       {"altvoltage", "V", 1e-3},
	"current":          {"current", "A", 1e-3},
	"power":            {"power", "W", 1e-3},
	"illuminance":      {"illuminance", "lx", 1},
	"resistance":       {"resistance", "Ohm", 1},
	"distance":         {"distance", "m", 1},
	"concentration":    {"concentration", "ppm", 1e4}, // percent
	"massconcentration": {
		"mass_concentration", "ug/m3", 1,
	},
	"uvindex":   {"uv_index", "", 1},
	"proximity": {"proximity", "", 1},
	"accel":     {"acceleration", "m/s2", 1},
	"anglvel":   {"angular_velocity", "rad/s", 1},
	"ph":        {"ph", "pH", 1},
}

// iioName takes in_voltage0-voltage1_raw apart: type, index, other end of a differential channel, modifier, what it is.
var iioName = regexp.MustCompile(`^in_([a-z]+?)([0-9]*)(-[a-z]+[0-9]+)?(_[a-z0-9_]+?)?_(input|raw)$`)

// openIIO opens a device of the Industrial I/O subsystem: its channels are files in_<type><index>_<modifier>_{input,raw}.
func openIIO(sys, name string) (gpio.Sensor, error) {
	dir, err := find("iio", filepath.Join(sys, "bus/iio/devices/iio:device*"), name, "name", "label")
	if err != nil {
		return nil, err
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	f := &files{what: "the IIO device " + name}
	kinds := map[string]string{} // quantity → its plain name
	for _, e := range entries {
		m := iioName.FindStringSubmatch(e.Name())
		if m == nil {
			continue
		}
		typ, index, other, modifier := m[1], m[2], m[3], m[4]
		stem := "in_" + typ + index + other + modifier
		if m[5] == "raw" && exists(filepath.Join(dir, stem+"_input")) {
			continue // the driver works it out itself
		}
		q, known := iioTypes[typ]
		if !known {
			q = quantity{typ, "", 1}
		}
		c := channel{quantity: q.name + index + other + modifier, unit: q.unit, value: filepath.Join(dir, e.Name()), factor: q.factor}
		if modifier != "" {
			kinds[c.quantity] = q.name + modifier
		} else {
			kinds[c.quantity] = q.name
		}
		if m[5] == "raw" {
			c.offset, c.scale = shared(dir, "offset", typ, index, other, modifier), shared(dir, "scale", typ, index, other, modifier)
			if c.scale == "" && q.unit != "" {
				c.unit, c.factor = "", 1 // a count of unknown size
			}
		}
		f.channels = append(f.channels, c)
	}
	if len(f.channels) == 0 {
		return nil, missing("iio", name, nil)
	}
	plain(f.channels, func(c channel) string { return kinds[c.quantity] })
	slices.SortStableFunc(f.channels, func(a, b channel) int { return strings.Compare(a.quantity, b.quantity) })
	return f, nil
}

// shared finds the attribute of a channel, which may be its own or shared by its type: in_voltage0_scale, in_voltage_scale; of a
// differential one in_voltage0-voltage1_scale, in_voltage-voltage_scale.
func shared(dir, attr, typ, index, other, modifier string) string {
	bare := strings.TrimRight(other, "0123456789")
	for _, stem := range []string{typ + index + other + modifier, typ + bare + modifier, typ + modifier, typ} {
		if path := filepath.Join(dir, "in_"+stem+"_"+attr); exists(path) {
			return path
		}
	}
	return ""
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
