//go:build interop

package interop

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// alibabaBroker is Alibaba's RSocket broker, as far as it is published.
var alibabaBroker = &Java{Folder: "java/alibaba"}

// TestAlibabaBroker would have our agent register there, be discovered, and serve snapshots by `e=device:…`.
func TestAlibabaBroker(t *testing.T) {
	alibabaBroker.Needs(t, Row{"Alibaba RSocket Broker 1.1.6", "broker for our agent", "register, discover, snapshots by e=device:…"})
	t.Fatal("its artifacts can be had now: this test is to be written")
}

// alibabaCore is what both sides of that broker are built on: its metadata, and its client for Java programs. It replaces a
// class of rsocket-core's by one of its own.
var alibabaCore = &Java{Folder: "java/alibabacore", Sources: []string{"java/peer/Peer.java"}, First: "alibaba-rsocket-core"}

// alibabaPeer enters a row for it and starts it, or skips the test where it cannot be had.
func alibabaPeer(t *testing.T, row Row, role, url string, options ...string) *Foreign {
	t.Helper()
	row.Peer = "alibaba-rsocket-core 1.1.6"
	alibabaCore.Needs(t, row)
	table.Ran(t, row)
	return Start(t, alibabaCore.Command(t, "AlibabaPeer", append([]string{role, url}, options...)...))
}

// TestAlibabaRegistration has our agent register as the broker's own classes read it, with a JWT, and be asked as they write it.
// An event that is pushed and a call of the broker's web console do no harm.
func TestAlibabaRegistration(t *testing.T) {
	addr := freePort(t)
	f := alibabaPeer(t, Row{
		Role: "broker's metadata for our agent, without the broker around them",
		What: "an application with its services, a JWT; a snapshot and a paced stream by e=device:…; a pushed event and the console's call are tolerated",
	},
		"server", "tcp://"+addr, "jwt=to.ke.n")
	token := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(token, []byte("to.ke.n\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	agent(t, "tcp://"+addr, "hen-house", "PERCH_DIALECT=alibaba", "PERCH_TOKEN_FILE="+token)
	app, err := f.Do(t.Context(), "app")
	if err != nil || !strings.HasPrefix(app, "perch device=hen-house ") || !strings.Contains(app, ",camera:-1051661171") {
		t.Errorf("it reads %q: %v", app, err) // the id is that of brokers' documents for the service "camera"
	}
	snapshot(t, f, "hen-house")
	pictures(t, f, "hen-house", 20, 4, `{"keep":"all"}`)
	f.Must(t, "InvalidException", "console")
}

// TestAlibabaRefusal has the broker's metadata refuse our agent, which has no JWT: rsocket-java 1.1.4, as that broker has it, hangs
// up without a word. The agent goes on trying, and is taken when it has one.
func TestAlibabaRefusal(t *testing.T) {
	addr := freePort(t)
	f := alibabaPeer(t, Row{Role: "broker's metadata for our agent, without the broker around them", What: "without its JWT the agent is not taken, and goes on trying"},
		"server", "tcp://"+addr, "jwt=to.ke.n")
	p := ours(t, "perch-agent", nil, "PERCH_BROKER=tcp://"+addr, "PERCH_DEVICE=hen-house", "PERCH_CAMERAS=test=pattern", "PERCH_DIALECT=alibaba", "PERCH_LOG_LEVEL=debug")
	for range 4 {
		said(t, p, "cannot connect")
	}
	f.Must(t, "", "app")
}

// TestAlibabaJavaLaptop has Alibaba's own encoders and its client ask our broker.
func TestAlibabaJavaLaptop(t *testing.T) {
	url, _ := perchBroker(t)
	f := alibabaPeer(t, Row{Role: "laptop on our broker", What: "a snapshot and a paced stream by its encoders; its client calls camera.snapshot as a Java service"}, "client", url)
	device := agent(t, url, "hen-house", "PERCH_DIALECT=alibaba")
	laptop(t, f, device)
	answer, err := f.Do(t.Context(), "call %s", url)
	if err != nil || !strings.HasSuffix(answer, " true") {
		t.Errorf("its client was given %q: %v", answer, err)
	}
}

// TestPerchDialects has the CLI ask our broker in each dialect, and devices register in another.
func TestPerchDialects(t *testing.T) {
	url, _ := perchBroker(t)
	dialects := []string{"rsocket-broker", "alibaba", "plain"}
	for _, d := range dialects {
		agent(t, url, d+"-house", "PERCH_DIALECT="+d)
	}
	for _, d := range dialects {
		for _, device := range dialects {
			perchAsks(t, url, device+"-house", "--dialect", d)
		}
	}
}

// TestAlibabaLaptop has rsocket-js ask our broker as Alibaba's clients do: JSON about the application in SETUP, the device as an
// endpoint behind the route.
func TestAlibabaLaptop(t *testing.T) {
	table.Ran(t, Row{rsocketJS(), "laptop on our broker, in the dialect of Alibaba's clients", `a snapshot and a paced stream by "camera.snapshot", "e=device:…"`})
	url, _ := perchBroker(t)
	device := agent(t, url, "hen-house")
	laptop(t, node(t, "client", url, "dialect=alibaba"), device)
}

// TestPlainDialect has our agent register in the plain dialect, at our broker and at a stranger's.
func TestPlainDialect(t *testing.T) {
	table.Ran(t, Row{rsocketJS(), "broker for our agent, in the plain dialect", "the agent registers; a snapshot"})
	t.Run("at our broker", func(t *testing.T) {
		url, _ := perchBroker(t)
		device := agent(t, url, "hen-house", "PERCH_DIALECT=plain")
		laptop(t, node(t, "client", url), device)
	})
	t.Run("at rsocket-js", func(t *testing.T) {
		addr := freePort(t)
		f := node(t, "server", "tcp://"+addr, "resume")
		agent(t, "tcp://"+addr, "hen-house", "PERCH_DIALECT=plain")
		f.Must(t, "message/x.rsocket.routing.v0 application/vnd.perch.advert.v1+json", "setup")
		snapshot(t, f, "hen-house")
	})
}
