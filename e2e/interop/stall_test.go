//go:build interop

package interop

import (
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/rsocket/rsocket-go/core"
)

// A device serves a stream; the requester, rsocket-js as a server with resume, has used up its credit; the link is lost; the
// requester asks for more while there is none. An earlier observation was that the stream then stalls, with rsocket-go's
// resumable client as the device. These tests settle whose fault that is: rsocket-js sends the REQUEST_N that it kept right
// behind RESUME_OK, as it must, and what becomes of it is the device's affair.

// stallTries is how often each device is tried. That of rsocket-go is a race between two of its goroutines.
const stallTries = 8

// Our device gets the REQUEST_N, sent during the outage or after it, and goes on.
func TestCreditUsedUpBeforeTheCut(t *testing.T) {
	table.Ran(t, Row{rsocketJS(), "broker, resumed by our agent's session", "a stream whose credit was used up before the cut goes on"})
	for i := range stallTries {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			t.Parallel()
			f, r := creditUsedUp(t, node, func(addr string) { Dial(t, "tcp://"+addr, Terms{Resume: true}) })
			if err := waitGot(t.Context(), f, 8, 10*time.Second); err != nil {
				t.Errorf("%v; what crossed:\n%s", err, r.Log(0))
			}
			f.Must(t, "", "ask 4")
			if err := waitGot(t.Context(), f, 12, 10*time.Second); err != nil {
				t.Errorf("%v; what crossed:\n%s", err, r.Log(0))
			}
		})
	}
}

// rsocket-go's device loses it: its client registers the handler of REQUEST_N only after that of RESUME_OK has returned in
// another goroutine (internal/socket/resumable_client_socket.go, connect; internal/socket/duplex.go, SetTransport), so a
// frame that comes with RESUME_OK meets no handler. It has been counted as received all the same. When the keepalive's
// deadline has passed the client resumes again, claims to have it, and rsocket-js drops it for ever.
func TestCreditUsedUpBeforeTheCutRSocketGo(t *testing.T) {
	table.Ran(t, Row{"rsocket-go 0.8.16", "agent, resuming on rsocket-js", "credit used up before the cut: the stall is its own (it counts a REQUEST_N that comes with RESUME_OK as received, and drops it)"})
	device := filepath.Join(t.TempDir(), "rsocketgo")
	if out, err := exec.Command("go", "build", "-o", device, "./rsocketgo").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for try := range stallTries {
		f, r := creditUsedUp(t, node, func(addr string) { Start(t, exec.CommandContext(t.Context(), device, addr)) })
		err := waitGot(t.Context(), f, 8, 6*time.Second)
		switch {
		case err == nil:
			continue
		case !lostByClient(r.Frames()):
			t.Errorf("try %d stalled (%v), but not as described; what crossed:\n%s", try, err, r.Log(0))
		default:
			t.Logf("try %d: %v; what crossed:\n%s", try, err, r.Log(0))
		}
		return
	}
	t.Logf("in %d tries it did not stall", stallTries)
}

// lostByClient reports whether a REQUEST_N arrived whole on the second link, was claimed as received by the RESUME of the
// third, and nothing of the stream came after it.
func lostByClient(frames []Crossed) bool {
	received, claimed := uint64(0), false
	for _, f := range frames {
		switch {
		case f.From == FromServer && f.Stream != 0 && f.Whole:
			received += uint64(f.Size)
		case f.From == FromClient && f.Type == core.FrameTypeResume && f.Link == 3:
			claimed = f.Number == received
		case f.From == FromClient && f.Stream != 0 && f.Link > 1:
			return false
		}
	}
	return claimed
}

// creditUsedUp brings a device, which dials addr, to where it has got four elements off, its link was lost, and the requester
// has asked for four more.
func creditUsedUp(t *testing.T, start starter, device func(addr string)) (*Foreign, *Relay) {
	t.Helper()
	addr := freePort(t)
	f := start(t, "server", "tcp://"+addr, "resume")
	r := NewRelay(t, addr)
	r.Plan(func(link int) Cut {
		if link == 1 {
			return Cut{}
		}
		return Cut{Gather: 50 * time.Millisecond}
	})
	device(r.Addr())
	if err := until(t.Context(), func() bool { _, err := f.Do(t.Context(), "open 1000 4"); return err == nil }, 10*time.Second); err != nil {
		t.Fatal(err)
	}
	if err := waitGot(t.Context(), f, 4, 10*time.Second); err != nil {
		t.Fatal(err)
	}
	r.Down(true, FIN)
	f.Must(t, "", "ask 4")
	r.Down(false, FIN)
	return f, r
}

// waitGot waits until a foreign requester has got n elements of the stream it opened.
func waitGot(ctx context.Context, f *Foreign, n int, limit time.Duration) error {
	got, wrong := 0, error(nil)
	err := until(ctx, func() bool {
		var text string
		if text, wrong = f.Do(ctx, "got"); wrong == nil {
			got, wrong = strconv.Atoi(text)
		}
		return wrong != nil || got >= n
	}, limit)
	if wrong != nil {
		return wrong
	}
	if got != n {
		return fmt.Errorf("%d elements of %d came", got, n)
	}
	return err
}

// until asks again and again, and gives up after limit.
func until(ctx context.Context, good func() bool, limit time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for !good() {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(10 * time.Millisecond):
		}
	}
	return nil
}
