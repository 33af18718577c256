package link

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// ClockSteps calls stepped whenever the wall clock is set, until ctx ends: a timer that is far away is canceled then
// (timerfd_create(2), TFD_TIMER_CANCEL_ON_SET).
func ClockSteps(ctx context.Context, stepped func()) error {
	fd, err := unix.TimerfdCreate(unix.CLOCK_REALTIME, unix.TFD_CLOEXEC|unix.TFD_NONBLOCK)
	if err != nil {
		return fmt.Errorf("cannot watch the clock: %w", err)
	}
	f := os.NewFile(uintptr(fd), "timerfd")
	defer f.Close()
	// Close, not a deadline: this runs once in a process.
	stop := context.AfterFunc(ctx, func() { _ = f.Close() })
	defer stop()
	buf := make([]byte, 8)
	for {
		if err := arm(fd); err != nil && !errors.Is(err, unix.ECANCELED) {
			return fmt.Errorf("cannot watch the clock: %w", err)
		}
		_, err := f.Read(buf)
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, unix.ECANCELED):
			stepped()
		case err != nil:
			return fmt.Errorf("cannot watch the clock: %w", err)
		default: // a 32-bit timer is over in 2038; a clock beyond is looked at instead
			return pollSteps(ctx, stepped)
		}
	}
}

// arm sets the timer to the last second that it can say.
func arm(fd int) error {
	far := unix.ItimerSpec{}
	far.Value.Sec = math.MaxInt32
	if strconv.IntSize == 64 {
		far.Value.Sec <<= 8
	}
	return unix.TimerfdSettime(fd, unix.TFD_TIMER_ABSTIME|unix.TFD_TIMER_CANCEL_ON_SET, &far, nil)
}

func pollSteps(ctx context.Context, stepped func()) error {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for last := time.Now(); ; {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		now := time.Now()
		if off := now.Round(0).Sub(last.Round(0)) - now.Sub(last); off.Abs() > time.Second/2 {
			stepped()
		}
		last = now
	}
}
