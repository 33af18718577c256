//go:build e2e

package e2e

import (
	"bytes"
	"fmt"
	"image/jpeg"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/perchcam/perch/e2e/vpi"
)

// soon is how long it may take from `dpkg -i` to a picture on a laptop, of the guest's own time.
const soon = 20 * time.Second

// TestPackages is the life of the packages on a Pi, from `dpkg -i` to purge, and each way to pair a Pi with a broker that is given
// nothing but what the broker printed. Its steps build on one another.
func TestPackages(t *testing.T) {
	p := &packages{bench: newBench(t)}
	p.step("before", p.before)
	p.step("picture", p.firstPicture)
	p.step("upgrade", p.upgrade)
	p.step("disable", p.disable)
	p.step("remove", p.remove)
	p.step("purge", p.purge)
	p.step("pair", p.pair)
	p.step("flash", p.flash)
	p.step("broker", p.server)
}

type packages struct{ *bench }

// files lists what is on the Pi's disk, but for what running programs leave in any case.
const files = `find / -xdev \( -path /proc -o -path /sys -o -path /run -o -path /dev -o -path /host -o -path /tmp -o -path /var/tmp \) -prune -o -print |
	grep -vE '^/var/log/|^/etc/(passwd|group|shadow|gshadow)-$|^/etc/\.pwd\.lock$|^/var/lib/dpkg/[a-z-]+-old$|^/var/lib/systemd/(timesync|random-seed)' | sort`

// before notes what is there without any of the packages. The lines that the broker prints for a Pi begin with sudo, which
// this one's root does without.
func (p *packages) before() {
	p.plugCamera()
	p.guest("printf '#!/bin/sh\\nexec \"$@\"\\n' >/usr/local/bin/sudo && chmod 755 /usr/local/bin/sudo")
	p.share(p.deb, "perch-agent.deb")
	p.guest(files + " >/run/before")
}

func (p *packages) share(deb, name string) {
	p.Helper()
	data, err := os.ReadFile(deb)
	p.must(err)
	p.must(os.WriteFile(filepath.Join(p.pi.Share(), name), data, 0o644))
}

// firstPicture is what an owner does who is in a hurry: two commands and two variables.
func (p *packages) firstPicture() {
	_, port, _ := strings.Cut(strings.TrimPrefix(p.url, "tcp://"), ":")
	file := filepath.Join(p.TempDir(), "first.jpg")
	start := time.Now()
	before, err := p.pi.Waited()
	p.must(err)
	p.guest(fmt.Sprintf(`dpkg -i /host/perch-agent.deb
		printf '%%s\n' PERCH_BROKER=tcp://%s:%s PERCH_DEVICE=%s >>/etc/default/perch-agent
		systemctl restart perch-agent`, vpi.GuestLoopback, port, device))
	_, err = p.perch("snapshot", device, "--wait", "60s", "-o", file)
	p.must(err)
	took := time.Since(start)
	after, err := p.pi.Waited()
	p.must(err)
	own := took - (after - before)
	p.Logf("%.1f s from dpkg -i to a picture on the laptop, %.1f s of them the guest's own", took.Seconds(), own.Seconds())
	if own > soon {
		p.Errorf("from dpkg -i to a picture on the laptop it takes %s, which is more than %s", own, soon)
	}
	p.isPicture(file)
}

// isPicture says whether a file holds a whole picture.
func (p *packages) isPicture(file string) {
	p.Helper()
	data, err := os.ReadFile(file)
	p.must(err)
	if _, err := jpeg.Decode(bytes.NewReader(data)); err != nil {
		p.Fatalf("%s, of %d bytes, is no picture: %v", file, len(data), err)
	}
}

