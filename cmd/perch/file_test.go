package main

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/perchcam/perch/pkg/api"
	"github.com/perchcam/perch/pkg/client"
)

func names(t *testing.T, dir string) (all []string) {
	t.Helper()
	list, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range list {
		all = append(all, e.Name())
	}
	return all
}

func TestFolder(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "b")
	f, err := makeFolder(dir, false)
	if err != nil {
		t.Fatal(err)
	}
	defer f.close()
	if err := f.write("x.jpg", []byte("one")); err != nil {
		t.Fatal(err)
	}
	// Neither a file nor what a link points to is replaced.
	outside := filepath.Join(t.TempDir(), "outside")
	if err := os.Symlink(outside, filepath.Join(dir, "link.jpg")); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"x.jpg", "link.jpg"} {
		if err := f.write(name, []byte("two")); !errors.Is(err, fs.ErrExist) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if got, _ := os.ReadFile(filepath.Join(dir, "x.jpg")); string(got) != "one" {
		t.Errorf("x.jpg holds %q", got)
	}
	// The last moment counts, not the look beforehand.
	if err := f.root.WriteFile("part", []byte("two"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := f.publish("part", "x.jpg"); !errors.Is(err, fs.ErrExist) {
		t.Errorf("a file that has appeared meanwhile: %v", err)
	}
	_ = f.root.Remove("part")

	f.force = true
	for _, name := range []string{"x.jpg", "link.jpg"} {
		if err := f.write(name, []byte("two")); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := os.Stat(outside); !errors.Is(err, fs.ErrNotExist) {
		t.Error("it was written through a link")
	}
	// A name never leaves the folder, and a folder is never replaced.
	if err := os.Mkdir(filepath.Join(dir, "sub"), 0o777); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"../x.jpg", "/etc/x.jpg", "sub"} {
		if err := f.write(name, []byte("three")); err == nil {
			t.Errorf("%s was written", name)
		}
	}
	if got := names(t, dir); len(got) != 3 {
		t.Errorf("left behind: %q", got)
	}
}

// However long the names are, the number stays whole.
func TestLongFileName(t *testing.T) {
	p := client.Picture{FrameHeader: api.FrameHeader{Camera: strings.Repeat("c", 63), Format: api.FormatJPEG, Seq: 7}}
	if got := fileName(strings.Repeat("d", 63), p, 1); len(got) > 128 || !strings.HasSuffix(got, "-r1-00000007.jpg") {
		t.Error(got)
	}
}

// Whatever the other end calls its camera and its format, the file is one in the folder.
func TestFileName(t *testing.T) {
	for _, tc := range []struct {
		camera, format string
		seq            uint64
		restarts       int
		want           string
	}{
		{"front", api.FormatJPEG, 7, 0, "hen-house-front-00000007.jpg"},
		{"front", api.FormatJPEG, 7, 2, "hen-house-front-r2-00000007.jpg"},
		{"front", api.FormatH264, 7, 0, "hen-house-front-00000007.h264"},
		{"../../etc", "../sh", 1, 0, "hen-house-.._.._etc-00000001.bin"},
		{evil, evil, 1, 0, "hen-house-ok__2J_root_____gnp.exe-00000001.bin"},
	} {
		p := client.Picture{FrameHeader: api.FrameHeader{Camera: tc.camera, Format: tc.format, Seq: tc.seq}}
		if got := fileName("hen-house", p, tc.restarts); got != tc.want {
			t.Errorf("%q, %q: %s", tc.camera, tc.format, got)
		}
	}
}
