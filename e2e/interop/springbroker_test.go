//go:build interop

package interop

import (
	"context"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/perchcam/perch/e2e/proc"
)

// springBroker is rsocket-broker: its published library under a Spring Boot parent, and a main of a few lines.
var springBroker = &Java{Folder: "java/broker", Sources: []string{"java/peer/Peer.java"}}

// rsocketBroker enters a row for it, or skips the test where it cannot be had.
func rsocketBroker(t *testing.T, role, what string) {
	t.Helper()
	springBroker.Needs(t, Row{"rsocket-broker 0.3.0", role, what})
	table.Ran(t, Row{"rsocket-broker " + springBroker.Version("rsocket-broker-spring"), role, what})
}

// startSpringBroker starts it at addr and waits until it listens. JVM and Spring need ten seconds on a small machine.
func startSpringBroker(t *testing.T, addr string, options ...string) *proc.Process {
	t.Helper()
	cmd := springBroker.Command(t, "BrokerMain", append([]string{
		"--io.rsocket.broker.uri=tcp://" + addr, "--io.rsocket.broker.cluster.enabled=false", "--spring.main.banner-mode=off",
	}, options...)...)
	p, err := proc.Start(cmd.Path, cmd.Args[1:], nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = p.Stop() // by SIGTERM, which a JVM answers with 143
		if t.Failed() {
			t.Logf("rsocket-broker said:\n%s", p.Said())
		}
	})
	said(t, p, "Started BrokerMain")
	return p
}

// javaLaptop is rsocket-java with rsocket-broker's own encoders.
func javaLaptop(t testing.TB, role, url string, options ...string) *Foreign {
	t.Helper()
	return Start(t, springBroker.Command(t, "Laptop", append([]string{role, url}, options...)...))
}

// TestRSocketBroker has our agent and our laptop work with rsocket-broker as it comes, which is without resumption.
func TestRSocketBroker(t *testing.T) {
	rsocketBroker(t, "broker for our agent, as it comes (without resumption)",
		"rsocket-java with its own encoders and `perch` take snapshots and a paced stream; two agents behind one service; agent and broker restart")
	addr := freePort(t)
	url := "tcp://" + addr
	b := startSpringBroker(t, addr)
	hen := agent(t, url, "hen-house")
	said(t, hen, "resume not supported") // the refusal that PERCH_RESUME=auto understands

	f := javaLaptop(t, "client", url)
	snapshot(t, f, "hen-house")
	pictures(t, f, "hen-house", 20, 4, `{"keep":"all"}`)
	pictures(t, f, "hen-house", 20, 4, "{}")
	said(t, hen, "from=streaming to=idle") // which is what CANCEL comes to
	perchAsks(t, url, "hen-house")

	goat := agent(t, url, "goat-barn")
	answered := map[string]bool{}
	for range 4 {
		answered[snapshot(t, f, "any").Boot] = true
	}
	if len(answered) != 2 {
		t.Errorf("of two agents behind one service %d answered", len(answered))
	}
	if err := goat.Stop(); err != nil {
		t.Error(err)
	}

	if err := hen.Stop(); err != nil {
		t.Error(err)
	}
	agent(t, url, "hen-house")
	snapshot(t, f, "hen-house")

	_ = b.Stop()
	startSpringBroker(t, addr)
	f = javaLaptop(t, "client", url)
	snapshot(t, f, "hen-house") // which waits for the agent: this broker lets a request wait for ever
}

// TestRSocketBrokerResumes has it resume with what a user adds, an RSocketServerCustomizer.
func TestRSocketBrokerResumes(t *testing.T) {
	rsocketBroker(t, "broker for our agent, with an RSocketServerCustomizer for resumption", "a stream of all pictures, the agent's link cut mid-stream: none lost")
	addr := freePort(t)
	startSpringBroker(t, addr, "--resume=true")
	r := NewRelay(t, addr)
	r.Plan(func(link int) Cut {
		c := few(link)
		c.From = FromClient // where the pictures are
		return c
	})
	agent(t, "tcp://"+r.Addr(), "hen-house")
	f := javaLaptop(t, "client", "tcp://"+addr, "resume")
	pictures(t, f, "hen-house", 60, 4, `{"keep":"all"}`)
	if r.Links() != 4 {
		t.Errorf("%d links", r.Links())
	}
	perchAsks(t, "tcp://"+addr, "hen-house")
}

// perchAsks has the CLI take a snapshot and a stream.
func perchAsks(t *testing.T, url, device string, flags ...string) {
	t.Helper()
	perchAsksBy(t, program(t, "perch"), url, device, flags...)
}

// perchAsksBy is perchAsks by a CLI of this version or another.
func perchAsksBy(t *testing.T, cli, url, device string, flags ...string) {
	t.Helper()
	dir := t.TempDir()
	perchOf(t, cli, append([]string{"--broker", url, "snapshot", device, "-o", filepath.Join(dir, "one.jpg")}, flags...)...)
	picture(t, filepath.Join(dir, "one.jpg"))
	perchOf(t, cli, append([]string{"--broker", url, "stream", device, "-n", "20", "-o", filepath.Join(dir, "many")}, flags...)...)
	files, err := filepath.Glob(filepath.Join(dir, "many", "*.jpg"))
	if err != nil || len(files) != 20 {
		t.Errorf("the stream left %d files of 20: %v", len(files), err)
	}
	for _, f := range files {
		picture(t, f)
	}
}

// perchOf runs a CLI.
func perchOf(t *testing.T, cli string, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	out, err := exec.CommandContext(ctx, cli, args...).CombinedOutput()
	if err != nil {
		t.Errorf("perch %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}
