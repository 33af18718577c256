package agent

import (
	"context"
	"io/fs"
	"runtime/debug"
	"sync"
	"time"

	"github.com/perchcam/perch/pkg/gpio"
	"github.com/perchcam/perch/pkg/link"
)

// clockFile is what systemd-timesyncd touches whenever it has set the clock, and once a minute: it is later than that.
const clockFile = "var/lib/systemd/timesync/clock"

// newClock is the clock by which certificates are judged. root is "/" but for tests.
func newClock(root fs.FS) *link.Clock {
	built := buildTime()
	return &link.Clock{
		Synced: gpio.ClockSynced,
		Floor: func() time.Time {
			if info, err := fs.Stat(root, clockFile); err == nil && info.ModTime().After(built) {
				return info.ModTime()
			}
			return built
		},
	}
}

// buildTime is the time of the commit that this program was built from; 1970 where it is not known.
func buildTime() time.Time {
	info, _ := debug.ReadBuildInfo()
	if info != nil {
		for _, s := range info.Settings {
			if s.Key == "vcs.time" {
				if t, err := time.Parse(time.RFC3339, s.Value); err == nil {
					return t
				}
			}
		}
	}
	return time.Unix(0, 0)
}

// events are what makes waiting for a link pointless: the network changed, or the clock was set. See link.Config.Events.
func (a *Agent) events(ctx context.Context, kick func()) error {
	var watching sync.WaitGroup
	defer watching.Wait()
	watching.Go(func() {
		err := link.ClockSteps(ctx, func() {
			if a.clock.Recheck() {
				a.log.Warn("the clock was set, and by it the broker's certificate does not count: the link is ended")
			}
			kick()
		})
		if err != nil && ctx.Err() == nil {
			a.log.Info("it is not noticed when the clock is set", "err", err)
		}
	})
	if err := link.KernelEvents(ctx, kick); err != nil && ctx.Err() == nil {
		a.log.Info("the kernel's network events cannot be had; a lost link is found again by trying alone", "err", err)
	}
	return nil
}
