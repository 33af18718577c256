package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/perchcam/perch/pkg/client/clienttest"
)

// Devices that never answer delay none of the others, not even where there are more of them than are asked at once.
func TestSilentDevicesDelayNobody(t *testing.T) {
	w := clienttest.Listen(t)
	for i := range atOnce + 3 {
		w.Join(silent(fmt.Sprintf("a-%03d", i))) // these are asked first
	}
	const devices = 20
	for i := range devices {
		w.Join(&clienttest.Device{Name: fmt.Sprintf("pi-%03d", i)})
	}
	dir := t.TempDir()
	cmd := exec.Command("perch", "snapshot", "--all", "-o", dir, "--timeout", "1m")
	cmd.Env = append(os.Environ(), "PERCH_BROKER="+w.URL(), "GORACE=atexit_sleep_ms=0")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	err := eventually("all pictures", func() bool {
		files, _ := filepath.Glob(filepath.Join(dir, "pi-*"))
		return len(files) == devices
	})
	if err != nil {
		t.Error(err)
	}
	t.Logf("%d pictures after %v, with %d devices that say nothing", devices, time.Since(began), atOnce+3)
	_ = cmd.Process.Signal(os.Interrupt)
	_ = cmd.Wait()
	if code := cmd.ProcessState.ExitCode(); code != exitInterrupted {
		t.Errorf("exit code %d", code)
	}
}

// One picture of 100 KB of each of 100 devices takes two seconds and 64 MB at most.
func TestAllOfAHundred(t *testing.T) {
	const devices, limit, memory = 100, 2 * time.Second, 64 << 10 // kB
	picture := append(clienttest.Grey(64, 48), bytes.Repeat([]byte{0}, 100_000)...)
	w := clienttest.Listen(t)
	for i := range devices {
		w.Join(&clienttest.Device{Name: fmt.Sprintf("pi-%03d", i), JPEG: picture})
	}
	var took time.Duration
	for range 3 { // the fastest: other tests run at the same time
		dir := t.TempDir()
		cmd := exec.Command("perch", "snapshot", "--all", "-o", dir)
		cmd.Env = append(os.Environ(), "PERCH_BROKER="+w.URL(), "GORACE=atexit_sleep_ms=0")
		began := time.Now()
		said, err := cmd.CombinedOutput()
		took = time.Since(began)
		if err != nil {
			t.Fatalf("%v: %s", err, said)
		}
		files, err := filepath.Glob(filepath.Join(dir, "pi-???-front-*.jpg"))
		if err != nil || len(files) != devices {
			t.Errorf("%d files, %v: %s", len(files), err, said)
		}
		rss := cmd.ProcessState.SysUsage().(*syscall.Rusage).Maxrss
		t.Logf("%v, %d MB: %s", took, rss>>10, strings.TrimSpace(string(said)))
		if raceEnabled {
			return // the detector takes several times as much of both
		}
		if rss > memory {
			t.Errorf("it took %d MB", rss>>10)
		}
		if took <= limit {
			return
		}
	}
	t.Errorf("it took %v", took)
}
