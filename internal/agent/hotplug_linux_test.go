package agent

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestWatchDir(t *testing.T) {
	dir := t.TempDir()
	touch := func(name string) {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	looks, ended := make(chan struct{}, 8), make(chan error, 1)
	go func() { ended <- watchDir(ctx, dir, "video", func() { looks <- struct{}{} }) }()
	within(t, looks, "the first look")
	touch("media0")
	touch("video0")
	within(t, looks, "a look for a camera")
	if err := os.Chmod(filepath.Join(dir, "video0"), 0o660); err != nil {
		t.Fatal(err)
	}
	within(t, looks, "a look for a camera that may be used now")
	touch("media1")
	select {
	case <-looks:
		t.Error("another device counts as a camera")
	case <-time.After(2 * settling):
	}
	cancel()
	if err := within(t, ended, "the end"); err != nil {
		t.Error(err)
	}
	if err := watchDir(t.Context(), filepath.Join(dir, "absent"), "video", func() {}); err == nil {
		t.Error("a folder that is not there is watched")
	}
}
