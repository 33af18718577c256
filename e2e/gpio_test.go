//go:build e2e

package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestGPIO is what is wired to a Pi, on the kernel's simulated chip (gpio-sim): first the packages' own tests in the guest, then a door
// and two outputs through the agent's package, broker and CLI.
func TestGPIO(t *testing.T) {
	b := newBench(t)
	b.step("lines", b.lines)
}

// lines runs the tests of pkg/gpio/host and pkg/gpio/sense that need a kernel with simulated hardware.
func (b *bench) lines() {
	b.guest("mountpoint -q /sys/kernel/tracing || mount -t tracefs tracefs /sys/kernel/tracing")
	for _, room := range []string{"host", "sense"} {
		b.compile("../pkg/gpio/"+room, room+".test")
		out, err := b.pi.Run(b.Context(), "cd /tmp && /host/"+room+".test -test.v -test.timeout 100s 2>&1")
		b.must(os.WriteFile(filepath.Join(b.ArtifactDir(), room+".log"), []byte(out), 0o644))
		if err != nil {
			b.Fatalf("the tests of pkg/gpio/%s fail in the guest: %v", room, err)
		}
		for line := range strings.Lines(out) {
			if regexp.MustCompile(`^(--- |\s+e2e_test\.go|\s+--- SKIP)`).MatchString(line) {
				b.Logf("%s: %s", room, strings.TrimRight(line, "\n"))
			}
		}
	}
}

// compile builds a package's tests for the guest, as /host/NAME.
func (b *bench) compile(dir, name string) {
	b.Helper()
	cmd := exec.CommandContext(b.Context(), "go", "test", "-c", "-tags", "e2e", "-o", filepath.Join(b.pi.Share(), name), dir)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH=arm64")
	if out, err := cmd.CombinedOutput(); err != nil {
		b.Fatalf("cannot build the tests of %s: %v\n%s", dir, err, out)
	}
}
