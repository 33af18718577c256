package api

import (
	"strings"
	"testing"
)

func TestNames(t *testing.T) {
	for _, name := range []string{"a", "0", "pi-42", "pi.garden_2", strings.Repeat("a", 63)} {
		if err := CheckName("device", name); err != nil {
			t.Error(err)
		}
	}
	for _, name := range []string{"", "A", "-a", ".a", "_a", "a b", "a/b", "ä", "a\x00", "a\n", "a*", strings.Repeat("a", 64)} {
		if err := CheckName("device", name); err == nil || !strings.HasPrefix(err.Error(), "device ") {
			t.Errorf("%q: %v", name, err)
		}
	}
	if err := CheckName("device", strings.Repeat("\x1b", 1<<20)); len(err.Error()) > 2000 || strings.Contains(err.Error(), "\x1b") {
		t.Errorf("the error repeats what it refuses: %d bytes", len(err.Error()))
	}
}

func TestDefaultDevice(t *testing.T) {
	id, err := DeviceID("0123456789abcdef0123456789abcdef\n")
	if err != nil {
		t.Fatal(err)
	}
	for host, want := range map[string]string{
		"garden":                            "garden",
		"Garden.Example.ORG":                "garden.example.org",
		"raspberrypi":                       "raspberrypi-" + id[:4],
		"RaspberryPi.local":                 "raspberrypi-" + id[:4],
		"localhost":                         "localhost-" + id[:4],
		"localhost.localdomain":             "localhost-" + id[:4],
		"":                                  "device-" + id[:4],
		"---":                               "device-" + id[:4],
		"日本":                                "device-" + id[:4],
		"_my pi!":                           "my-pi",
		strings.Repeat("a", 62) + "-" + "b": strings.Repeat("a", 62),
	} {
		got := DefaultDevice(host, id)
		if got != want {
			t.Errorf("%q is %q, want %q", host, got, want)
		}
		if err := CheckName("device", got); err != nil {
			t.Error(err)
		}
	}
}

// TestDeviceID keeps the derivation: a device that changed its id would be another one.
func TestDeviceID(t *testing.T) {
	const machine = "0123456789abcdef0123456789abcdef"
	id, err := DeviceID(machine)
	if err != nil {
		t.Fatal(err)
	}
	if want := "74838cc195a105488df7495b32ef234e"; id != want {
		t.Errorf("the id is %s, it was %s", id, want)
	}
	if strings.Contains(id, machine[:8]) {
		t.Error("it shows the machine id")
	}
	if upper, err := DeviceID(strings.ToUpper(machine) + "\n"); err != nil || upper != id {
		t.Errorf("in capitals it is %s, %v", upper, err)
	}
	for _, machine := range []string{"", "uninitialized\n", machine[1:], machine + "00", "g" + machine[1:]} {
		if id, err := DeviceID(machine); err == nil {
			t.Errorf("%q has the id %s", machine, id)
		}
	}
}
