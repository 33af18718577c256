package camera

import "time"

// This file is the only place where the camera's clock and the wall clock meet.
//
// Frames are stamped with CLOCK_MONOTONIC, the clock of V4L2 buffers
// (V4L2_BUF_FLAG_TIMESTAMP_MONOTONIC). Go's monotonic reading is the same
// clock on Linux, but package time does not show its value, so its distance
// is measured once, here. Going through package time keeps every stamp right
// inside a testing/synctest bubble as well.
var (
	epoch     = time.Now()
	epochMono = readMonotonic()
)

// Mono is CLOCK_MONOTONIC now. Off Linux it counts from the start of the process.
func Mono() time.Duration { return epochMono + time.Since(epoch) }

// WallTime gives the wall clock's time of a monotonic stamp, by the wall clock
// as it is set now: it is right even if the clock was set after the stamp.
func WallTime(mono time.Duration) time.Time {
	return time.Now().Round(0).Add(mono - Mono())
}
