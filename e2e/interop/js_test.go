//go:build interop

package interop

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/perchcam/perch/e2e/proc"
)

// node starts js/peer.js.
func node(t testing.TB, role, url string, options ...string) *Foreign {
	t.Helper()
	return Start(t, exec.CommandContext(t.Context(), "node", append([]string{"js/peer.js", role, url}, options...)...))
}

// TestJSConversation has both sides ask everything, in both roles. rsocket-js' responder and its server never fragment,
// whatever they are told.
func TestJSConversation(t *testing.T) {
	table.Ran(t, Row{rsocketJS(), "client and server, over TCP and WebSocket", "the four models both ways, errors, request(n), CANCEL, fragments, 5 MB"})
	for _, scheme := range []string{"tcp", "ws"} {
		for _, role := range []string{"client", "server"} {
			for _, fragments := range []struct{ ours, theirs int }{{500, 1000}, {16384, 0}} {
				t.Run(fmt.Sprintf("%s %s fragments of %d and %d", scheme, role, fragments.ours, fragments.theirs), func(t *testing.T) {
					t.Parallel()
					converse(t, scheme, role, Terms{MTU: fragments.ours}, fmt.Sprint("fragment=", fragments.theirs))
				})
			}
		}
	}
}

func converse(t *testing.T, scheme, role string, terms Terms, options ...string) {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var e *End
	var f *Foreign
	if role == "client" {
		l := Listen(t, scheme, terms)
		f = node(t, role, l.URL, options...)
		e = l.End()
	} else {
		addr := scheme + "://" + freePort(t)
		f = node(t, role, addr, options...)
		e = Dial(t, addr, terms)
	}
	e.Ask.talk(ctx, f)
	f.Must(t, "", "talk")
	for end := time.Now().Add(5 * time.Second); e.canceled.Load() == 0 || e.forgotten.Load() != 1; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("we saw %d CANCELs and %d fire-and-forgets", e.canceled.Load(), e.forgotten.Load())
		}
	}
	if terms.MTU < 16384 {
		return // rsocket-js copies all it has of a payload for each fragment: 5 MB in 10,000 of them take it a minute
	}
	f.Must(t, "", "fetch 5000000")
	if err := e.Ask.fetch(ctx, 5_000_000); err != nil {
		t.Error(err)
	}
}

// TestJSResume cuts the link again and again while both sides ask: nothing may be lost, doubled or reordered.
func TestJSResume(t *testing.T) {
	table.Ran(t, Row{rsocketJS(), "client and server, with resume", fmt.Sprintf("streams, channels and 5 MB both ways, the link cut %d times by RST and by FIN: nothing lost", cuts)})
	for _, role := range []string{"client", "server"} {
		for _, how := range []How{RST, FIN} {
			t.Run(fmt.Sprintf("rsocket-js is the %s, %v", role, how), func(t *testing.T) { resume(t, node, role, how) })
		}
	}
}

type starter func(t testing.TB, role, url string, options ...string) *Foreign

const cuts = 12

func resume(t *testing.T, start starter, role string, how How) {
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	defer cancel()
	var e *End
	var f *Foreign
	var r *Relay
	if role == "client" {
		l := Listen(t, "tcp", Terms{Resume: true})
		r = relayTo(t, hostPort(l.URL), how)
		f = start(t, role, "tcp://"+r.Addr(), "resume", "fragment=1000")
		e = l.End()
	} else {
		addr := freePort(t)
		f = start(t, role, "tcp://"+addr, "resume")
		r = relayTo(t, addr, how)
		e = Dial(t, "tcp://"+r.Addr(), Terms{Resume: true})
	}
	var work sync.WaitGroup
	ours := func(what string, do func() error) {
		work.Go(func() {
			if err := do(); err != nil {
				t.Errorf("%s: %v", what, err)
			}
		})
	}
	ours("our stream", func() error { return e.Ask.watch(ctx, 200, 20_000, 4) })
	ours("our channel", func() error { return e.Ask.echo(ctx, 100, 5_000, 4) })
	ours("our response", func() error { return e.Ask.fetch(ctx, 5_000_000) })
	f.Must(t, "200", "watch 200 20000 4")
	f.Must(t, "101", "echo 100 5000 4")
	f.Must(t, "", "fetch 5000000")
	work.Wait()
	if n := r.Links(); n < cuts {
		t.Errorf("the link was made %d times: too few cuts", n)
	}
	s := e.Conn.Stats()
	t.Logf("%d links, %d frames sent again of %d, %d bytes of %d", s.Links, s.FramesAgain, s.FramesSent, s.BytesAgain, s.BytesSent)
	if t.Failed() {
		all := strings.SplitAfter(r.Log(0), "\n")
		t.Logf("the end of what crossed:\n%s", strings.Join(all[max(0, len(all)-60):], ""))
	}
}

