package vpi

import (
	"testing"
	"testing/fstest"
)

func TestHashNamesWhatTheImageIsMadeFrom(t *testing.T) {
	dir := fstest.MapFS{
		"image.sh":           {Data: []byte("a")},
		"guest/init/main.go": {Data: []byte("b")},
		"machine.go":         {Data: []byte("c")},
		"qmp.go":             {Data: []byte("d")},
	}
	hash := func(emulator string) string {
		sum, err := hashSources(dir, []byte(emulator))
		if err != nil {
			t.Fatal(err)
		}
		return sum
	}
	last := hash("QEMU 1")
	dir["qmp.go"].Data = []byte("changed")
	if hash("QEMU 1") != last {
		t.Error("a file that is not in the image changes its name")
	}
	for name := range dir {
		if name == "qmp.go" {
			continue
		}
		dir[name].Data = []byte("changed")
		if hash("QEMU 1") == last {
			t.Errorf("the image keeps its name with another %s", name)
		}
		last = hash("QEMU 1")
	}
	if hash("QEMU 2") == last {
		t.Error("another QEMU keeps the image's name: it could not load the snapshot")
	}
}
