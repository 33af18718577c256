//go:build interop

package interop

import (
	"fmt"
	"testing"
	"time"
)

// javaPeer is rsocket-java.
var javaPeer = &Java{Folder: "java/peer"}

const rsocketJavaCoordinate = "rsocket-java 1.1.5"

// jvm starts java/peer/Peer.java.
func jvm(t testing.TB, role, url string, options ...string) *Foreign {
	t.Helper()
	return Start(t, javaPeer.Command(t, "Peer", append([]string{role, url}, options...)...))
}

// rsocketJava enters a row for it, or skips the test where it cannot be had.
func rsocketJava(t *testing.T, role, what string) {
	t.Helper()
	javaPeer.Needs(t, Row{rsocketJavaCoordinate, role, what})
	table.Ran(t, Row{"rsocket-java " + javaPeer.Version("rsocket-core"), role, what})
}

// TestJavaConversation has both sides ask everything, in both roles.
func TestJavaConversation(t *testing.T) {
	rsocketJava(t, "client and server, over TCP and WebSocket", "the four models both ways, errors, request(n), CANCEL, fragments, 5 MB")
	for _, c := range []struct {
		scheme, role string
		ours, theirs int // bytes of fragments
	}{
		{"tcp", "client", 500, 1000},
		{"tcp", "server", 500, 1000},
		{"tcp", "client", 16384, 0},
		{"tcp", "server", 16384, 0},
		{"ws", "client", 16384, 0},
		{"ws", "server", 16384, 1000},
	} {
		t.Run(fmt.Sprintf("%s %s fragments of %d and %d", c.scheme, c.role, c.ours, c.theirs), func(t *testing.T) {
			t.Parallel()
			converse(t, jvm, c.scheme, c.role, Terms{MTU: c.ours}, true, fmt.Sprint("fragment=", c.theirs))
		})
	}
}

// TestJavaResume cuts the link again and again while both sides ask: nothing may be lost, doubled or reordered.
func TestJavaResume(t *testing.T) {
	rsocketJava(t, "client and server, with resume", fmt.Sprintf("streams, channels and 5 MB both ways, the link cut %d times by RST and by FIN: nothing lost", cuts))
	for _, role := range []string{"client", "server"} {
		for _, how := range []How{RST, FIN} {
			t.Run(fmt.Sprintf("rsocket-java is the %s, %v", role, how), func(t *testing.T) { resume(t, jvm, role, how) })
		}
	}
}

// TestJavaLaptop has rsocket-java ask our broker, with nothing but routing tags.
func TestJavaLaptop(t *testing.T) {
	rsocketJava(t, "laptop on our broker, over TCP and WebSocket", `a snapshot, a paced stream and CANCEL with the routing tags "camera.snapshot", "device=…" alone`)
	laptops(t, jvm)
}

// TestJavaLaptopResumes cuts the laptop's link within a stream of all pictures.
func TestJavaLaptopResumes(t *testing.T) {
	rsocketJava(t, "laptop on our broker, with resume", "a stream of all pictures, cut mid-stream: none lost")
	laptopResumes(t, jvm)
}

// TestJavaLargeSnapshot cuts the laptop's link in the middle of a picture of 5 MB.
func TestJavaLargeSnapshot(t *testing.T) {
	rsocketJava(t, "laptop on our broker, with resume", "a snapshot of 5 MB, cut in its middle: it comes once, whole")
	largeSnapshot(t, jvm)
}

// TestJavaBroker has rsocket-java stand in for a broker, and our agent resume on it.
func TestJavaBroker(t *testing.T) {
	rsocketJava(t, "broker for our agent, with resume", "the agent registers; a snapshot; a stream of all pictures, cut mid-stream: none lost")
	standIn(t, jvm)
}

// TestJavaCreditUsedUp is what TestCreditUsedUpBeforeTheCut is with rsocket-js.
func TestJavaCreditUsedUp(t *testing.T) {
	rsocketJava(t, "broker, resumed by our agent's session", "a stream whose credit was used up before the cut goes on")
	f, r := creditUsedUp(t, jvm, func(addr string) { Dial(t, "tcp://"+addr, Terms{Resume: true}) })
	if err := waitGot(t.Context(), f, 8, 10*time.Second); err != nil {
		t.Errorf("%v; what crossed:\n%s", err, r.Log(0))
	}
}

// TestJavaHalfOpen has a link die without a word.
func TestJavaHalfOpen(t *testing.T) {
	rsocketJava(t, "client and server, with resume", "a link that becomes a black hole within two streams: nothing lost")
	for _, role := range []string{"client", "server"} {
		t.Run("rsocket-java is the "+role, func(t *testing.T) { halfOpen(t, jvm, role) })
	}
}

// TestJavaRefusesResumption has a server without resumption refuse ours, in the words that PERCH_RESUME=auto understands.
func TestJavaRefusesResumption(t *testing.T) {
	rsocketJava(t, "broker for our agent, without resume", "the refusal is understood: the agent connects again without, and serves")
	addr := freePort(t)
	f := jvm(t, "server", "tcp://"+addr)
	agent(t, "tcp://"+addr, "hen-house")
	snapshot(t, f, "hen-house")
}
