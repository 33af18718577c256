package session_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/rsocket/rsocket-go/core"

	"github.com/perchcam/perch/internal/simlink"
	"github.com/perchcam/perch/pkg/session"
)

// TestSlowLinkIsNotSilent sends much over a path on which a fragment takes longer than silence is borne: the other end
// has little to acknowledge, but must be heard all the same.
func TestSlowLinkIsNotSilent(t *testing.T) {
	for _, fromClient := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, simlink.Path{Latency: 100 * time.Millisecond, Rate: 3000, Buffer: 32 << 10}, session.ServerConfig{})
			local := &end{}
			c, _ := w.client(resumable, local)
			s := c.Open(&half{local, nil})
			s.Send(request(core.FrameTypeRequestChannel, 10, ""))
			c.Flush()
			time.Sleep(5 * time.Second)
			to := w.remote
			if !fromClient {
				s, to = w.remote.stream(0), local
			}
			for range 4 {
				s.Send(next(string(make([]byte, 30_000))))
			}
			s.Session().Flush()
			time.Sleep(2 * time.Minute)
			if n := c.Stats().Links; n != 1 {
				t.Errorf("from the client %v: %d links", fromClient, n)
			}
			bytes := 0
			for _, f := range to.seen() {
				bytes += len(f.data)
			}
			if bytes != 120_000 {
				t.Errorf("from the client %v: %d bytes have arrived", fromClient, bytes)
			}
		})
	}
}

// TestShortRequestsOverASilentLink: none of them is open for long, but the link is silent all the same.
func TestShortRequestsOverASilentLink(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, simlink.Path{Latency: 10 * time.Millisecond}, session.ServerConfig{})
		local := &end{}
		c, _ := w.client(resumable, local)
		time.Sleep(time.Minute)
		w.setDown(errDown)
		w.link().Silence()
		begin := time.Now()
		for c.Up() {
			s := c.Open(&half{local, nil})
			s.Send(request(core.FrameTypeRequestResponse, 0, ""))
			c.Flush()
			time.Sleep(1900 * time.Millisecond) // the patience of who asks
			s.Cancel()
			c.Flush()
			time.Sleep(100 * time.Millisecond)
			if time.Since(begin) > 20*time.Second {
				t.Fatal("nobody notices")
			}
		}
		if d := time.Since(begin); d > 6*time.Second {
			t.Errorf("noticed after %v", d)
		}
	})
}
