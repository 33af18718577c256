package camera

import (
	"time"

	"golang.org/x/sys/unix"
)

func readMonotonic() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
		return 0 // it cannot fail for this clock (clock_gettime(2))
	}
	return time.Duration(ts.Nano())
}
