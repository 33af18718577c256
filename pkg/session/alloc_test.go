//go:build !race

package session_test

import (
	"fmt"
	"testing"

	"github.com/rsocket/rsocket-go/core"

	"github.com/perchcam/perch/pkg/session"
)

// What each frame passes through allocates nothing. The race detector has pools forget, so these tests are of builds
// without it.

func TestFramesAllocateNothing(t *testing.T) {
	next := session.Frames(&again{b: frameBytes(1, core.FrameTypePayload, core.FlagNext, string(make([]byte, 16<<10)))})
	if n := testing.AllocsPerRun(1000, func() {
		if err := next(); err != nil {
			t.Error(err)
		}
	}); n != 0 {
		t.Errorf("cutting a frame out of a link's bytes: %v allocations", n)
	}
}

func TestLedgerAllocatesNothing(t *testing.T) {
	l := session.NewLedger()
	if n := testing.AllocsPerRun(100, func() {
		for range 16 {
			l.Send()
		}
		l.Replay()
		l.Ack()
	}); n != 0 {
		t.Errorf("keeping, sending again and forgetting 16 frames: %v allocations", n)
	}
}

func TestForwardingAllocatesNothing(t *testing.T) {
	for _, size := range []int{100, 16<<10 - 6} {
		for _, tokens := range [][2]string{{"", ""}, {"here", "there"}} {
			t.Run(fmt.Sprintf("%d/resumable=%v", size, tokens[0] != ""), func(t *testing.T) {
				arrived := make(chan struct{}, 1)
				write, end := forwarding(t, size, tokens[0], tokens[1], func() { arrived <- struct{}{} })
				defer end()
				step := func() {
					write()
					<-arrived
				}
				// Until pools and queues hold what is not acknowledged: the far end does that each 128 KiB.
				for range max(200, 512<<10/size) {
					step()
				}
				if n := testing.AllocsPerRun(2000, step); n != 0 {
					t.Errorf("a frame from one session to another: %v allocations", n)
				}
			})
		}
	}
}
