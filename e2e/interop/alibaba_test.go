//go:build interop

package interop

import (
	"testing"
)

// alibabaBroker is Alibaba's RSocket broker, as far as it is published.
var alibabaBroker = &Java{Folder: "java/alibaba"}

// TestAlibabaBroker would have our agent register there, be discovered, and serve snapshots by `e=device:…`.
func TestAlibabaBroker(t *testing.T) {
	alibabaBroker.Needs(t, Row{"Alibaba RSocket Broker 1.1.6", "broker for our agent", "register, discover, snapshots by e=device:…"})
	t.Fatal("its artifacts can be had now: this test is to be written")
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
