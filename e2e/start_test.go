//go:build e2e

package e2e

import (
	"bytes"
	"fmt"
	"image/jpeg"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/perchcam/perch/e2e/proc"
)

// TestStartsOnEveryPi runs the packages' agents on the processors of the Pis, to the first picture: one armhf package serves the
// ARM1176 of the Pi Zero and 1 as well as the later ones. Code for ARMv7 ends on the ARM1176 with SIGILL.
func TestStartsOnEveryPi(t *testing.T) {
	bin := filepath.Join("..", "build", "bin")
	broker, url, err := proc.Broker(t.Context(), filepath.Join(bin, "perch-broker"))
	if err != nil {
		t.Fatal(err)
	}
	defer broker.Stop()
	for _, c := range []struct{ arch, emulator, cpu string }{
		{"armhf", "qemu-arm-static", "arm1176"},        // Zero, 1
		{"armhf", "qemu-arm-static", "cortex-a7"},      // 2
		{"arm64", "qemu-aarch64-static", "cortex-a53"}, // 3, Zero 2
		{"arm64", "qemu-aarch64-static", "cortex-a72"}, // 4
	} {
		t.Run(c.cpu, func(t *testing.T) {
			agent, err := proc.Start("/usr/bin/"+c.emulator, []string{"-cpu", c.cpu, filepath.Join("..", "build", "deb", c.arch, "perch-agent")},
				[]string{"PERCH_BROKER=" + url, "PERCH_DEVICE=" + c.cpu, "PERCH_CAMERAS=test=pattern,width=320,height=240"})
			if err != nil {
				t.Fatal(err)
			}
			out, err := exec.CommandContext(t.Context(), filepath.Join(bin, "perch"), "--broker", url, "snapshot", c.cpu, "--wait", "60s", "--timeout", "70s", "-o", "-").Output()
			if err == nil {
				_, err = jpeg.Decode(bytes.NewReader(out))
			}
			if err != nil {
				t.Error(fmt.Errorf("no picture: %w; the agent said:\n%s", err, agent.Said()))
			}
			if err := agent.Stop(); err != nil {
				t.Error(err)
			}
		})
	}
}
