package sense

import (
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/perchcam/perch/pkg/gpio"
)

// sys lays out a /sys. A text that begins with "→" is a link; "EIO" is a file that fails as a device does, for which /proc/self/mem, read
// at address 0, serves.
func sys(t *testing.T, files map[string]string) string {
	t.Helper()
	root := t.TempDir()
	for _, name := range slices.Sorted(maps.Keys(files)) {
		put(t, filepath.Join(root, name), files[name])
	}
	return root
}

func put(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	_ = os.Remove(path)
	err := error(nil)
	switch target, link := strings.CutPrefix(text, "→"); {
	case link:
		err = os.Symlink(target, path)
	case text == "EIO":
		err = os.Symlink("/proc/self/mem", path)
	default:
		err = os.WriteFile(path, []byte(text+"\n"), 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// The layouts are those of the kernel's drivers (bmp280, dht11, ti-ads1015, sht3x, rpi_volt, w1_therm, bcm2835_thermal).
var pi = map[string]string{
	"devices/platform/soc/i2c-1/1-0076/iio:device0/name":                      "bme280",
	"devices/platform/soc/i2c-1/1-0076/iio:device0/in_temp_input":             "-1250",
	"devices/platform/soc/i2c-1/1-0076/iio:device0/in_pressure_input":         "100.943125",
	"devices/platform/soc/i2c-1/1-0076/iio:device0/in_humidityrelative_input": "45300",
	"devices/platform/soc/i2c-1/1-0076/iio:device0/in_temp_oversampling":      "2",
	"bus/iio/devices/iio:device0":                                             "→../../../devices/platform/soc/i2c-1/1-0076/iio:device0",

	"devices/platform/soc/i2c-1/1-0048/iio:device1/name":                       "ads1015",
	"devices/platform/soc/i2c-1/1-0048/iio:device1/in_voltage0_raw":            "-100",
	"devices/platform/soc/i2c-1/1-0048/iio:device1/in_voltage0_scale":          "3.000000000",
	"devices/platform/soc/i2c-1/1-0048/iio:device1/in_voltage1_raw":            "73",
	"devices/platform/soc/i2c-1/1-0048/iio:device1/in_voltage1_offset":         "7",
	"devices/platform/soc/i2c-1/1-0048/iio:device1/in_voltage_scale":           "1.5",
	"devices/platform/soc/i2c-1/1-0048/iio:device1/in_voltage0-voltage1_raw":   "10",
	"devices/platform/soc/i2c-1/1-0048/iio:device1/in_voltage-voltage_scale":   "2",
	"devices/platform/soc/i2c-1/1-0048/iio:device1/in_concentration_co2_input": "0.0412",
	"devices/platform/soc/i2c-1/1-0048/iio:device1/in_proximity_raw":           "5",
	"devices/platform/soc/i2c-1/1-0048/iio:device1/in_resistance_raw":          "9",
	"bus/iio/devices/iio:device1":                                              "→../../../devices/platform/soc/i2c-1/1-0048/iio:device1",

	"devices/platform/dht11@4/iio:device2/name":                      "dht11@4",
	"devices/platform/dht11@4/iio:device2/in_temp_input":             "EIO",
	"devices/platform/dht11@4/iio:device2/in_humidityrelative_input": "50000",
	"bus/iio/devices/iio:device2":                                    "→../../../devices/platform/dht11@4/iio:device2",

	"class/hwmon/hwmon0/name":                                 "cpu_thermal",
	"class/hwmon/hwmon0/temp1_input":                          "48312",
	"class/hwmon/hwmon1/name":                                 "sht3x",
	"class/hwmon/hwmon1/temp1_input":                          "-40",
	"class/hwmon/hwmon1/temp1_alarm":                          "0",
	"class/hwmon/hwmon1/humidity1_input":                      "61200",
	"class/hwmon/hwmon1/device":                               "→../../../devices/i2c-1/1-0044",
	"devices/i2c-1/1-0044/modalias":                           "i2c:sht3x",
	"class/hwmon/hwmon2/name":                                 "rpi_volt",
	"class/hwmon/hwmon2/in0_lcrit_alarm":                      "1",
	"class/hwmon/hwmon3/name":                                 "ina219",
	"class/hwmon/hwmon3/in0_input":                            "12",
	"class/hwmon/hwmon3/in1_input":                            "5024",
	"class/hwmon/hwmon3/curr1_input":                          "-350",
	"class/hwmon/hwmon3/power1_input":                         "1760000",
	"class/hwmon/hwmon3/update_interval":                      "2",
	"class/hwmon/hwmon4/name":                                 "sht3x",
	"class/hwmon/hwmon4/temp1_input":                          "21000",
	"class/hwmon/hwmon4/device":                               "→../../../devices/i2c-1/1-0045",
	"devices/i2c-1/1-0045/modalias":                           "i2c:sht3x",
	"class/thermal/thermal_zone0/type":                        "cpu-thermal",
	"class/thermal/thermal_zone0/temp":                        "-1250",
	"bus/w1/devices/28-3c01d607ab12/name":                     "28-3c01d607ab12",
	"bus/w1/devices/28-3c01d607ab12/temperature":              "-10062",
	"bus/w1/devices/28-000000000001/hwmon/hwmon9/temp1_input": "23125",
	"bus/w1/devices/w1_bus_master1/w1_master_slave_count":     "2",
}

func value(q string, v float64, u string) gpio.Value {
	return gpio.Value{Quantity: q, Value: v, Unit: u}
}

func TestFiles(t *testing.T) {
	d := Devices{Sys: sys(t, pi)}
	bme := []gpio.Value{value("humidity", 45.3, "%RH"), value("pressure", 100943.125, "Pa"), value("temperature", -1.25, "Cel")}
	sht := []gpio.Value{value("humidity", 61.2, "%RH"), value("temperature", -0.04, "Cel")}
	for _, c := range []struct {
		kind, address string
		want          []gpio.Value
	}{
		{"iio", "bme280", bme},
		{"iio", "1-0076", bme},
		{"iio", "iio:device0", bme},
		{"iio", "ads1015", []gpio.Value{
			value("concentration_co2", 412, "ppm"), value("proximity", 5, ""), value("resistance", 9, ""),
			value("voltage0", -0.3, "V"), value("voltage0-voltage1", 0.02, "V"), value("voltage1", 0.12, "V"),
		}},
		{"hwmon", "cpu_thermal", []gpio.Value{value("temperature", 48.312, "Cel")}},
		{"hwmon", "1-0044", sht},
		{"hwmon", "hwmon1", sht},
		{"hwmon", "rpi_volt", []gpio.Value{value("in0_lcrit_alarm", 1, "")}},
		{"hwmon", "ina219", []gpio.Value{value("current", -0.35, "A"), value("voltage0", 0.012, "V"), value("voltage1", 5.024, "V"), value("power", 1.76, "W")}},
		{"thermal", "cpu-thermal", []gpio.Value{value("temperature", -1.25, "Cel")}},
		{"thermal", "thermal_zone0", []gpio.Value{value("temperature", -1.25, "Cel")}},
		{"w1", "28-3c01d607ab12", []gpio.Value{value("temperature", -10.062, "Cel")}},
		{"w1", "28-3c01", []gpio.Value{value("temperature", -10.062, "Cel")}},
		{"w1", "28-000000000001", []gpio.Value{value("temperature", 23.125, "Cel")}}, // before Linux 5.8
	} {
		s, err := d.OpenSensor(gpio.SensorSpec{Kind: c.kind, Address: c.address})
		if err != nil {
			t.Errorf("%s:%s: %v", c.kind, c.address, err)
			continue
		}
		got, err := s.Read(t.Context())
		if diff := cmp.Diff(c.want, got, cmpopts.EquateApprox(1e-9, 0)); err != nil || diff != "" {
			t.Errorf("%s:%s: %v %s", c.kind, c.address, err, diff)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
}

// A device that is missing says what to write into config.txt.
func TestMissingDevicesSayWhatToDo(t *testing.T) {
	d := Devices{Sys: sys(t, pi)}
	for _, c := range []struct{ kind, address, text, hint string }{
		{"iio", "bmp280", `there is no iio device "bmp280", only ["bme280" "ads1015" "dht11@4"]`, "add the line dtoverlay=i2c-sensor,bmp280 to /boot/firmware/config.txt"},
		{"iio", "dht22", `there is no iio device "dht22"`, "add the line dtoverlay=dht11,gpiopin=4"},
		{"iio", "ads1115", `there is no iio device "ads1115"`, "add the line dtoverlay=ads1115,cha_enable"},
		{"iio", "unheard-of", `there is no iio device "unheard-of"`, "load its driver"},
		{"hwmon", "sht4x", `there is no hwmon device "sht4x"`, "add the line dtoverlay=i2c-sensor,sht4x"},
		{"hwmon", "sht3x", `there are 2 hwmon devices "sht3x"`, `say which: one of ["1-0044" "1-0045"]`},
		{"w1", "28-ffff", `there is no w1 device "28-ffff", only ["28-000000000001" "28-3c01d607ab12"]`, "add the line dtoverlay=w1-gpio,gpiopin=4"},
		{"w1", "28-", `more than one w1 device begins with "28-"`, "give the whole id"},
		{"thermal", "gpu", `there is no thermal device "gpu", only ["cpu-thermal"]`, "cat /sys/class/thermal"},
	} {
		_, err := d.OpenSensor(gpio.SensorSpec{Kind: c.kind, Address: c.address})
		if !errors.Is(err, fs.ErrNotExist) || !strings.HasPrefix(err.Error(), c.text) {
			t.Errorf("%s:%s: %v, want %s", c.kind, c.address, err, c.text)
		}
		if h, ok := errors.AsType[gpio.Hinter](err); !ok || !strings.Contains(h.Hint(), c.hint) {
			t.Errorf("%s:%s: hint %v, want %s", c.kind, c.address, h, c.hint)
		}
	}
	if _, err := (Devices{Sys: t.TempDir()}).OpenSensor(gpio.SensorSpec{Kind: "iio", Address: "bme280"}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("an empty /sys: %v", err)
	}
}

// One broken channel makes the device one that cannot be read: half a reading would look like a whole one.
func TestAnErrorOfTheDeviceIsOne(t *testing.T) {
	d := Devices{Sys: sys(t, pi)}
	s, err := d.OpenSensor(gpio.SensorSpec{Kind: "iio", Address: "dht11"})
	if err != nil {
		t.Fatal(err)
	}
	values, err := s.Read(t.Context())
	if !errors.Is(err, syscall.EIO) || values != nil || !strings.Contains(err.Error(), "temperature of the IIO device dht11") {
		t.Errorf("%v, %v", values, err)
	}
}

func TestADeviceGoesAndComesBack(t *testing.T) {
	root := sys(t, pi)
	d := Devices{Sys: root}
	s, err := d.OpenSensor(gpio.SensorSpec{Kind: "thermal", Address: "cpu-thermal"})
	if err != nil {
		t.Fatal(err)
	}
	zone := filepath.Join(root, "class/thermal/thermal_zone0")
	if err := os.RemoveAll(zone); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Read(t.Context()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a device that is gone: %v", err)
	}
	if _, err := d.OpenSensor(gpio.SensorSpec{Kind: "thermal", Address: "cpu-thermal"}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("opening it: %v", err)
	}
	put(t, filepath.Join(root, "class/thermal/thermal_zone7/type"), "cpu-thermal") // under another number
	put(t, filepath.Join(root, "class/thermal/thermal_zone7/temp"), "50000")
	s, err = d.OpenSensor(gpio.SensorSpec{Kind: "thermal", Address: "cpu-thermal"})
	if err != nil {
		t.Fatal(err)
	}
	if values, err := s.Read(t.Context()); err != nil || values[0].Value != 50 {
		t.Errorf("%v, %v", values, err)
	}
}

// periph's thermal sensor takes a first reading below 0.1 °C for whole degrees, for ever (host v3.8.5, sysfs/thermal_sensor.go:125): a cold
// start must not make 23,125 °C of what follows.
func TestAColdStartIsNoOtherScale(t *testing.T) {
	root := sys(t, pi)
	s, err := Devices{Sys: root}.OpenSensor(gpio.SensorSpec{Kind: "thermal", Address: "cpu-thermal"})
	if err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]float64{"-1250": -1.25, "0": 0, "62": 0.062, "99": 0.099, "23125": 23.125} {
		put(t, filepath.Join(root, "class/thermal/thermal_zone0/temp"), text)
		if values, err := s.Read(t.Context()); err != nil || values[0].Value != want {
			t.Errorf("%s: %v, %v", text, values, err)
		}
	}
}

// 85 °C is what a DS18B20 says when it has lost power; it is believed only of one that was near it.
func TestPowerOnValueOfAThermometer(t *testing.T) {
	root := sys(t, pi)
	file := filepath.Join(root, "bus/w1/devices/28-3c01d607ab12/temperature")
	s, err := Devices{Sys: root}.OpenSensor(gpio.SensorSpec{Kind: "w1", Address: "28-3c01d607ab12"})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		file string
		ok   bool
	}{{"85000", false}, {"20000", true}, {"85000", false}, {"82000", true}, {"85000", true}, {"84937", true}, {"85000", true}, {"", false}, {"t=85000", false}} {
		put(t, file, c.file)
		if values, err := s.Read(t.Context()); (err == nil) != c.ok {
			t.Errorf("%q: %v, %v", c.file, values, err)
		}
	}
}

func FuzzNumber(f *testing.F) {
	f.Add([]byte("-1250\n"))
	f.Add([]byte("nan"))
	f.Add([]byte{0xff, 0})
	path := filepath.Join(f.TempDir(), "temp")
	f.Fuzz(func(t *testing.T, content []byte) {
		if err := os.WriteFile(path, content, 0o644); err != nil {
			t.Skip(err)
		}
		v, err := number(path)
		if s := strings.TrimSpace(string(content)); err == nil && s == "" {
			t.Errorf("%q gave %v", content, v)
		}
	})
}
