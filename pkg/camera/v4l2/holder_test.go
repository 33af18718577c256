//go:build linux && cgo

package v4l2

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/perchcam/perch/pkg/camera"
)

func TestBusySaysWhoHoldsTheCamera(t *testing.T) {
	node, link := filepath.Join(t.TempDir(), "video0"), filepath.Join(t.TempDir(), "usb-cam")
	touch(t, node)
	if err := os.Symlink(node, link); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(node) // our own hold is no news
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if got := holder(link); got != "" {
		t.Errorf("held by this process only, says %q", got)
	}
	other := exec.Command("sleep", "60")
	other.Stdin = f
	if err := other.Start(); err != nil {
		t.Skip(err)
	}
	defer other.Wait()
	defer other.Process.Kill()
	err = sentence("start", link, fmt.Errorf("stream on: %w", unix.EBUSY))
	want := fmt.Sprintf("in use by another program (by sleep, process %d)", other.Process.Pid)
	if !errors.Is(err, camera.ErrBusy) || !strings.Contains(err.Error(), want) {
		t.Errorf("got %q, want %q in it", err, want)
	}
}
