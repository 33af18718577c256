//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/perchcam/perch/e2e/proc"
	"github.com/perchcam/perch/e2e/vpi"
)

// TestLife has everything in use at once inside the sandbox, and looks at the sandbox from within. Its steps build on one another.
func TestLife(t *testing.T) {
	l := &life{bench: newBench(t)}
	l.step("hardware", l.wire)
	l.step("install", l.put)
	l.step("everything", l.everything)
	l.step("probe", l.probe)
	l.step("inside", l.inside)
}

type life struct{ *bench }

// guest is bench's, with patience for a machine that is busy with other things.
func (l *life) guest(script string) string {
	l.Helper()
	ctx, cancel := context.WithTimeout(l.Context(), 6*time.Minute)
	defer cancel()
	out, err := l.pi.Run(ctx, script)
	l.must(err)
	return strings.TrimSpace(out)
}

// everythingAt are the settings of an agent with all that there is, at a broker.
func everythingAt(port string) []string {
	return []string{
		"PERCH_BROKER=tcp://" + vpi.GuestLoopback + ":" + port, "PERCH_DEVICE=" + device,
		fmt.Sprintf("PERCH_CAMERAS=yard=v4l2:/dev/video0,width=%d,height=%d,fps=%d;nest=rpicam:0,width=320,height=240,fps=5", width, height, fps),
		"PERCH_SENSORS=door=gpio:GPIO17,debounce=5ms", "PERCH_OUTPUTS=ir=gpio:GPIO22,max_on=60s",
	}
}

func (l *life) port() string { return portOf(l.url) }

func portOf(url string) string { return url[strings.LastIndexByte(url, ':')+1:] }

// settings writes the conffile anew, in one piece.
func (l *life) settings(lines []string) {
	l.Helper()
	l.must(os.WriteFile(filepath.Join(l.pi.Share(), "settings"), []byte(strings.Join(lines, "\n")+"\n"), 0o644))
	l.guest("cp /host/settings /etc/default/perch-agent.new && chmod 0640 /etc/default/perch-agent.new && mv /etc/default/perch-agent.new /etc/default/perch-agent")
}

// restarted restarts the service and returns how long it took until it was connected.
func (l *life) restarted() time.Duration {
	l.Helper()
	return l.until("systemctl restart perch-agent", "online,")
}

// until runs a script in the guest and returns how long it took, by the guest's monotonic clock, until the service's status begins
// with text.
func (l *life) until(script, text string) time.Duration {
	l.Helper()
	out := l.guest(fmt.Sprintf(`a=$(cut -d' ' -f1 /proc/uptime)
		%s
		for i in $(seq 250); do
			case "$(systemctl show -P StatusText perch-agent)" in *'%s'*) break ;; esac
			sleep 0.05
		done
		systemctl show -P StatusText perch-agent
		echo $a $(cut -d' ' -f1 /proc/uptime)`, script, text))
	lines := strings.Split(out, "\n")
	if !strings.Contains(out, text) {
		l.Fatalf("the service does not come to %q: %s", text, out)
	}
	var from, to float64
	if _, err := fmt.Sscan(lines[len(lines)-1], &from, &to); err != nil {
		l.Fatalf("%v: %s", err, out)
	}
	return time.Duration((to - from) * float64(time.Second))
}

// wire gives the guest its hardware: vivid, a Pi's GPIO chip, and a subdevice's node as a ribbon camera has.
func (l *life) wire() {
	l.plugCamera()
	l.guest(`set -e
		modprobe gpio-sim
		chip=/sys/kernel/config/gpio-sim/pi
		mkdir -p $chip/bank0/line17 $chip/bank0/line22
		echo pinctrl-bcm2835 >$chip/bank0/label
		echo 54 >$chip/bank0/num_lines
		echo GPIO17 >$chip/bank0/line17/name
		echo GPIO22 >$chip/bank0/line22/name
		echo 1 >$chip/live
		mknod /dev/v4l-subdev0 c 81 250
		chgrp video /dev/v4l-subdev0
		chmod 660 /dev/v4l-subdev0`)
	tool := filepath.Join(l.pi.Share(), "sandbox")
	build := exec.CommandContext(l.Context(), "go", "build", "-trimpath", "-ldflags=-s -w", "-o", tool, "./sandbox")
	build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH=arm64")
	if out, err := build.CombinedOutput(); err != nil {
		l.Fatalf("cannot build the stand-ins: %v\n%s", err, out)
	}
	l.guest("for name in perch-probe rpicam-vid rpicam-hello; do install -m 755 /host/sandbox /usr/bin/$name; done")
}

