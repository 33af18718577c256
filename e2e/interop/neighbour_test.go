//go:build interop

package interop

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// firstRelease is the version before this one as long as no tag says another: the first that had all three programs.
const firstRelease = "cac67fcab0883a438695bd80e23931d322eef074"

// errNoHistory is why the version before this one cannot be had: the clone is a shallow one.
var errNoHistory = errors.New("this clone has no history")

// previous builds the programs of the last version before this one, once, and returns their folder and its name.
var previous = sync.OnceValues(func() (dir string, err error) {
	name := firstRelease
	if tag, err := exec.Command("git", "describe", "--tags", "--abbrev=0", "HEAD^").Output(); err == nil {
		name = strings.TrimSpace(string(tag))
	}
	top, err := filepath.Abs("../../build/previous")
	if err != nil {
		return "", err
	}
	dir = filepath.Join(top, name)
	if _, err := os.Stat(filepath.Join(dir, "bin/perch")); err == nil {
		return dir, nil
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	archive := exec.Command("git", "archive", name)
	archive.Dir = "../.." // a folder's archive has that folder alone
	source, err := archive.Output()
	if err != nil {
		return "", errNoHistory
	}
	tar := exec.Command("tar", "-x", "-C", dir)
	tar.Stdin = bytes.NewReader(source)
	if out, err := tar.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%w: %s", err, out)
	}
	for pkg, program := range map[string]string{"agent": "perch-agent", "broker": "perch-broker", "perch": "perch"} {
		build := exec.Command("go", "build", "-buildvcs=false", "-trimpath", "-o", filepath.Join(dir, "bin", program), "./cmd/"+pkg)
		build.Dir = dir
		if out, err := build.CombinedOutput(); err != nil {
			return "", fmt.Errorf("%w: %s", err, out)
		}
	}
	return dir, nil
})

// TestNeighbours has this version and the one before it work together, whichever of the three programs is the older.
func TestNeighbours(t *testing.T) {
	row := Row{"Perch's previous version", "agent, broker or CLI beside this version's", "devices, snapshot, stream"}
	dir, err := previous()
	switch {
	case errors.Is(err, errNoHistory):
		table.NotRun(t, row, err.Error())
	case err != nil:
		t.Fatal(err)
	}
	table.Ran(t, row)
	older := filepath.Join(dir, "bin")
	newer := filepath.Dir(program(t, "perch"))
	for _, c := range []struct{ name, agent, broker, cli string }{
		{"agent", older, newer, newer},
		{"broker", newer, older, newer},
		{"cli", newer, newer, older},
		{"broker and cli", newer, older, older},
		{"agent and cli", older, newer, older},
		{"agent and broker", older, older, newer},
	} {
		t.Run("older "+c.name, func(t *testing.T) {
			b := start(t, filepath.Join(c.broker, "perch-broker"), []string{"--listen", "tcp://127.0.0.1:0"})
			url := listens(t, b, "tcp")
			a := start(t, filepath.Join(c.agent, "perch-agent"), nil,
				"PERCH_BROKER="+url, "PERCH_DEVICE=hen-house", "PERCH_CAMERAS=test=pattern,width=640,height=480,fps=30,linger=100ms")
			said(t, a, "to=online")
			cli := filepath.Join(c.cli, "perch")
			if out := perchOf(t, cli, "--broker", url, "devices"); !strings.Contains(out, "hen-house") || !strings.Contains(out, "online") {
				t.Errorf("devices:\n%s", out)
			}
			perchAsksBy(t, cli, url, "hen-house")
		})
	}
}
