package agent

import (
	"crypto/sha256"
	"encoding/hex"
	"io/fs"
	"runtime"
	"strings"

	"github.com/perchcam/perch/pkg/api"
)

// machine is what the agent knows of the machine it runs on.
type machine struct {
	id     string // stable, see api.DeviceID
	host   string // its name
	kernel string
	model  string // of the board; "" where nobody says
	weak   bool   // id is made of the host name, because there is no machine id
}

// readMachine reads it from the files below root, "/" but for tests.
func readMachine(root fs.FS, hostname string) machine {
	m := machine{host: hostname, kernel: line(root, "proc/sys/kernel/osrelease")}
	for _, path := range []string{"sys/firmware/devicetree/base/model", "sys/class/dmi/id/product_name"} {
		if m.model == "" {
			m.model = line(root, path)
		}
	}
	for _, path := range []string{"etc/machine-id", "var/lib/dbus/machine-id"} {
		if id, err := api.DeviceID(line(root, path)); err == nil {
			m.id = id
			return m
		}
	}
	sum := sha256.Sum256([]byte("perch device id of host " + hostname))
	m.id, m.weak = hex.EncodeToString(sum[:16]), true
	return m
}

// line is the first line of a small file, "" if it cannot be had. Device tree strings end with a NUL.
func line(root fs.FS, path string) string {
	b, err := fs.ReadFile(root, path)
	if err != nil {
		return ""
	}
	s, _, _ := strings.Cut(strings.TrimRight(string(b), "\x00"), "\n")
	return api.Text(strings.TrimSpace(s[:min(len(s), 100)]))
}

// info is what agent.info says of the machine.
func (m machine) info() api.Info {
	return api.Info{OS: runtime.GOOS, Arch: runtime.GOARCH, Kernel: m.kernel, Model: m.model}
}