// next makes a package with a higher version, whose conffile is another as well, and returns the version.
func (p *packages) next(suffix string) string {
	p.Helper()
	tree := filepath.Join(p.TempDir(), "tree")
	p.must(exec.CommandContext(p.Context(), "dpkg-deb", "--raw-extract", p.deb, tree).Run())
	edit := func(name string, change func(string) string) {
		path := filepath.Join(tree, name)
		text, err := os.ReadFile(path)
		p.must(err)
		p.must(os.WriteFile(path, []byte(change(string(text))), 0o644))
	}
	var version string
	edit("DEBIAN/control", func(s string) string {
		var lines []string
		for line := range strings.Lines(s) {
			if old, ok := strings.CutPrefix(line, "Version: "); ok {
				version = strings.TrimSpace(old) + suffix
				line = "Version: " + version + "\n"
			}
			lines = append(lines, line)
		}
		return strings.Join(lines, "")
	})
	edit("etc/default/perch-agent", func(s string) string { return s + "\n# A later version says more.\n" })
	p.must(exec.CommandContext(p.Context(), "dpkg-deb", "--root-owner-group", "-Znone", "--build", tree, filepath.Join(p.pi.Share(), "next.deb")).Run())
	return version
}

// install puts the next version in, with the answer that apt gives where nobody is there to be asked.
func (p *packages) install(version string) {
	p.Helper()
	p.guest("dpkg --force-confold -i /host/next.deb")
	if got := p.guest("dpkg-query -W -f '${Version} ${db:Status-Abbrev}' perch-agent"); got != version+" ii" {
		p.Fatalf("dpkg has perch-agent as %q, not version %s", got, version)
	}
}

func (p *packages) pid() string { return p.guest("systemctl show -P MainPID perch-agent") }

// upgrade puts a later version in while the agent runs. It is another process afterwards, with the settings of before.
func (p *packages) upgrade() {
	before := p.pid()
	p.guest("echo kept >/etc/perch/something; install -o perch -m 600 /dev/null /var/lib/perch-agent/something")
	p.install(p.next("+1"))
	p.isState("enabled", "active")
	if after := p.pid(); after == before || after == "0" {
		p.Errorf("the agent is process %s, and was %s before the upgrade", after, before)
	}
	p.guest("grep -q ^PERCH_DEVICE=" + device + "$ /etc/default/perch-agent && test -e /etc/perch/something && test -e /var/lib/perch-agent/something")
	p.picture(device)
}

// picture asks for one as soon as the device is there.
func (p *packages) picture(device string) {
	p.Helper()
	_, err := p.perch("snapshot", device, "--wait", "60s", "-o", filepath.Join(p.TempDir(), "x.jpg"))
	p.must(err)
}

// disable is the owner's word, which an upgrade does not take back.
func (p *packages) disable() {
	p.guest("systemctl disable --now perch-agent 2>/dev/null")
	p.isState("disabled", "inactive")
	p.install(p.next("+2"))
	p.isState("disabled", "inactive")
	p.guest("systemctl enable --now perch-agent 2>/dev/null")
	p.isState("enabled", "active")
}

// remove takes the programs away, and leaves what the owner wrote.
func (p *packages) remove() {
	p.guest("dpkg -r perch-agent")
	if got := p.guest("systemctl is-enabled perch-agent 2>&1; systemctl is-active perch-agent; true"); !strings.HasPrefix(got, "masked") || !strings.HasSuffix(got, "inactive") {
		p.Errorf("after removal the unit is %q", got)
	}
	p.guest("test ! -e /usr/bin/perch-agent && grep -q ^PERCH_DEVICE= /etc/default/perch-agent && test -e /etc/perch/something && test -e /var/lib/perch-agent/something")
}

// purge takes everything away but the account.
func (p *packages) purge() {
	p.Helper()
	p.guest("dpkg -P perch-agent")
	p.nothingLeft("perch")
}

func (p *packages) nothingLeft(user string) {
	p.Helper()
	if left := p.guest(files + " >/run/after; diff /run/before /run/after || true"); left != "" {
		p.Errorf("after the purge there is on the disk (>), or is not (<):\n%s", left)
	}
	p.guest("getent passwd " + user)
	if units := p.guest("systemctl list-units --all --no-legend 'perch*'"); strings.Contains(units, "loaded") {
		p.Errorf("systemd still knows %s", units)
	}
}