// relayTo cuts the first links at random bytes of either side.
func relayTo(t testing.TB, target string, how How) *Relay {
	t.Helper()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 1))
	r := NewRelay(t, target)
	r.Plan(func(link int) Cut {
		if link > cuts {
			return Cut{}
		}
		// Not within the first bytes: rsocket-js does not notice that a link is lost between its RESUME and RESUME_OK.
		return Cut{From: Side(rnd.IntN(2)), After: 1000 + rnd.IntN(300_000), How: how}
	})
	return r
}

// hostPort is a URL without its scheme.
func hostPort(url string) string {
	_, addr, _ := strings.Cut(url, "://")
	return addr
}

// rsocketJS names the peer with the version that is installed.
func rsocketJS() string {
	var p struct{ Version string }
	b, err := os.ReadFile("js/node_modules/rsocket-core/package.json")
	if err == nil {
		err = json.Unmarshal(b, &p)
	}
	if err != nil {
		return "rsocket-js of an unknown version"
	}
	return "rsocket-js " + p.Version
}

// TestJSLaptop has rsocket-js ask our broker, with nothing but routing tags.
func TestJSLaptop(t *testing.T) {
	table.Ran(t, Row{rsocketJS(), "laptop on our broker, over TCP and WebSocket", `a snapshot, a paced stream and CANCEL with the routing tags "camera.snapshot", "device=…" alone`})
	t.Run("tcp", func(t *testing.T) {
		url := perchBroker(t)
		laptop(t, node(t, "client", url), agent(t, url, "hen-house"))
	})
	t.Run("ws", func(t *testing.T) {
		agents, laptops := webSocketBroker(t)
		laptop(t, node(t, "client", laptops), agent(t, agents, "hen-house"))
	})
}

func laptop(t *testing.T, f *Foreign, device *proc.Process) {
	pictures(t, f, "hen-house", 20, 4, "{}")
	said(t, device, "from=streaming to=idle") // which is what CANCEL comes to
	snapshot(t, f, "hen-house")
	pictures(t, f, "hen-house", 20, 4, `{"keep":"all"}`)
	if _, err := f.Do(t.Context(), "snapshot nowhere"); err == nil || !strings.Contains(err.Error(), "nowhere") {
		t.Errorf("a snapshot of a device that is not there: %v", err)
	}
}

// TestJSLaptopResumes cuts the laptop's link within a stream of all pictures.
func TestJSLaptopResumes(t *testing.T) {
	table.Ran(t, Row{rsocketJS(), "laptop on our broker, with resume", "a stream of all pictures, cut mid-stream: none lost"})
	url := perchBroker(t)
	agent(t, url, "hen-house")
	r := NewRelay(t, hostPort(url))
	r.Plan(few)
	f := node(t, "client", "tcp://"+r.Addr(), "resume")
	pictures(t, f, "hen-house", 60, 4, `{"keep":"all"}`)
	if r.Links() != 4 {
		t.Errorf("%d links", r.Links())
	}
}

// few cuts the first three links within pictures.
func few(link int) Cut {
	if link > 3 {
		return Cut{}
	}
	return Cut{From: FromServer, After: 77_777, How: []How{RST, FIN, RST}[link-1]}
}

// TestJSBroker has rsocket-js stand in for a broker, and our agent resume on it.
func TestJSBroker(t *testing.T) {
	table.Ran(t, Row{rsocketJS(), "broker for our agent, with resume", "the agent registers; a snapshot; a stream of all pictures, cut mid-stream: none lost"})
	addr := freePort(t)
	f := node(t, "server", "tcp://"+addr, "resume", "lifetime=30000")
	r := NewRelay(t, addr)
	r.Plan(func(link int) Cut {
		c := few(link)
		c.From = FromClient // where the pictures are
		return c
	})
	p := agent(t, "tcp://"+r.Addr(), "hen-house")
	f.Must(t, "message/x.rsocket.broker.frame.v0 application/vnd.perch.advert.v1+json", "setup")
	snapshot(t, f, "hen-house")
	pictures(t, f, "hen-house", 60, 4, `{"keep":"all"}`)
	if r.Links() != 4 {
		t.Errorf("%d links; the agent said:\n%s", r.Links(), p.Said())
	}
}
