//go:build interop

package interop

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"testing"
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
					// rsocket-js copies all it has of a payload for each fragment: 5 MB in 10,000 of them take it a minute.
					converse(t, node, scheme, role, Terms{MTU: fragments.ours}, fragments.ours > 1000, fmt.Sprint("fragment=", fragments.theirs))
				})
			}
		}
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

// TestJSHalfOpen has a link die without a word.
func TestJSHalfOpen(t *testing.T) {
	table.Ran(t, Row{rsocketJS(), "client and server, with resume", "a link that becomes a black hole within two streams: nothing lost"})
	for _, role := range []string{"client", "server"} {
		t.Run("rsocket-js is the "+role, func(t *testing.T) { halfOpen(t, node, role) })
	}
}

// TestJSRefusesResumption has a server without resumption refuse ours, in the words that PERCH_RESUME=auto understands.
func TestJSRefusesResumption(t *testing.T) {
	table.Ran(t, Row{rsocketJS(), "broker for our agent, without resume", "the refusal is understood: the agent connects again without, and serves"})
	addr := freePort(t)
	f := node(t, "server", "tcp://"+addr)
	agent(t, "tcp://"+addr, "hen-house")
	snapshot(t, f, "hen-house")
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
	laptops(t, node)
}

// TestJSLaptopResumes cuts the laptop's link within a stream of all pictures.
func TestJSLaptopResumes(t *testing.T) {
	table.Ran(t, Row{rsocketJS(), "laptop on our broker, with resume", "a stream of all pictures, cut mid-stream: none lost"})
	laptopResumes(t, node)
}

// TestJSLargeSnapshot cuts the laptop's link in the middle of a picture of 5 MB.
func TestJSLargeSnapshot(t *testing.T) {
	table.Ran(t, Row{rsocketJS(), "laptop on our broker, with resume", "a snapshot of 5 MB, cut in its middle: it comes once, whole"})
	largeSnapshot(t, node)
}

// TestJSBroker has rsocket-js stand in for a broker, and our agent resume on it.
func TestJSBroker(t *testing.T) {
	table.Ran(t, Row{rsocketJS(), "broker for our agent, with resume", "the agent registers; a snapshot; a stream of all pictures, cut mid-stream: none lost"})
	standIn(t, node)
}
