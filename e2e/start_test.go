//go:build e2e

package e2e

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestStartsOnEveryPi runs the packages' programs on the processors of the Pis: one armhf package serves the ARM1176 of the
// Pi Zero and 1 as well as the later ones. Code for ARMv7 ends on the ARM1176 with SIGILL.
func TestStartsOnEveryPi(t *testing.T) {
	for _, c := range []struct{ arch, emulator, cpu string }{
		{"armhf", "qemu-arm-static", "arm1176"},        // Zero, 1
		{"armhf", "qemu-arm-static", "cortex-a7"},      // 2
		{"arm64", "qemu-aarch64-static", "cortex-a53"}, // 3, Zero 2
		{"arm64", "qemu-aarch64-static", "cortex-a72"}, // 4
	} {
		program := filepath.Join("..", "build", "deb", c.arch, "perch-agent")
		out, err := exec.CommandContext(t.Context(), c.emulator, "-cpu", c.cpu, program, "--version").CombinedOutput()
		if err != nil || !strings.HasPrefix(string(out), "perch-agent ") {
			t.Errorf("%s on a %s: %v: %s", c.arch, c.cpu, err, out)
		}
	}
}
