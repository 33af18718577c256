package sense

import (
	"slices"
	"strings"
)

// overlays are the parameters of the overlay i2c-sensor that name a driver (arch/arm/boot/dts/overlays/README of raspberrypi/linux).
var overlays = strings.Fields(`adt7410 aht10 bh1750 bme280 bme680 bmp085 bmp180 bmp280 bmp380 bno055 ccs811 ds1621 hdc100x htu21 jc42 lm75
	max17040 mcp980x ms5637 ms5803 ms5805 ms5837 ms8607 sht3x sht4x si7020 sps30 sgp30 tmp102 tsl4531 veml6070`)

const config = "/boot/firmware/config.txt"

// Line returns the line of config.txt that gives the machine a device of a kind (a kernel class, or a chip on I²C), or "" where there is
// none to know.
func Line(kind, name string) string {
	name, _, _ = strings.Cut(name, "@")
	switch {
	case kind == "w1":
		return "dtoverlay=w1-gpio,gpiopin=4"
	case kind == "thermal":
		return ""
	case kind != "iio" && kind != "hwmon":
		return "dtparam=i2c_arm=on"
	case name == "dht11", name == "dht22":
		return "dtoverlay=dht11,gpiopin=4"
	case name == "ads1115", name == "ads1015":
		return "dtoverlay=" + name + ",cha_enable"
	case slices.Contains(overlays, name):
		return "dtoverlay=i2c-sensor," + name
	}
	return ""
}

// Hint is what a person can do about a device that is missing.
func Hint(kind, name string) string {
	line := Line(kind, name)
	switch {
	case line == "" && kind == "thermal":
		return "the zones there are: cat /sys/class/thermal/thermal_zone*/type"
	case line == "":
		return "load its driver; an overlay for " + config + " may be in /boot/firmware/overlays/README"
	case line == "dtparam=i2c_arm=on":
		return "add the line " + line + " to " + config + ", load the module i2c-dev, and restart the Pi"
	}
	return "add the line " + line + " to " + config + " and restart the Pi"
}
