//go:build !race

package broker

import (
	"fmt"
	"testing"
)

// TestSwitchAllocatesNothing: of a stream that is under way no frame costs an allocation, whatever its size. Each element
// here is followed by the REQUEST_N that its leaving asks for. The race detector has pools forget, hence the build tag.
func TestSwitchAllocatesNothing(t *testing.T) {
	for _, size := range []int{100, 16 << 10, 100_000} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			st := newStreaming(t, size)
			step := func() {
				st.send()
				st.take()
			}
			for range 500 { // pools fill, queues grow, the credit learns what an element is like
				step()
			}
			n := testing.AllocsPerRun(2000, step) / float64(st.frames)
			t.Logf("%.3f allocations for a frame", n)
			if n >= 1 {
				t.Errorf("a frame costs %v allocations", n)
			}
		})
	}
}
