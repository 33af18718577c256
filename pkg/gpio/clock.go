package gpio

import "time"

// clock relates CLOCK_MONOTONIC, in which the kernel stamps edges, to wall time. Go's own monotonic reading is the same clock with
// another origin, so one pair taken at the start is enough, and fake time works.
type clock struct {
	start  time.Time     // with its monotonic reading
	mono   time.Duration // CLOCK_MONOTONIC at start
	synced func() bool

	// What synced said, for a second: owned by the holder of Board.mu.
	checked time.Time
	known   bool
}

func newClock(synced func() bool) clock {
	return clock{start: time.Now(), mono: monotonic(), synced: synced}
}

// now is CLOCK_MONOTONIC.
func (c *clock) now() time.Duration { return c.mono + time.Since(c.start) }

// wall is the wall time of a stamp by the clock as it is set now: after a step an older stamp moves with it.
func (c *clock) wall(mono time.Duration) time.Time {
	now := time.Now()
	return now.Round(0).Add(mono - c.mono - now.Sub(c.start)).UTC().Truncate(time.Microsecond)
}

// isSynced says whether the wall clock is set.
func (c *clock) isSynced() bool {
	if now := time.Now(); c.checked.IsZero() || now.Sub(c.checked) >= time.Second {
		c.checked, c.known = now, c.synced()
	}
	return c.known
}
