//go:build interop

package interop

import (
	"net"
	"os/exec"
	"path/filepath"
	"testing"
)

// TestTenLines has the lines of docs/CLIENTS.md fetch a snapshot through our broker.
func TestTenLines(t *testing.T) {
	url, _ := perchBroker(t)
	agent(t, url, "hen-house")
	host, port, err := net.SplitHostPort(hostPort(url))
	if err != nil {
		t.Fatal(err)
	}
	const shown = "the lines of docs/CLIENTS.md fetch a snapshot"
	laptop := func(name string, cmd *exec.Cmd, file string) {
		t.Helper()
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", name, err, out)
			return
		}
		picture(t, file)
	}
	t.Run("Go", func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "go.jpg")
		laptop("Go", exec.CommandContext(t.Context(), "go", "run", "./snapshot", url, "hen-house", file), file)
	})
	t.Run("rsocket-js", func(t *testing.T) {
		table.Ran(t, Row{rsocketJS(), "laptop on our broker", shown})
		file := filepath.Join(t.TempDir(), "js.jpg")
		laptop("rsocket-js", exec.CommandContext(t.Context(), "node", "js/snapshot.mjs", host, port, "hen-house", file), file)
	})
	t.Run("rsocket-java", func(t *testing.T) {
		rsocketJava(t, "laptop on our broker", shown)
		file := filepath.Join(t.TempDir(), "java.jpg")
		laptop("rsocket-java", javaPeer.Command(t, "Snapshot", host, port, "hen-house", file), file)
	})
	t.Run("Spring", func(t *testing.T) {
		springBroker.Needs(t, Row{"Spring's RSocketRequester", "laptop on our broker", shown})
		table.Ran(t, Row{"Spring's RSocketRequester " + springBroker.Version("spring-messaging"), "laptop on our broker", shown})
		file := filepath.Join(t.TempDir(), "spring.jpg")
		laptop("Spring", springBroker.Command(t, "SpringSnapshot", host, port, "hen-house", file), file)
	})
}
