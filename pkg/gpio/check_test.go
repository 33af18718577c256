package gpio_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/perchcam/perch/pkg/gpio"
	"github.com/perchcam/perch/pkg/gpio/gpiotest"
)

func TestCheck(t *testing.T) {
	sensors, _ := gpio.ParseSensors("door=gpio:GPIO17; hatch=gpio:GPIO27; attic=gpio:GPIO5; air=iio:bme280,digits=1; out=w1:28-1; lost=iio:sht")
	outputs, _ := gpio.ParseOutputs("ir=gpio:GPIO22; heat=gpio:GPIO23")
	lines, devices := gpiotest.NewLines(), gpiotest.NewDevices()
	lines.Line("GPIO27").Busy("gpiomon")
	lines.Line("GPIO5").Missing()
	lines.Line("GPIO23").Busy("perch:heat")
	devices.Measure("air", celsius(21.234), gpio.Value{Quantity: "humidity", Value: 45, Unit: "%RH"})
	devices.Fail("lost", hinted{})
	var got []string
	for _, f := range gpio.Check(t.Context(), gpio.Config{Sensors: sensors, Outputs: outputs, Lines: lines, Devices: devices}) {
		got = append(got, f.String())
	}
	want := []string{
		"sensor door: fake offset 0 (GPIO17), off",
		`sensor hatch: fake offset 0 (GPIO27): line GPIO27 is in use by "gpiomon"`,
		"sensor attic: no chip has a line GPIO5: file does not exist",
		"sensor air: temperature 21.2 Cel, humidity 45 %RH",
		"sensor out: no w1 28-1: file does not exist",
		"sensor lost: it is gone; add a line",
		"output ir: fake offset 0 (GPIO22)",
		`output heat: fake offset 0 (GPIO23): line GPIO23 is in use by "perch:heat"`,
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if lines.Line("GPIO17").Consumer() != "" || lines.Line("GPIO22").Levels() != nil {
		t.Error("a dry run left something behind")
	}
}
