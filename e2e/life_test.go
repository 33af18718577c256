//go:build e2e

package e2e

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"flag"
	"fmt"
	"math/big"
	mathrand "math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/perchcam/perch/e2e/proc"
	"github.com/perchcam/perch/e2e/scissors"
	"github.com/perchcam/perch/e2e/vpi"
	"github.com/perchcam/perch/pkg/api"
)

var cuts = flag.Int("life.cuts", 3, "how often TestLife cuts the power")

// TestLife is what a Pi goes through in the field: everything in use at once inside the sandbox, restarts, hangs, kills, lost links, a
// root that cannot be written, a clock that is wrong, and power cuts. Its steps build on one another.
func TestLife(t *testing.T) {
	l := &life{bench: newBench(t)}
	l.step("hardware", l.wire)
	l.step("install", l.put)
	l.step("everything", l.everything)
	l.step("probe", l.probe)
	l.step("inside", l.inside)
	l.step("steady", l.steady)
	l.step("restart", l.restart)
	l.step("SIGKILL", l.kill)
	l.step("watchdog", l.hang)
	l.step("scissors", l.scissors)
	l.step("secrets", l.secrets)
	l.step("read-only", l.readOnly)
	l.step("clock", l.clock)
	l.step("power cuts", l.powerCuts)
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

// within holds a time that is returned against its limit, but for what this machine had no processor for the guest meanwhile.
func (l *life) within(limit time.Duration, what string, measure func() time.Duration) {
	l.Helper()
	before, err := l.pi.Waited()
	l.must(err)
	took := measure()
	after, err := l.pi.Waited()
	l.must(err)
	waited := after - before
	l.Logf("%s: %v, in which the guest waited %v for a processor", what, took.Round(10*time.Millisecond), waited.Round(10*time.Millisecond))
	if took-waited > limit {
		l.Errorf("%s took %v and waited %v, more than %v", what, took, waited, limit)
	}
}

// everythingAt are the settings of an agent with all that there is, at a broker.
func everythingAt(port string) []string {
	return []string{
		"PERCH_BROKER=tcp://" + vpi.GuestLoopback + ":" + port, "PERCH_DEVICE=" + device,
		fmt.Sprintf("PERCH_CAMERAS=yard=v4l2:/dev/video0,width=%d,height=%d,fps=%d;nest=rpicam:0,width=320,height=240,fps=5", width, height, fps),
		"PERCH_SENSORS=door=gpio:GPIO17,debounce=5ms", "PERCH_OUTPUTS=ir=gpio:GPIO22,max_on=60s",
	}
}

// yardAt are those of an agent with one camera.
func yardAt(port string) []string {
	return []string{
		"PERCH_BROKER=tcp://" + vpi.GuestLoopback + ":" + port, "PERCH_DEVICE=" + device,
		fmt.Sprintf("PERCH_CAMERAS=yard=v4l2:/dev/video0,width=%d,height=%d,fps=%d", width, height, fps),
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

// log returns what the service has logged since the mark of an earlier call, and a new mark.
func (l *life) log(mark string) (text, next string) {
	l.Helper()
	from := "--after-cursor='" + mark + "'"
	if mark == "" {
		from = "-n 1"
	}
	// What a process says last may reach the journal after the service manager's own words about its end.
	text, next, _ = strings.Cut(l.guest("journalctl --sync; journalctl -u perch-agent -o cat --show-cursor "+from), "-- cursor: ")
	return text, next
}

// listed returns how the broker lists the device, nil if it does not.
func (l *life) listed() *api.Device {
	l.Helper()
	out, err := l.perch("devices", "--json")
	l.must(err)
	var list api.Devices
	if err := json.Unmarshal(out, &list); err != nil {
		l.Fatalf("cannot read the list of devices: %v\n%s", err, out)
	}
	for _, d := range list.Devices {
		if d.Name == device {
			return &d
		}
	}
	return nil
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
		mknod -m 666 /dev/perch-probe c 10 237 # as /dev/loop-control
		systemctl daemon-reload
		systemctl start perch-probe
		journalctl --sync; journalctl -u perch-probe -o cat`)
	l.Logf("%s", out)
	const denied = "operation not permitted"
	for name, want := range map[string]string{
		"listen": denied, "accept": denied, "device": denied, "settime": denied, "namespace": denied, "executable": denied,
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

// steady looks at an agent that has nothing to do: little memory, nothing written, nothing logged; and nothing written with a stream.
func (l *life) steady() {
	l.restarted()
	l.guest("sleep 1") // the line that says so comes after the status
	_, mark := l.log("")
	const look = `pid=$(systemctl show -P MainPID perch-agent); grep RssAnon /proc/$pid/status; grep -w write_bytes /proc/$pid/io`
	time.Sleep(10 * time.Second) // the time that nothing happens in is the point
	var rss, written int
	idle := l.guest(look)
	if _, err := fmt.Sscanf(strings.Join(strings.Fields(idle), " "), "RssAnon: %d kB write_bytes: %d", &rss, &written); err != nil {
		l.Fatalf("%v: %s", err, idle)
	}
	l.Logf("idle: RssAnon %d kB, %d bytes written since the start", rss, written)
	if rss > 9<<10 {
		l.Errorf("an idle agent has %d kB of memory of its own", rss)
	}
	dir := filepath.Join(l.TempDir(), "frames")
	_, err := l.perch("stream", device, "--camera", "yard", "-n", "30", "-o", dir)
	l.must(err)
	busy := l.guest(look)
	if _, err := fmt.Sscanf(strings.Join(strings.Fields(busy), " "), "RssAnon: %d kB write_bytes: %d", &rss, &written); err != nil {
		l.Fatalf("%v: %s", err, busy)
	}
	l.Logf("after a stream: RssAnon %d kB, %d bytes written since the start", rss, written)
	if written != 0 {
		l.Errorf("the agent has written %d bytes to a disk", written)
	}
	if said, _ := l.log(mark); strings.Contains(said, "msg=") {
		l.Errorf("in ten idle seconds and a stream it logged\n%s", said)
	}
}

// restart stops the service in the middle of a stream, and starts it again.
func (l *life) restart() {
	dir := filepath.Join(l.TempDir(), "frames")
	laptop, err := proc.Start(filepath.Join(l.bin, "perch"), []string{"--broker", l.url, "stream", device, "--camera", "nest", "-o", dir}, nil)
	l.must(err)
	defer laptop.Stop() // its end is the device's
	for limit := time.Now().Add(30 * time.Second); ; time.Sleep(100 * time.Millisecond) {
		if files, err := os.ReadDir(dir); err == nil && len(files) > 2 {
			break
		}
		if time.Now().After(limit) {
			l.Fatalf("no stream comes:\n%s", laptop.Said())
		}
	}
	l.within(time.Second, "from SIGTERM to the end", func() time.Duration {
		out := l.guest(`pid=$(systemctl show -P MainPID perch-agent)
			a=$(cut -d' ' -f1 /proc/uptime)
			kill -TERM $pid
			while [ -e /proc/$pid ]; do sleep 0.02; done
			b=$(cut -d' ' -f1 /proc/uptime)
			systemctl stop perch-agent
			echo $a $b`)
		var from, to float64
		if _, err := fmt.Sscan(out, &from, &to); err != nil {
			l.Fatal(err)
		}
		return time.Duration((to - from) * float64(time.Second))
	})
	if d := l.listed(); d != nil {
		l.Errorf("after a goodbye the device is still listed, as %s", d.State)
	}
	// On a Pi it is one second; this one is emulated, and systemctl asks twenty times a second.
	l.within(4*time.Second, "from start to online", func() time.Duration { return l.until("systemctl start perch-agent", "online,") })
	if d := l.listed(); d == nil || d.State != api.StateOnline {
		l.Errorf("after the start the device is listed as %+v", d)
	}
}

// kill ends the agent without a word. It is back by itself.
func (l *life) kill() {
	took := l.until(`pid=$(systemctl show -P MainPID perch-agent)
		kill -KILL $pid
		while [ "$(systemctl show -P MainPID perch-agent)" = $pid ] || [ "$(systemctl show -P ActiveState perch-agent)" != active ]; do sleep 0.05; done`, "online,")
	l.Logf("online %v after a SIGKILL", took)
	l.snapshotOf("yard")
}

func (l *life) snapshotOf(camera string) {
	l.Helper()
	_, err := l.perch("snapshot", device, "--camera", camera, "--timeout", "30s", "-o", filepath.Join(l.TempDir(), "x.jpg"))
	l.must(err)
}

// hang stops all of the agent's threads, as a deadlock would. The watchdog ends and starts it again. A process that is stopped does not
// die of the watchdog's SIGABRT, as one with a deadlock does; the SIGKILL that follows is brought forward.
func (l *life) hang() {
	l.guest(`mkdir -p /run/systemd/system/perch-agent.service.d
		printf '[Service]\nWatchdogSec=6s\nTimeoutAbortSec=1s\n' >/run/systemd/system/perch-agent.service.d/watchdog.conf
		systemctl daemon-reload
		systemctl restart perch-agent`)
	_, mark := l.log("")
	took := l.until(`pid=$(systemctl show -P MainPID perch-agent)
		sleep 7
		[ "$(systemctl show -P MainPID perch-agent)" = $pid ] || { echo 'it was restarted although it went on'; exit 1; }
		kill -STOP $pid
		while [ "$(systemctl show -P MainPID perch-agent)" = $pid ] || [ "$(systemctl show -P ActiveState perch-agent)" != active ]; do sleep 0.05; done`, "online,")
	said, _ := l.log(mark)
	l.Logf("online %v after it was watched for seven seconds and then hung", took)
	if !strings.Contains(said, "Watchdog timeout (limit 6s)!") {
		l.Errorf("it was not the watchdog that ended it:\n%s", said)
	}
	l.guest("rm -r /run/systemd/system/perch-agent.service.d; systemctl daemon-reload")
}

// scissors cuts the agent's connection in the middle of a picture, on the way through a proxy. Nothing is lost.
func (l *life) scissors() {
	relay, err := scissors.New(strings.TrimPrefix(l.url, "tcp://"))
	l.must(err)
	defer relay.Close()
	l.settings(everythingAt(portOf(relay.Addr())))
	l.restarted()
	const frames = 40
	dir := filepath.Join(l.TempDir(), "frames")
	cut := relay.Plan(20, 5000)
	out, err := l.perchSays("stream", device, "--camera", "yard", "-n", strconv.Itoa(frames), "--keep", "all", "-o", dir)
	l.must(err)
	select {
	case <-cut.Done():
	default:
		l.Error("the connection was not cut, or the session not resumed")
	}
	if missing := l.checkFrames(dir, frames); missing != declared(out) || missing > fps {
		l.Errorf("%d pictures are missing; said is\n%s", missing, out)
	}
	if n := l.info().Resumes; n != 1 {
		l.Errorf("the session was resumed %d times", n)
	}
	l.settings(everythingAt(l.port()))
	l.restarted()
}

// perchSays is perch, but returns what is said to standard error.
func (l *life) perchSays(args ...string) (string, error) {
	p, err := proc.Start(filepath.Join(l.bin, "perch"), append([]string{"--broker", l.url}, args...), nil)
	if err != nil {
		return "", err
	}
	select {
	case <-p.Done():
	case <-time.After(2 * time.Minute):
		err = errors.New("it does not end")
	}
	return p.Said(), errors.Join(err, p.Stop())
}

// secrets makes a token and a key that everybody may read. Neither is used, and the service does not go on trying.
func (l *life) secrets() {
	dir := l.TempDir()
	key := filepath.Join(dir, "x")
	authority{}.issue(l.T, key, time.Now(), device)
	for _, name := range []string{"x.pem", "x.key"} {
		data, err := os.ReadFile(filepath.Join(dir, name))
		l.must(err)
		l.must(os.WriteFile(filepath.Join(l.pi.Share(), name), data, 0o644))
	}
	l.guest(`echo t0ken-that-nobody-may-see >/etc/perch/token
		cp /host/x.pem /host/x.key /etc/perch/
		chmod 644 /etc/perch/token /etc/perch/x.*`)
	l.settings(append(yardAt(l.port()), "PERCH_INSECURE=1", "PERCH_TOKEN_FILE=/etc/perch/token", "PERCH_TLS_CERT=/etc/perch/x.pem", "PERCH_TLS_KEY=/etc/perch/x.key"))
	_, mark := l.log("")
	got := l.guest(`systemctl restart perch-agent 2>/dev/null || true
		for p in ActiveState ExecMainStatus NRestarts; do systemctl show -P $p perch-agent; done | tr '\n' ' '`)
	if got != "failed 78 0" {
		l.Errorf("with secrets that everybody may read the service is %q", got)
	}
	said, _ := l.log(mark)
	for _, want := range []string{"PERCH_TOKEN_FILE: everybody may read or change /etc/perch/token: chmod o= /etc/perch/token", "PERCH_TLS_KEY: everybody may read or change /etc/perch/x.key"} {
		if !strings.Contains(said, want) {
			l.Errorf("it does not say %q:\n%s", want, said)
		}
	}
	if strings.Contains(said, "t0ken") {
		l.Errorf("it says the token:\n%s", said)
	}
	l.guest("chmod 640 /etc/perch/token /etc/perch/x.key")
	l.restarted()
	l.guest("rm /etc/perch/token /etc/perch/x.*")
}

// readOnly starts the agent on a root that cannot be written, as some owners of cards that wear out have it.
func (l *life) readOnly() {
	l.settings(everythingAt(l.port()))
	l.guest("sync; mount -o remount,ro / && ! touch /var/lib/x 2>/dev/null")
	l.Logf("online %v after a start on a read-only root", l.restarted())
	l.snapshotOf("yard")
	l.snapshotOf("nest")
	if out := l.guest("perch-agent check || true"); !strings.Contains(out, "the root file system is read-only, which is fine") {
		l.Errorf("check says\n%s", out)
	}
	l.guest("mount -o remount,rw /")
}

// authority signs certificates of this test. The zero value signs each with its own key.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// issue writes path.pem and path.key: a certificate for names that counts from 2020 until a time. An authority's own has no names.
func (a authority) issue(t *testing.T, path string, until time.Time, names ...string) authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: filepath.Base(path)},
		NotBefore: time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC), NotAfter: until,
		IsCA: len(names) == 0, BasicConstraintsValid: true,
	}
	for _, name := range names {
		if ip := net.ParseIP(name); ip != nil {
			c.IPAddresses = append(c.IPAddresses, ip)
		} else {
			c.DNSNames = append(c.DNSNames, name)
		}
	}
	if a.cert == nil {
		a = authority{c, key}
	}
	der, err := x509.CreateCertificate(rand.Reader, c, a.cert, key.Public(), a.key)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for suffix, b := range map[string]*pem.Block{".pem": {Type: "CERTIFICATE", Bytes: der}, ".key": {Type: "PRIVATE KEY", Bytes: pkcs8}} {
		if err := os.WriteFile(path+suffix, pem.EncodeToMemory(b), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if c, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	return authority{c, key}
}

// clock starts the agent with clocks that are wrong, against a broker that shows a certificate and wants one.
func (l *life) clock() {
	dir := l.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	far := time.Date(2045, 1, 1, 0, 0, 0, 0, time.UTC)
	ca := authority{}.issue(l.T, at("ca"), far)
	ca.issue(l.T, at("device"), far, device)
	broker := func(until time.Time) { ca.issue(l.T, at("broker"), until, vpi.GuestLoopback, "127.0.0.1") }
	broker(far)
	program := filepath.Join(l.bin, "perch-broker")
	for _, args := range [][]string{{"init", "--url", "tls://127.0.0.1:7878"}, {"add", "device", device, "--cert"}} {
		if out, err := exec.CommandContext(l.Context(), program, append(args, "--state", at("state"))...).CombinedOutput(); err != nil {
			l.Fatalf("perch-broker %s: %v\n%s", args, err, out)
		}
	}
	serve := func() (*proc.Process, string) {
		p, err := proc.Start(program, []string{
			"--state", at("state"), "--listen", "tls://127.0.0.1:0",
			"--tls-cert", at("broker.pem"), "--tls-key", at("broker.key"), "--client-ca", at("ca.pem"),
		}, nil)
		l.must(err)
		line, err := p.Line(l.Context(), "msg=listening")
		l.must(err)
		return p, portOf(regexp.MustCompile(`url=(\S+)`).FindStringSubmatch(line)[1])
	}
	b, port := serve()
	defer func() { _ = b.Stop() }()
	for _, name := range []string{"ca.pem", "device.pem", "device.key"} {
		data, err := os.ReadFile(at(name))
		l.must(err)
		l.must(os.WriteFile(filepath.Join(l.pi.Share(), name), data, 0o644))
		l.guest("install -m 640 -g perch /host/" + name + " /etc/perch/")
	}
	settings := func(port string) {
		l.settings(append(yardAt("1")[1:], "PERCH_BROKER=tls://"+vpi.GuestLoopback+":"+port,
			"PERCH_TLS_CA=/etc/perch/ca.pem", "PERCH_TLS_CERT=/etc/perch/device.pem", "PERCH_TLS_KEY=/etc/perch/device.key"))
	}
	settings(port)
	set := func(t time.Time) string { return fmt.Sprintf("date -s @%d >/dev/null", t.Unix()) }
	const possible = 2 * time.Second // from when it can connect
	built := l.built()
	for _, c := range []struct {
		name  string
		clock time.Time
	}{{"1970", time.Unix(100_000, 0)}, {"a day before it was built", built.Add(-24 * time.Hour)}, {"right", time.Now()}} {
		l.guest(set(c.clock))
		l.within(possible, "to connect with the clock at "+c.name, func() time.Duration {
			l.restarted()
			return l.dialed()
		})
	}

	l.guest(set(time.Date(2106, 3, 1, 0, 0, 0, 0, time.UTC)))
	l.until("systemctl restart perch-agent", "which no time source has set, it is 2106-03-01")
	l.within(possible, "to connect after the clock of 2106 was set", func() time.Duration { return l.until(set(time.Now()), "online,") })

	// Accepted at the floor; judged again, and refused, when the clock is set past the certificate's end.
	broker(time.Now().Add(time.Hour))
	time.Sleep(1100 * time.Millisecond) // the broker looks at its files once a second
	l.guest(set(time.Unix(100_000, 0)))
	l.restarted()
	_, mark := l.log("")
	l.until(set(time.Now().Add(24*time.Hour)), "away,")
	if said, _ := l.log(mark); !strings.Contains(said, "by it the broker's certificate does not count") {
		l.Errorf("the link was not ended for the clock:\n%s", said)
	}
	l.until("systemctl restart perch-agent", "the certificate counts from")

	broker(time.Date(2021, 1, 1, 0, 0, 0, 0, time.UTC)) // before anything was built
	time.Sleep(1100 * time.Millisecond)
	for _, now := range []time.Time{time.Now(), time.Unix(100_000, 0)} {
		l.guest(set(now))
		l.until("systemctl restart perch-agent", "expired or is not yet valid")
		l.guest("sleep 2; systemctl show -P StatusText perch-agent | grep -F 'expired or is not yet valid'")
	}
	if out := l.guest("perch-agent check || true"); !strings.Contains(out, "is this machine's clock right") {
		l.Errorf("check says\n%s", out)
	}
	l.guest(set(time.Now()))
}

// built is the date of the package's program, which it takes the time to be at least.
func (l *life) built() time.Time {
	l.Helper()
	file := filepath.Join(filepath.Dir(l.deb), "arm64", "perch-agent")
	out, err := exec.CommandContext(l.Context(), "go", "version", "-m", file).Output()
	l.must(err)
	m := regexp.MustCompile(`vcs\.time=(\S+)`).FindStringSubmatch(string(out))
	if m == nil {
		l.Fatalf("%s does not say when it was built:\n%s", file, out)
	}
	t, err := time.Parse(time.RFC3339, m[1])
	l.must(err)
	return t
}

// dialed is how long the agent says that it took to connect.
func (l *life) dialed() time.Duration {
	l.Helper()
	out := l.guest("journalctl -u perch-agent -o cat | grep 'to=online' | tail -1")
	m := regexp.MustCompile(`after=(\S+)`).FindStringSubmatch(out)
	if m == nil {
		l.Fatalf("it does not say how long it took: %s", out)
	}
	d, err := time.ParseDuration(m[1])
	l.must(err)
	return d
}

// powerCuts cuts the power at moments of all kinds: when nothing happens, while settings are written and pictures sent, and while the
// package is being unpacked. What the kernel had not written yet is lost. Each time the device is back under its id.
func (l *life) powerCuts() {
	l.settings(yardAt(l.port()))
	l.restarted()
	l.guest("sync")
	id := l.info().ID
	seed := uint64(time.Now().UnixNano())
	dice := mathrand.New(mathrand.NewPCG(seed, 1))
	l.Logf("seed %d", seed)
	for n := range *cuts {
		what := [...]string{"at rest", "while it writes", "in dpkg -i"}[n%3]
		switch n % 3 {
		case 1:
			l.guest(`systemd-run --quiet sh -c 'while :; do
				cp /etc/default/perch-agent /etc/default/.new && mv /etc/default/.new /etc/default/perch-agent
				systemctl restart perch-agent; done'`)
		case 2:
			l.guest("systemd-run --quiet dpkg -i /host/perch-agent.deb")
		}
		time.Sleep(time.Duration(dice.Int64N(int64(3 * time.Second))))
		cut := time.Now()
		l.must(l.pi.Reset(l.Context()))
		state := l.guest(fmt.Sprintf(`date -s @%d >/dev/null
			systemctl is-system-running --wait >/dev/null || true
			systemctl is-active perch-agent || systemctl status --no-pager perch-agent
			dmesg | grep -i 'ext4-fs error' || true`, time.Now().Unix()))
		if state != "active" {
			l.Fatalf("after power cut %d, %s, the service is\n%s", n+1, what, state)
		}
		l.plugCamera()
		l.until("true", "online,")
		if d := l.listed(); d == nil || d.State != api.StateOnline || d.ID != id || d.Since.Before(cut) {
			l.Fatalf("after power cut %d, %s, the device is listed as %+v", n+1, what, d)
		}
		l.snapshotOf("yard")
		if n%3 == 2 {
			l.guest("dpkg -i /host/perch-agent.deb && sync") // whatever the cut left of it
		}
		l.Logf("power cut %d, %s: back in %v", n+1, what, time.Since(cut).Round(time.Second/10))
	}
}