// put installs the package that is configured already, as the image of a fleet is.
func (l *life) put() {
	data, err := os.ReadFile(l.deb)
	l.must(err)
	l.must(os.WriteFile(filepath.Join(l.pi.Share(), "perch-agent.deb"), data, 0o644))
	l.guest("dpkg -i /host/perch-agent.deb")
	l.settings(everythingAt(l.port()))
	l.Logf("from restart to online: %v", l.restarted())
}

// everything uses two cameras, one of them a child's, a sensor, an output and the network at the same time, inside the sandbox.
func (l *life) everything() {
	dir := filepath.Join(l.TempDir(), "frames")
	perch := filepath.Join(l.bin, "perch")
	stream, err := proc.Start(perch, []string{"--broker", l.url, "stream", device, "--camera", "yard", "-n", "40", "-o", dir}, nil)
	l.must(err)
	defer stream.Stop()
	watch, err := proc.Start(perch, []string{"--broker", l.url, "sensors", device, "door", "--follow", "--json"}, nil)
	l.must(err)
	defer watch.Stop()
	ctx, cancel := context.WithTimeout(l.Context(), 90*time.Second)
	defer cancel()
	_, err = watch.Line(ctx, `"door"`)
	l.must(err)

	file := filepath.Join(l.TempDir(), "nest.jpg")
	_, err = l.perch("snapshot", device, "--camera", "nest", "--timeout", "30s", "-o", file)
	l.must(err)
	if data, err := os.ReadFile(file); err != nil || len(data) < 500 {
		l.Errorf("the ribbon camera gave %d bytes, %v", len(data), err)
	}
	l.guest("echo pull-down | tee /sys/devices/platform/gpio-sim.*/gpiochip*/sim_gpio17/pull")
	_, err = watch.Line(ctx, `"on":true`)
	l.must(err)
	_, err = l.perch("set", device, "ir", "on")
	l.must(err)
	if v := l.guest("cat /sys/devices/platform/gpio-sim.*/gpiochip*/sim_gpio22/value"); v != "1" {
		l.Errorf("the output was set, and its line is %s", v)
	}
	select {
	case <-stream.Done():
	case <-ctx.Done():
		l.Fatalf("the stream does not end:\n%s", stream.Said())
	}
	l.must(stream.Stop())
	l.checkFrames(dir, 40)
	if out := l.guest("ss -H -ltunp"); strings.Contains(out, "perch") || strings.Contains(out, "rpicam") {
		l.Errorf("with everything in use there is an open port:\n%s", out)
	}
}

// probe runs a program of our own in the unit's sandbox: the same unit but for what is started.
func (l *life) probe() {
	out := l.guest(`set -e
		sed -e 's|^Type=.*|Type=oneshot|' -e 's|^ExecStart=.*|ExecStart=/usr/bin/perch-probe|' \
		-e '/^ExecCondition=/d;/^ExecStop/d;/^Restart/d;/^Watchdog/d;/^NotifyAccess/d;/^\[Install\]/,$d' \
		/lib/systemd/system/perch-agent.service >/run/systemd/system/perch-probe.service
		systemctl daemon-reload
		systemctl start perch-probe
		journalctl -u perch-probe -o cat`)
	l.Logf("%s", out)
	const denied = "operation not permitted"
	for name, want := range map[string]string{
		"listen": denied, "accept": denied, "settime": denied, "namespace": denied, "executable": denied,
		"etc": "open /etc/perch-probe: read-only file system", "home": "open /root: permission denied",
		// And what the features need is there. Debian's arm64 kernel has no dma-buf heaps; no driver is behind the subdevice's node.
		"netlink": "<nil>", "media": "<nil>", "memfd": "<nil>", "gpiochip": "<nil>", "subdevice": "no such device", "dma_heap": "<nil>|no such file or directory",
	} {
		m := regexp.MustCompile(`(?m)^` + name + ` (.*)$`).FindStringSubmatch(out)
		if m == nil || !slices.ContainsFunc(strings.Split(want, "|"), func(w string) bool { return strings.HasPrefix(m[1], w) }) {
			l.Errorf("in the sandbox %s comes to %q, not %q", name, m, want)
		}
	}
}

// inside asks the agent over the link how it does, since it has no port.
func (l *life) inside() {
	health, err := l.perch("health", device)
	l.must(err)
	metrics, err := l.perch("metrics", device)
	l.must(err)
	logs, err := l.perch("logs", device)
	l.must(err)
	for _, c := range []struct{ text, want string }{
		{string(health), "camera yard"},
		{string(health), "sensor door"},
		{string(metrics), "perch_link_online 1"},
		{string(metrics), `perch_camera_frames_total{camera="nest"}`},
		{string(logs), "started"},
	} {
		if !strings.Contains(c.text, c.want) {
			l.Errorf("the agent does not say %q:\n%s", c.want, c.text)
		}
	}
}
