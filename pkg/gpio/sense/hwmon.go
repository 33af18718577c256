package sense

import (
	"os"
	"path/filepath"
	"regexp"

	"github.com/perchcam/perch/pkg/gpio"
)

// hwmonTypes are the units of Documentation/ABI/testing/sysfs-class-hwmon.
var hwmonTypes = map[string]quantity{
	"temp":     {"temperature", "Cel", 1e-3},
	"humidity": {"humidity", "%RH", 1e-3},
	"in":       {"voltage", "V", 1e-3},
	"curr":     {"current", "A", 1e-3},
	"power":    {"power", "W", 1e-6},
	"energy":   {"energy", "J", 1e-6},
	"fan":      {"fan", "1/min", 1},
}

var (
	hwmonInput = regexp.MustCompile(`^(temp|humidity|in|curr|power|energy|fan)([0-9]+)_input$`)
	hwmonAlarm = regexp.MustCompile(`^[a-z]+[0-9]+_([a-z_]+_)?alarm$`)
)

// openHwmon opens a hardware monitor: the kernel's SHT3x, AHT10, INA219, fans, and the Pi's own under-voltage alarm (rpi_volt).
func openHwmon(sys, name string) (gpio.Sensor, error) {
	dir, err := find("hwmon", filepath.Join(sys, "class/hwmon/hwmon*"), name, "name")
	if err != nil {
		return nil, err
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	f := &files{what: "the hwmon device " + name}
	kinds := map[string]string{}
	for _, e := range entries {
		if m := hwmonInput.FindStringSubmatch(e.Name()); m != nil {
			q := hwmonTypes[m[1]]
			f.channels = append(f.channels, channel{quantity: q.name + m[2], unit: q.unit, value: filepath.Join(dir, e.Name()), factor: q.factor})
			kinds[q.name+m[2]] = q.name
		}
	}
	if len(f.channels) == 0 { // rpi_volt has nothing but in0_lcrit_alarm
		for _, e := range entries {
			if hwmonAlarm.MatchString(e.Name()) {
				f.channels = append(f.channels, channel{quantity: e.Name(), value: filepath.Join(dir, e.Name()), factor: 1})
				kinds[e.Name()] = e.Name()
			}
		}
	}
	if len(f.channels) == 0 {
		return nil, missing("hwmon", name, nil)
	}
	plain(f.channels, func(c channel) string { return kinds[c.quantity] })
	return f, nil
}

// openThermal opens a thermal zone by its type (cpu-thermal) or by the name of its directory. periph's ThermalSensor is not used: it
// guesses the scale from its first reading, so a start below 0.1 °C makes every later reading a thousand times too high
// (periph.io/x/host/v3 v3.8.5, sysfs/thermal_sensor.go:125).
func openThermal(sys, name string) (gpio.Sensor, error) {
	dir, err := find("thermal", filepath.Join(sys, "class/thermal/thermal_zone*"), name, "type")
	if err != nil {
		return nil, err
	}
	c := channel{quantity: "temperature", unit: "Cel", value: filepath.Join(dir, "temp"), factor: 1e-3}
	return &files{what: "the thermal zone " + name, channels: []channel{c}}, nil
}
