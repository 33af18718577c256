package gpio

import (
	"errors"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/kelseyhightower/envconfig"
)

func TestParseSensors(t *testing.T) {
	got, err := ParseSensors(`door=gpio:GPIO17,pull=up,active=low,debounce=50ms,class=door; pir=gpio:27,class=motion,hold=10s
		tilt=gpio:pinctrl-rp1/22,pull=none,active=high,edges=active,debounce=0
		rain=gpio:5,pull=down,chip=expander,count=true,every=5s;
		air=iio:bme280,every=30s,delta=0.2,digits=1; out=w1:28-3c01d607,unit=Cel; cpu=thermal:cpu-thermal
		tank=ads1115:i2c-1,channel=0-1,range=2.048; power=ina219:i2c-1/0x41,shunt=0.05;`)
	if err != nil {
		t.Fatal(err)
	}
	measured := func(s SensorSpec) SensorSpec {
		if s.Every == 0 {
			s.Every = time.Minute
		}
		if s.Digits == 0 {
			s.Digits = 3
		}
		return s
	}
	const ms = time.Millisecond
	want := []SensorSpec{
		{Name: "door", Kind: "gpio", Address: "GPIO17", Class: "door", Pull: PullUp, ActiveLow: true, Debounce: 50 * ms, Digits: 3},
		{Name: "pir", Kind: "gpio", Address: "GPIO27", Class: "motion", Pull: PullNone, Debounce: 30 * ms, Hold: 10 * time.Second, Digits: 3},
		{Name: "tilt", Kind: "gpio", Address: "pinctrl-rp1/22", Pull: PullNone, Edges: EdgesActive, Digits: 3},
		{Name: "rain", Kind: "gpio", Address: "GPIO5", Class: "counter", Chip: "expander", Pull: PullDown, Debounce: 30 * ms, Edges: EdgesActive, Count: true, Every: 5 * time.Second, Digits: 3},
		measured(SensorSpec{Name: "air", Kind: "iio", Address: "bme280", Every: 30 * time.Second, Delta: 0.2, Digits: 1}),
		measured(SensorSpec{Name: "out", Kind: "w1", Address: "28-3c01d607", Unit: "Cel"}),
		measured(SensorSpec{Name: "cpu", Kind: "thermal", Address: "cpu-thermal"}),
		measured(SensorSpec{Name: "tank", Kind: "ads1115", Address: "i2c-1/0x48", Channel: "0-1", Range: 2.048}),
		measured(SensorSpec{Name: "power", Kind: "ina219", Address: "i2c-1/0x41", Shunt: 0.05}),
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

func TestParseOutputsAndTriggers(t *testing.T) {
	outputs, err := ParseOutputs("ir=gpio:GPIO22,active=low,initial=on,max_on=60s; lock=gpio:GPIO24,safe=on; live=gpio:GPIO23,show=viewing")
	want := []OutputSpec{
		{Name: "ir", Line: "GPIO22", ActiveLow: true, Initial: true, MaxOn: time.Minute},
		{Name: "lock", Line: "GPIO24", Safe: true},
		{Name: "live", Line: "GPIO23", Viewing: true},
	}
	if d := cmp.Diff(want, outputs); err != nil || d != "" {
		t.Error(err, d)
	}
	triggers, err := ParseTriggers("on=door:rise do=snapshot:front,keep=7\non=pir:change do=snapshot:back,pause=10s; on=pir:fall do=snapshot:back")
	wantTriggers := []TriggerSpec{
		{Sensor: "door", Edge: Rise, Action: "snapshot", Target: "front", Keep: 7, Pause: time.Second},
		{Sensor: "pir", Edge: Change, Action: "snapshot", Target: "back", Keep: 5, Pause: 10 * time.Second},
		{Sensor: "pir", Edge: Fall, Action: "snapshot", Target: "back", Keep: 5, Pause: time.Second},
	}
	if d := cmp.Diff(wantTriggers, triggers); err != nil || d != "" {
		t.Error(err, d)
	}
}

// Every mistake is found in one go, and each says where it is.
func TestParseReportsEveryMistake(t *testing.T) {
	for _, c := range []struct {
		text  string
		parse func(string) error
		want  string
	}{
		{`Door=gpio:1; a=gpio; b=radio:x,every=1s; c=gpio:GPIO4,pull=sideways,colour=red,pull=up; d=gpio:GPIO4; d=iio:bme280,every=1ms
			e=gpio:5,pull=none; f=gpio:6,class=dragon,debounce=1h; g=iio:../../etc; h=bme280:1; i=aht20:i2c-1/0x40; j=gpio:chip/x
			k=gpio:x/1,chip=y; l=ads1115:i2c-1,channel=9,range=99; m=thermal:cpu,digits=2.5,junk,unit=; n=gpio:9,count=true,hold=1s`, func(s string) error { _, err := ParseSensors(s); return err }, `
sensor "Door=gpio:1": want name=kind:address
sensor "a": want kind:address after the =, not "gpio"
sensor "b": unknown kind "radio"; there are gpio, iio, hwmon, w1, thermal, ads1015, ads1115, aht20, bme280, bmp180, bmp280, hdc302x, ina219
sensor "c", pull: given twice
sensor "c", pull: want up, down, none, not "sideways"
sensor "c", colour: unknown key
sensor "d": the line GPIO4 is already used by "c"
sensor "d": the name is used twice
sensor "d", every: want a duration like 50ms or 10s from 100ms to 24h0m0s, not "1ms"
sensor "e", active: needed with pull=none, low or high
sensor "f", class: unknown class "dragon"
sensor "f", debounce: want a duration like 50ms or 10s from 0s to 10s, not "1h"
sensor "g": "../../etc" is no name of a device
sensor "h": "1" is no place on a bus; want i2c-1 or i2c-1/0x76
sensor "i": the address of a chip of this kind is 0x38 to 0x38, not 0x40
sensor "j": "chip/x" is no line
sensor "k", chip: "y" contradicts the address "x/1"
sensor "l", channel: want 0, 1, 2, 3, 0-1, 0-3, 1-3, 2-3, not "9"
sensor "l", range: want a number from 0.001 to 6.144, not "99"
sensor "m", digits: want a number from 0 to 9, not "2.5"
sensor "n", hold: has no meaning with count=true
sensor "m": want key=value, not "junk"
sensor "m": want key=value, not "unit="`},
		{"a=led:x; b=gpio:GPIO1,max_on=-1s,initial=maybe; c=gpio:1; d=gpio:2,show=viewing,initial=on,max_on=1s; e=gpio:3,safe=on,max_on=1s", func(s string) error { _, err := ParseOutputs(s); return err }, `
output "a": unknown kind "led"; there is gpio
output "b", max_on: want a duration
output "b", initial: want on, off, not "maybe"
output "c": the line GPIO1 is already used by "b"
output "d", initial: cannot be on with show=viewing
output "d", max_on: contradicts show=viewing
output "e", max_on: contradicts safe=on`},
		{"door; on=door:open do=snapshot:front; on=A:rise do=siren:x; on=door:rise do=snapshot:,keep=0,speed=1", func(s string) error { _, err := ParseTriggers(s); return err }, `
trigger "door": want on=sensor:edge do=action:target
trigger "2", on: want rise, fall, change, not "open"
trigger "3", on: "A" is no name of a sensor
trigger "3", do: unknown action "siren"; there is snapshot
trigger "4", do: want snapshot:camera, not "snapshot:"
trigger "4", keep: want a number from 1 to 100, not "0"
trigger "4", speed: unknown key`},
		{strings.Repeat("x=", 200) + strings.Repeat(";y", 200), func(s string) error { _, err := ParseSensors(s); return err }, "201 sensors, at most 128 are possible"},
	} {
		err := c.parse(c.text)
		if err == nil {
			t.Errorf("no error for %q", c.text)
			continue
		}
		for line := range strings.Lines(c.want) {
			if !strings.Contains(err.Error(), strings.TrimSpace(line)) {
				t.Errorf("no %q among\n%v", line, err)
			}
		}
		if n := strings.Count(strings.TrimSpace(c.want), "\n") + 1; n > 1 && n != len(strings.Split(err.Error(), "\n")) {
			t.Errorf("want %d mistakes, got\n%v", n, err)
		}
	}
}

func TestEnvconfigDecodes(t *testing.T) {
	var c struct {
		Sensors  Sensors
		Outputs  Outputs
		Triggers Triggers
	}
	t.Setenv("PERCH_SENSORS", "door=gpio:GPIO17,class=door;air=iio:bme280")
	t.Setenv("PERCH_OUTPUTS", "ir=gpio:GPIO22")
	t.Setenv("PERCH_TRIGGERS", "on=door:rise do=snapshot:front")
	if err := envconfig.Process("perch", &c); err != nil || len(c.Sensors) != 2 || len(c.Outputs) != 1 || len(c.Triggers) != 1 {
		t.Errorf("%+v, %v", c, err)
	}
	os.Setenv("PERCH_SENSORS", "door=gpio")
	if err := envconfig.Process("perch", &c); err == nil || !strings.Contains(err.Error(), "PERCH_SENSORS") {
		t.Errorf("a mistake: %v", err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add("door=gpio:GPIO17,pull=up,active=low,debounce=50ms,class=door;air=iio:bme280,every=30s")
	f.Add("ir=gpio:22,initial=off,max_on=60s\n\x00=;;,=,:")
	f.Add("on=door:rise do=snapshot:front,keep=5")
	f.Fuzz(func(t *testing.T, text string) {
		sensors, err := ParseSensors(text)
		if err == nil {
			for _, s := range sensors {
				if !nameSyntax.MatchString(s.Name) || strings.ContainsAny(s.Address, "\x00\n;") || !s.IsInput() && s.Every <= 0 {
					t.Errorf("%q gave %+v", text, s)
				}
			}
		}
		if outputs, err := ParseOutputs(text); err == nil {
			for _, o := range outputs {
				if !nameSyntax.MatchString(o.Name) || o.Line == "" || o.MaxOn < 0 {
					t.Errorf("%q gave %+v", text, o)
				}
			}
		}
		if triggers, err := ParseTriggers(text); err == nil {
			for _, tr := range triggers {
				if tr.Keep < 1 || tr.Keep > 100 || tr.Pause <= 0 {
					t.Errorf("%q gave %+v", text, tr)
				}
			}
		}
	})
}

// The manual's examples are taken, and it names every kind and key.
func TestTheManual(t *testing.T) {
	text, err := os.ReadFile("../../docs/SENSORS.md")
	if err != nil {
		t.Fatal(err)
	}
	parse := map[string]func(string) error{
		"SENSORS":  func(s string) error { _, err := ParseSensors(s); return err },
		"OUTPUTS":  func(s string) error { _, err := ParseOutputs(s); return err },
		"TRIGGERS": func(s string) error { _, err := ParseTriggers(s); return err },
	}
	examples := regexp.MustCompile(`(?m)^    PERCH_(\w+)="(.*)"$`).FindAllStringSubmatch(string(text), -1)
	if len(examples) < 6 {
		t.Errorf("%d examples were found", len(examples))
	}
	for _, m := range examples {
		if err := parse[m[1]](m[2]); err != nil {
			t.Errorf("%s: %v", m[2], err)
		}
	}
	names := append(slices.Collect(maps.Keys(chipKinds)), fileKinds...)
	for _, f := range []func(*check){
		func(c *check) { c.sensor(entry{name: "a", kind: "gpio", address: "1", order: []string{""}}) },
		func(c *check) {
			c.sensor(entry{name: "a", kind: "gpio", address: "1", keys: map[string]string{"count": "true"}, order: []string{""}})
		},
		func(c *check) { c.sensor(entry{name: "a", kind: "ads1115", address: "i2c-1", order: []string{""}}) },
		func(c *check) { c.sensor(entry{name: "a", kind: "ina219", address: "i2c-1", order: []string{""}}) },
		func(c *check) { c.output(entry{name: "a", kind: "gpio", address: "1", order: []string{""}}) },
	} {
		c := newCheck("")
		f(c)
		_, keys, _ := strings.Cut(errors.Join(c.errs...).Error(), "there are ")
		names = append(names, strings.Split(keys, ", ")...)
	}
	for _, name := range append(names, "keep", "pause") {
		if !strings.Contains(string(text), "`"+name+"`") {
			t.Errorf("%s is not explained", name)
		}
	}
}
