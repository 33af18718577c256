package peertest_test

import (
	"context"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/perchcam/perch/pkg/peer"
	"github.com/perchcam/perch/pkg/peer/peertest"
)

// broken ends ask wrongly, each in its own way.
var broken = []struct {
	name   string
	notice string // the check that must notice
	end    func(end) peertest.End
}{
	{"loses an element", "stream", func(e end) peertest.End { return loser{e} }},
	{"asks for too much", "stream demand", func(e end) peertest.End { return greedy{e} }},
	{"never cancels", "stream cancel", func(e end) peertest.End { return clinging{e} }},
}

type loser struct{ end }

func (e loser) RequestStream(ctx context.Context, req peer.Payload, window uint32) seq {
	return func(yield func(peer.Payload, error) bool) {
		n := 0
		for v, err := range e.end.RequestStream(ctx, req, window) {
			if n++; n != 3 && !yield(v, err) {
				return
			}
		}
	}
}

type greedy struct{ end }

func (e greedy) RequestStream(ctx context.Context, req peer.Payload, window uint32) seq {
	return e.end.RequestStream(ctx, req, 3*window)
}

type clinging struct{ end }

func (e clinging) RequestStream(ctx context.Context, req peer.Payload, window uint32) seq {
	return func(yield func(peer.Payload, error) bool) {
		left := make(chan struct{})
		go func() {
			wanted := true
			for v, err := range e.end.RequestStream(ctx, req, window) {
				if wanted && !yield(v, err) {
					wanted = false
					close(left)
				}
			}
			if wanted {
				close(left)
			}
		}()
		<-left
	}
}

const brokenEnv = "PERCH_PEERTEST_BROKEN"

// TestBroken is run by TestConformanceNotices alone, in a process of its own, and must fail there.
func TestBroken(t *testing.T) {
	for _, b := range broken {
		if os.Getenv(brokenEnv) != b.name {
			continue
		}
		whole := perch("perch", 0)
		wrong := whole
		wrong.Client = func(t testing.TB, addr string, h peer.Handler) peertest.End {
			return b.end(whole.Client(t, addr, h).(end))
		}
		wrong.Server = func(testing.TB, net.Listener, peer.Handler) <-chan peertest.End { panic("not used") }
		peertest.Conformance(t, wrong, whole)
	}
}

// The suite notices a broken engine, by the name of what is broken.
func TestConformanceNotices(t *testing.T) {
	for _, b := range broken {
		t.Run(b.name, func(t *testing.T) {
			check := "client_asks/" + strings.ReplaceAll(b.notice, " ", "_")
			cmd := exec.Command(os.Args[0], "-test.run", "^TestBroken$/^client_asks$/^"+strings.ReplaceAll(b.notice, " ", "_")+"$")
			cmd.Env = append(os.Environ(), brokenEnv+"="+b.name)
			out, err := cmd.CombinedOutput()
			if err == nil || !strings.Contains(string(out), "--- FAIL: TestBroken/"+check) {
				t.Errorf("not noticed: %v\n%s", err, out)
			}
		})
	}
}
