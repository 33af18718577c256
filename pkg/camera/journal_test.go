package camera_test

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/perchcam/perch/pkg/camera"
	"github.com/perchcam/perch/pkg/camera/cameratest"
)

func TestTroubleIsLoggedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		src := &cameratest.Source{}
		h := run(t, src, func(c *camera.Config) { c.Log = slog.New(slog.NewTextHandler(&log, nil)) })
		lines := func() int { synctest.Wait(); return strings.Count(log.String(), "\n") }

		// A laptop that asks every 10 s for pictures of a camera that works.
		for range 100 {
			if _, err := h.Snapshot(t.Context(), camera.SnapshotOptions{}); err != nil {
				t.Fatal(err)
			}
			time.Sleep(10 * time.Second)
		}
		if n := lines(); n != 0 {
			t.Errorf("%d lines on a camera that works:\n%s", n, &log)
		}
		// The same for an hour, while it is unplugged.
		src.Break(camera.ErrAbsent)
		for range 360 {
			h.Snapshot(t.Context(), camera.SnapshotOptions{})
			time.Sleep(10 * time.Second)
		}
		if n := lines(); n != 1 || !strings.Contains(log.String(), "from=starting to=absent") {
			t.Errorf("%d lines on a camera that is absent:\n%s", n, &log)
		}
		src.Mend()
		if _, err := h.Snapshot(t.Context(), camera.SnapshotOptions{}); err != nil {
			t.Fatal(err)
		}
		if n := lines(); n != 2 || !strings.Contains(log.String(), "from=absent to=streaming") {
			t.Errorf("%d lines when it is back:\n%s", n, &log)
		}
		// A loose cable: it comes and goes every few seconds, for an hour.
		v := h.View(camera.ViewOptions{})
		defer v.Close()
		log.Reset()
		for range 700 {
			next(t, v)
			src.Break(camera.ErrAbsent)
			time.Sleep(4 * time.Second)
			src.Mend()
			time.Sleep(time.Second)
		}
		if n := lines(); n > 20 {
			t.Errorf("%d lines in an hour of coming and going:\n%s", n, &log)
		}
	})
}

// A camera that is missing when the agent starts is in the log before somebody
// looks, and not a second time when somebody does.
func TestLookLogsAMissingCameraOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		src := &cameratest.Source{}
		h := run(t, src, func(c *camera.Config) { c.Log = slog.New(slog.NewTextHandler(&log, nil)) })
		if err := h.Look(t.Context()); err != nil || src.Starts() != 0 || log.Len() > 0 {
			t.Errorf("a camera that is there: %v, %d starts, log: %s", err, src.Starts(), &log)
		}
		src.Break(camera.ErrAbsent)
		if err := h.Look(t.Context()); !errors.Is(err, camera.ErrAbsent) {
			t.Errorf("a camera that is not there: %v", err)
		}
		for range 3 {
			h.Snapshot(t.Context(), camera.SnapshotOptions{})
			time.Sleep(time.Minute)
		}
		if got := log.String(); strings.Count(got, "\n") != 1 || !strings.Contains(got, "from=idle to=absent") {
			t.Errorf("log:\n%s", got)
		}
		log.Reset()
		src.Mend()
		if _, err := h.Snapshot(t.Context(), camera.SnapshotOptions{}); err != nil || !strings.Contains(log.String(), "from=absent to=streaming") {
			t.Errorf("when it is there: %v, log:\n%s", err, &log)
		}
	})
}
