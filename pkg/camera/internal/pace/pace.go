// Package pace is the beat of cameras that have no sensor to set it.
package pace

import (
	"context"
	"iter"
	"time"

	"github.com/perchcam/perch/pkg/camera"
)

// Beat yields, at once and then every period until ctx ends, the number of
// the beat and its time on camera.Mono. A consumer that takes longer than a
// period misses beats, as with a real sensor; the numbers tell.
func Beat(ctx context.Context, period time.Duration) iter.Seq2[uint64, time.Duration] {
	return func(yield func(uint64, time.Duration) bool) {
		began := camera.Mono()
		tick := time.NewTicker(period)
		defer tick.Stop()
		for next := uint64(0); ctx.Err() == nil; {
			now := camera.Mono()
			// A late tick and a punctual one may fall into the same period.
			n := max(uint64((now-began)/period), next)
			next = n + 1
			if !yield(n, now) {
				return
			}
			select {
			case <-ctx.Done():
			case <-tick.C:
			}
		}
	}
}
