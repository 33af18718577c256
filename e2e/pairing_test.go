//go:build e2e

package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/perchcam/perch/e2e/proc"
	"github.com/perchcam/perch/pkg/api"
)

// shop is a broker on this machine, with credentials, and the home of somebody with a laptop. What they type is what the programs
// print: the lines of their output that begin with two blanks.
type shop struct {
	*packages
	home  string
	login string // the line for the laptop
}

func printed(out string) (lines []string) {
	for line := range strings.Lines(out) {
		if line, ok := strings.CutPrefix(line, "  "); ok {
			lines = append(lines, strings.TrimSpace(line))
		}
	}
	return lines
}

// types runs a line on this machine as one who has only the three programs and a home would.
func (s *shop) types(line string) string {
	s.Helper()
	cmd := s.shell(line)
	var said bytes.Buffer
	cmd.Stderr = &said
	out, err := cmd.Output()
	if err != nil {
		s.Fatalf("%s: %v: %s", line, err, said.Bytes())
	}
	return string(out)
}

func (s *shop) shell(line string) *exec.Cmd {
	cmd := exec.CommandContext(s.Context(), "sh", "-c", line)
	cmd.Env = []string{"PATH=" + s.bin + ":/usr/bin:/bin", "HOME=" + s.home, "PERCH_BROKER_STATE=" + filepath.Join(s.home, "broker")}
	cmd.Dir = s.home
	return cmd
}

// open makes a broker and starts it.
func (p *packages) open() *shop {
	p.Helper()
	s := &shop{packages: p, home: p.TempDir()}
	lines := printed(s.types("perch-broker init --url tls://" + ownAddress(p)))
	if len(lines) != 3 || !strings.HasPrefix(lines[0], "perch-broker ") || !strings.Contains(lines[1], "| perch login ") {
		p.Fatalf("init prints the lines %q", lines)
	}
	s.login = lines[1]
	args := strings.Fields(lines[0])
	broker, err := proc.Start(filepath.Join(p.bin, args[0]), args[1:], nil)
	p.must(err)
	p.Cleanup(func() {
		if p.Failed() {
			p.Logf("the broker with credentials said:\n%s", broker.Said())
		}
		if err := broker.Stop(); err != nil {
			p.Error(err)
		}
	})
	_, err = broker.Line(p.Context(), "msg=listening")
	p.must(err)
	return s
}

// ownAddress is where both this machine and the guest, whose connections are made by a process of this machine, find a broker.
func ownAddress(p *packages) string {
	p.Helper()
	addrs, err := net.InterfaceAddrs()
	p.must(err)
	for _, a := range addrs {
		if n, ok := a.(*net.IPNet); ok && n.IP.To4() != nil && n.IP.IsGlobalUnicast() {
			l, err := net.Listen("tcp", ":0") // a port that is free on all addresses, for that is where the broker listens
			p.must(err)
			defer l.Close()
			return net.JoinHostPort(n.IP.String(), strconv.Itoa(l.Addr().(*net.TCPAddr).Port))
		}
	}
	p.Fatal("this machine has no address but its loopback, which the guest cannot name")
	return ""
}

// logsIn is what the laptop's owner does with the line from the broker, and shows that it is of use from then on.
func (s *shop) logsIn() {
	s.Helper()
	s.types(s.login)
	if out := s.types("perch profiles"); !strings.Contains(out, "tls://") {
		s.Fatalf("after perch login the profiles are:\n%s", out)
	}
}

// sees takes a picture, with nothing but the profile.
func (s *shop) sees(device string) {
	s.Helper()
	file := filepath.Join(s.TempDir(), "seen.jpg")
	s.types("perch snapshot " + device + " --wait 60s -o " + file)
	s.isPicture(file)
}

