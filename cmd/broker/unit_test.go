package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
)

// The service manager starts a broker again that has crashed, and not one whose flags are wrong.
func TestUnitTellsCrashesFromUsage(t *testing.T) {
	const crashed = 2 // of a Go program that panics
	code := run([]string{"--listne"}, io.Discard, io.Discard)
	if code == crashed {
		t.Errorf("what is typed wrong ends as a crash does, with %d", code)
	}
	unit, err := os.ReadFile("../../packaging/broker/perch-broker.service")
	if err != nil {
		t.Fatal(err)
	}
	if want := fmt.Sprintf("\nRestartPreventExitStatus=%d\n", code); !strings.Contains(string(unit), want) {
		t.Errorf("the unit lacks %q", want)
	}
}
