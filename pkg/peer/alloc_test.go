//go:build !race

package peer_test

import (
	"testing"

	"github.com/perchcam/perch/pkg/peer"
)

// TestAnswersAllocateLittle guards what a request costs, both ends of it together. The race detector has pools forget,
// hence the build tag.
func TestAnswersAllocateLittle(t *testing.T) {
	r, _ := loopback(t, peer.Config{Handler: benchHandler()}, true)
	for size, most := range map[int]float64{100: 18, 100_000: 22} {
		ask := func() {
			if v, err := r.RequestResponse(t.Context(), sized(size)); err != nil || len(v.Data) != size {
				t.Fatal(err, len(v.Data))
			}
		}
		for range 100 {
			ask()
		}
		if n := testing.AllocsPerRun(500, ask); n > most {
			t.Errorf("an answer of %d bytes: %v allocations, at most %v are expected", size, n, most)
		}
	}
}