// pair goes from a blank Pi to a picture over TLS, with what the broker printed and nothing else.
func (p *packages) pair() {
	s := p.open()
	s.logsIn()
	lines := printed(s.types("perch-broker add device " + device))
	if len(lines) != 2 {
		p.Fatalf("add device prints %q", lines)
	}
	p.guest("dpkg -i /host/perch-agent.deb")
	for _, line := range lines {
		p.guest(line)
	}
	s.sees(device)
	if got := p.guest("stat -c '%U %a' /etc/perch/token"); got != "root 600" {
		p.Errorf("the token's file is of %s", got)
	}
	if got := p.guest("setpriv --reuid=perch --regid=perch --init-groups cat /etc/perch/token 2>&1 || true"); !strings.Contains(got, "Permission denied") {
		p.Errorf("the agent's user reads root's file: %s", got)
	}
	// Without its credentials it is gone, within a second, and stays away.
	s.types("perch-broker revoke " + device)
	for range 100 {
		if out := s.types("perch devices"); !strings.Contains(out, "online") {
			p.guest("dpkg -P perch-agent")
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
	p.Error("the device is online with credentials that were revoked")
}

// flash starts a Pi with a card on whose boot partition are the package and the file that the broker has made: it enrols itself,
// under its host name, and has a token of its own afterwards.
func (p *packages) flash() {
	const name = "card-7"
	s := p.open()
	s.logsIn()
	text := s.types("perch-broker enrol cards --user-data")
	if !strings.HasPrefix(text, "#cloud-config\n") {
		p.Fatalf("cloud-init knows its files by their first line, and this one is:\n%s", text)
	}
	// What cloud-init does with it: the files, and then all commands as one script of sh.
	var card struct {
		Files []struct{ Path, Permissions, Content string } `yaml:"write_files"`
		Run   []string                                      `yaml:"runcmd"`
	}
	dec := yaml.NewDecoder(strings.NewReader(text))
	dec.KnownFields(true)
	p.must(dec.Decode(&card))
	p.guest("mkdir -p /boot/firmware && cp /host/perch-agent.deb /boot/firmware/perch-agent_1.0_arm64.deb && hostname " + name)
	for i, f := range card.Files {
		from := fmt.Sprintf("file-%d", i)
		p.must(os.WriteFile(filepath.Join(p.pi.Share(), from), []byte(f.Content), 0o644))
		p.guest(fmt.Sprintf("install -D -m %s /host/%s %s", f.Permissions, from, f.Path))
	}
	p.guest("set -e\n" + strings.Join(card.Run, "\n"))
	s.sees(name)

	// The card's own token counts; the one that it came with is spent.
	if out := s.types("perch-broker list"); !regexp.MustCompile(name+` +device +`+name+` +token, by cards`).MatchString(out) || !strings.Contains(out, "token, 0 left") {
		p.Errorf("after the enrolment the credentials are:\n%s", out)
	}
	if got := p.guest("stat -c '%U %a' /var/lib/perch-agent /var/lib/perch-agent/token"); got != "perch 700\nperch 600" {
		p.Errorf("the token of its own is of:\n%s", got)
	}
	since := time.Now()
	p.guest("systemctl restart perch-agent")
	for limit := time.Now().Add(time.Minute); ; time.Sleep(200 * time.Millisecond) {
		var list api.Devices
		p.must(json.Unmarshal([]byte(s.types("perch devices --json")), &list))
		if len(list.Devices) == 1 && list.Devices[0].State == api.StateOnline && list.Devices[0].Since.After(since) {
			break
		}
		if time.Now().After(limit) {
			p.Fatalf("after a restart the card is not back: %+v", list.Devices)
		}
	}
	p.guest("rm -r /boot/firmware && hostname vpi")
	p.purge()
}

// server installs the broker and the CLI, which do what they print on one machine.
func (p *packages) server() {
	for _, name := range []string{"perch-broker", "perch"} {
		debs, err := filepath.Glob(filepath.Join(filepath.Dir(p.deb), name+"_*_arm64.deb"))
		if err != nil || len(debs) != 1 {
			p.Fatalf("found the packages %q where one was expected (%v)", debs, err)
		}
		p.share(debs[0], name+".deb")
	}
	said := p.guest("dpkg -i /host/perch-broker.deb /host/perch.deb; systemctl start perch-broker; systemctl is-active perch-broker; journalctl -b -u perch-broker -o cat; true")
	for _, want := range []string{"perch-broker is not started: run perch-broker init", "\ninactive\n", "there is no key yet: run perch-broker init"} {
		if !strings.Contains(said, want) {
			p.Errorf("an installation without a key does not say %q:\n%s", want, said)
		}
	}
	lines := printed(p.guest("perch-broker init --url tls://127.0.0.1:7878"))
	if len(lines) != 3 {
		p.Fatalf("init prints the lines %q", lines)
	}
	said = p.guest(lines[0] + `
		for i in $(seq 100); do perch-broker check >/run/check && break; sleep 0.1; done
		cat /run/check
		` + lines[1] + ` 2>&1
		stat -c %U /proc/$(systemctl show -P MainPID perch-broker)
		stat -c %U /var/lib/perch-broker/*`)
	if !strings.Contains(said, "tls://127.0.0.1:7878 is saved as default; 0 devices can be seen there") || strings.Contains(said, "fail") ||
		!strings.Contains(said, "ok    broker: tls://127.0.0.1:7878 answers with this key") {
		p.Errorf("the broker and the CLI on one machine say:\n%s", said)
	}
	if strings.Contains(said, "root") {
		p.Errorf("the broker, or a file of its, is root's:\n%s", said)
	}
	p.guest("dpkg -P perch-broker perch && rm -r ~root/.config")
	p.nothingLeft("perch-broker")
}
