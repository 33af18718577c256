//go:build linux && cgo

package v4l2

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// watching runs await and gives its result.
func watching(ctx context.Context, path string, gone bool) <-chan error {
	done := make(chan error, 1)
	go func() { done <- await(ctx, path, gone) }()
	return done
}

func ends(t *testing.T, done <-chan error) {
	t.Helper()
	select {
	case err := <-done:
		if err != nil {
			t.Errorf("await: %v", err)
		}
	case <-time.After(5 * time.Second):
		t.Error("await did not notice")
	}
}

func touch(t *testing.T, path string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestAwaitSeesANodeThatAppears(t *testing.T) {
	node := filepath.Join(t.TempDir(), "video0")
	done := watching(t.Context(), node, true)
	touch(t, node)
	ends(t, done)
	ends(t, watching(t.Context(), node, true)) // one that came before it looked is not missed
}

// As udev does it: the node, its mode, a folder that was not there, the link.
func TestAwaitSeesALinkInAFolderThatAppears(t *testing.T) {
	dev := t.TempDir()
	link := filepath.Join(dev, "v4l", "by-id", "usb-cam-video-index0")
	done := watching(t.Context(), link, true)
	node := filepath.Join(dev, "video0")
	touch(t, node)
	if err := os.MkdirAll(filepath.Dir(link), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(node, link); err != nil {
		t.Fatal(err)
	}
	ends(t, done)
}

func TestAwaitSeesThatABusyCameraIsClosed(t *testing.T) {
	node := filepath.Join(t.TempDir(), "video0")
	touch(t, node)
	f, err := os.Open(node)
	if err != nil {
		t.Fatal(err)
	}
	done := watching(t.Context(), node, false)
	select {
	case err := <-done:
		t.Fatalf("a camera that is there and busy: %v at once", err)
	case <-time.After(50 * time.Millisecond):
	}
	f.Close()
	ends(t, done)
}

func TestAwaitEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	done := watching(ctx, filepath.Join(t.TempDir(), "video0"), true)
	cancel()
	select {
	case err := <-done:
		if !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
	case <-time.After(5 * time.Second):
		t.Error("still there")
	}
}
