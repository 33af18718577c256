package pace

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/perchcam/perch/pkg/camera"
)

func TestBeatTellsWhatWasMissed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := camera.Mono()
		var got []uint64
		for n, at := range Beat(t.Context(), 100*time.Millisecond) {
			if at-began < time.Duration(n)*100*time.Millisecond {
				t.Errorf("beat %d after %v", n, at-began)
			}
			got = append(got, n)
			if n == 1 {
				time.Sleep(350 * time.Millisecond)
			}
			if n >= 6 {
				break
			}
		}
		// Beat 4 comes late, by the tick that waited; 2 and 3 are missed.
		want := []uint64{0, 1, 4, 5, 6}
		if len(got) != len(want) {
			t.Fatalf("got beats %v, want %v", got, want)
		}
		for i := range want {
			if got[i] != want[i] {
				t.Fatalf("got beats %v, want %v", got, want)
			}
		}
	})
}
