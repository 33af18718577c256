//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
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
	"github.com/perchcam/perch/e2e/vpi"
	"github.com/perchcam/perch/pkg/api"
)

const (
	device = "hen-house"
	width  = 640
	height = 360
	fps    = 10 // far below what the emulated machine can do
)

// bench is one virtual Pi with a broker and a CLI on this machine. Its steps build on one another.
type bench struct {
	*testing.T
	pi     *vpi.Machine
	broker *proc.Process
	url    string // of the broker, on this machine
	bin    string // where the programs of this machine are
	deb    string // the agent's package
}

// TestPi is the main job: from the package on an empty Pi to a picture on a laptop, and again after a power cut.
func TestPi(t *testing.T) {
	b := newBench(t)
	b.step("hardware", b.hardware)
	b.step("install", b.install)
	b.step("configure", b.configure)
	b.step("devices", func() { b.online(time.Time{}) })
	b.step("snapshot", b.snapshot)
	b.step("stream", b.stream)
	b.step("link cut", b.linkCut)
	b.step("sandbox", b.sandbox)
	b.step("power cut", b.powerCut)
}

// newBench starts a broker, and a Pi that has just booted.
func newBench(t *testing.T) *bench {
	root, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	debs, err := filepath.Glob(filepath.Join(root, "build", "deb", "perch-agent_*_arm64.deb"))
	if err != nil || len(debs) != 1 {
		t.Fatalf("found the packages %q where one was expected (%v); run the tests with `make e2e`", debs, err)
	}
	b := &bench{T: t, bin: filepath.Join(root, "build", "bin"), deb: debs[0]}
	b.step("broker", func() {
		b.broker, b.url, err = proc.Broker(t.Context(), filepath.Join(b.bin, "perch-broker"))
		b.must(err)
		t.Cleanup(func() {
			if err := b.broker.Stop(); err != nil {
				t.Error(err)
			}
		})
	})
	var img vpi.Image
	b.step("image", func() {
		img, err = vpi.Build(t.Context(), root, t.Output())
		b.must(err)
	})
	b.step("boot", func() {
		b.pi, err = vpi.Boot(t.Context(), img)
		b.must(err)
		t.Cleanup(func() {
			if t.Failed() {
				b.explain()
			}
			b.pi.Close()
		})
	})
	return b
}

// step runs one step and says how long it took. A step that failed ends the test.
func (b *bench) step(name string, run func()) {
	b.Helper()
	start := time.Now()
	run()
	b.Logf("%-10s %6.1f s", name, time.Since(start).Seconds())
}

func (b *bench) must(err error) {
	b.Helper()
	if err != nil {
		b.Fatal(err)
	}
}

// guest runs a script in the guest, which must succeed.
func (b *bench) guest(script string) string {
	b.Helper()
	out, err := b.pi.Run(b.Context(), script)
	b.must(err)
	return strings.TrimSpace(out)
}

// perch runs the CLI as on a laptop and returns what it printed to standard output.
func (b *bench) perch(args ...string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(b.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, filepath.Join(b.bin, "perch"), append([]string{"--broker", b.url}, args...)...)
	cmd.Env = []string{"HOME=" + b.TempDir()}
	var out, said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &said
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("perch %s: %w: %s", strings.Join(args, " "), err, said.Bytes())
	}
	return out.Bytes(), nil
}

// explain shows what is known of a failure.
func (b *bench) explain() {
	journal, err := b.pi.Run(context.Background(), "systemctl status --no-pager perch-agent; journalctl -b -u perch-agent --no-pager -n 60")
	b.Logf("the agent's journal (%v):\n%s", err, journal)
	b.Logf("the guest's console:\n%s", b.pi.Console())
	b.Logf("the broker said:\n%s", b.broker.Said())
}

// hardware gives the guest its camera, and shows that the GPIO chip and the MJPEG camera of other tests load.
func (b *bench) hardware() {
	b.plugCamera()
	b.guest(`modprobe gpio-sim
		modprobe v4l2loopback video_nr=8
		test -c /dev/video8
		chip=/sys/kernel/config/gpio-sim/pi
		mkdir -p $chip/bank0 && echo pinctrl-bcm2835 >$chip/bank0/label && echo 54 >$chip/bank0/num_lines && echo 1 >$chip/live
		gpiodetect | grep -F '[pinctrl-bcm2835] (54 lines)'
		echo 0 >$chip/live && rmdir $chip/bank0 $chip
		rmmod v4l2loopback gpio-sim`)
}

// plugCamera loads vivid with a single node, so that what its own helpers offer is not taken for cameras.
func (b *bench) plugCamera() {
	b.guest("modprobe vivid n_devs=1 node_types=0x1 num_inputs=1 input_types=0; udevadm settle; v4l2-ctl -d /dev/video0 --info | grep -w vivid")
}

// share shows the guest a file of this machine, as /host/NAME.
func (b *bench) share(file, name string) {
	b.Helper()
	data, err := os.ReadFile(file)
	b.must(err)
	b.must(os.WriteFile(filepath.Join(b.pi.Share(), name), data, 0o755))
}

// install puts the package on the Pi as its owner would, and shows that it waits for its configuration.
func (b *bench) install() {
	b.share(b.deb, "perch-agent.deb")
	said := b.guest("dpkg -i /host/perch-agent.deb")
	const advice = "set PERCH_BROKER in /etc/default/perch-agent, then run: systemctl restart perch-agent"
	if !strings.Contains(said, advice) {
		b.Fatalf("the installation does not say how to go on:\n%s", said)
	}
	b.isState("enabled", "inactive")
	b.guest("systemctl start perch-agent")
	b.isState("enabled", "inactive")
	journal := b.guest("journalctl -b -u perch-agent -o cat")
	if !strings.Contains(journal, "PERCH_BROKER is not set: edit /etc/default/perch-agent") {
		b.Fatalf("the unit that was started unconfigured does not say why it was not:\n%s", journal)
	}
	if strings.Contains(journal, "cannot") { // what runs when the unit has ended may not read the settings' file, and need not
		b.Errorf("the unit that was started unconfigured complains:\n%s", journal)
	}
}

// configure does what the package said.
func (b *bench) configure() {
	_, port, _ := strings.Cut(strings.TrimPrefix(b.url, "tcp://"), ":")
	b.guest(fmt.Sprintf(`cat >>/etc/default/perch-agent <<'END'
PERCH_BROKER=tcp://%s:%s
PERCH_DEVICE=%s
PERCH_CAMERAS=yard=v4l2:/dev/video0,width=%d,height=%d,fps=%d
END
sync
systemctl restart perch-agent`, vpi.GuestLoopback, port, device, width, height, fps))
	b.isState("enabled", "active")
}

func (b *bench) isState(enabled, active string) {
	b.Helper()
	got := strings.Fields(b.guest("systemctl is-enabled perch-agent; systemctl is-active perch-agent; true"))
	if !slices.Equal(got, []string{enabled, active}) {
		b.Fatalf("the unit is %v, not %s and %s", got, enabled, active)
	}
}

// online waits until the broker lists the device, once, as online since after since.
func (b *bench) online(since time.Time) api.Device {
	b.Helper()
	limit := time.Now().Add(time.Minute)
	for {
		out, err := b.perch("devices", "--json")
		b.must(err)
		var list api.Devices
		if err := json.Unmarshal(out, &list); err != nil {
			b.Fatalf("cannot read the list of devices: %v\n%s", err, out)
		}
		if len(list.Devices) > 1 {
			b.Fatalf("one device is listed as %d:\n%s", len(list.Devices), out)
		}
		if len(list.Devices) == 1 && list.Devices[0].State == api.StateOnline && list.Devices[0].Since.After(since) {
			d := list.Devices[0]
			if d.Name != device || len(d.Cameras) != 1 || d.Cameras[0] != (api.CameraRef{Name: "yard", Kind: "v4l2"}) {
				b.Fatalf("the device is listed as %+v", d)
			}
			return d
		}
		if time.Now().After(limit) {
			b.Fatalf("the device is not online since %s:\n%s", since, out)
		}
		time.Sleep(200 * time.Millisecond) // real machines on both sides: there is nothing to wait for but the answer
	}
}

// snapshot takes a picture of the camera's own size and a smaller one.
func (b *bench) snapshot() {
	for _, size := range []struct{ w, h int }{{width, height}, {width / 2, height / 2}} {
		file := filepath.Join(b.TempDir(), "yard.jpg")
		_, err := b.perch("snapshot", device, "--size", fmt.Sprintf("%dx%d", size.w, size.h), "-o", file)
		b.must(err)
		data, err := os.ReadFile(file)
		b.must(err)
		b.keep(fmt.Sprintf("snapshot-%d.jpg", size.w), data)
		b.must(checkVivid(data, size.w, size.h))
	}
}

// stream takes pictures at the camera's pace. The order in which they came is that of their files' times.
func (b *bench) stream() {
	const frames = 60
	dir := filepath.Join(b.TempDir(), "frames")
	out, err := b.perch("stream", device, "-n", strconv.Itoa(frames), "-o", dir, "--json")
	b.must(err)
	b.Logf("%s", out)
	b.checkFrames(dir, frames)
}

// declared is how many pictures perch stream says are not there: on the way, or because the camera itself lost them. -1: nothing is said.
func declared(said string) (pictures int) {
	m := regexp.MustCompile(`missing (\d+)(?:, lost by the camera itself (\d+))?;`).FindStringSubmatch(said)
	if m == nil {
		return -1
	}
	for _, n := range m[1:] {
		if n, err := strconv.Atoi(n); err == nil { // the second may not be there
			pictures += n
		}
	}
	return pictures
}

// checkFrames looks at what a stream left: so many whole pictures, each with a higher number than those that came before it. It
// returns how many numbers are left out between them.
func (b *bench) checkFrames(dir string, frames int) (missing int) {
	b.Helper()
	entries, err := os.ReadDir(dir)
	b.must(err)
	if len(entries) != frames {
		b.Fatalf("the stream left %d files, not %d", len(entries), frames)
	}
	arrived := make(map[string]time.Time)
	for _, e := range entries {
		info, err := e.Info()
		b.must(err)
		arrived[e.Name()] = info.ModTime()
	}
	slices.SortStableFunc(entries, func(x, y os.DirEntry) int { return arrived[x.Name()].Compare(arrived[y.Name()]) })
	last := -1
	for _, e := range entries {
		seq := sequence(e.Name())
		if seq <= last {
			b.Fatalf("frame %s comes after sequence number %d", e.Name(), last)
		}
		if last >= 0 {
			missing += seq - last - 1
		}
		last = seq
		data, err := os.ReadFile(filepath.Join(dir, e.Name()))
		b.must(err)
		if err := checkVivid(data, width, height); err != nil {
			b.keep(e.Name(), data)
			b.Fatalf("frame %s: %v", e.Name(), err)
		}
	}
	return missing
}

// linkCut unplugs the Pi's cable for longer than a link may be silent while a laptop takes every picture. The session is resumed
// and the stream goes on where it was: of what was taken in between, only what the camera itself dropped is missing (vivid does
// when the emulated machine gets too little of this one), and exactly that is stated.
func (b *bench) linkCut() {
	const frames, before, outage = 200, 20, 12 * time.Second
	dir := filepath.Join(b.TempDir(), "frames")
	laptop, err := proc.Start(filepath.Join(b.bin, "perch"),
		[]string{"--broker", b.url, "stream", device, "-n", strconv.Itoa(frames), "--keep", "all", "-o", dir}, nil)
	b.must(err)
	defer laptop.Stop()
	for files := 0; files < before; time.Sleep(100 * time.Millisecond) {
		entries, err := os.ReadDir(dir)
		if err != nil && !os.IsNotExist(err) {
			b.Fatal(err)
		}
		files = len(entries)
		select {
		case <-laptop.Done():
			b.Fatalf("the stream ended after %d pictures:\n%s", files, laptop.Said())
		default:
		}
	}
	b.must(b.pi.SetLink(b.Context(), false))
	time.Sleep(outage)
	b.must(b.pi.SetLink(b.Context(), true))
	select {
	case <-laptop.Done():
	case <-time.After(2 * time.Minute):
		b.Fatalf("the stream does not go on:\n%s", laptop.Said())
	}
	b.must(laptop.Stop())
	said := laptop.Said()
	b.Log(said)
	if b.info().Resumes == 0 {
		b.Error("the session was not resumed")
	}
	missing := b.checkFrames(dir, frames)
	if missing != declared(said) {
		b.Errorf("%d pictures are missing, but not said to be", missing)
	}
	if most := int(outage.Seconds()) * fps / 3; missing > most {
		b.Errorf("%d pictures are missing of the %d that were taken while the cable was out", missing, int(outage.Seconds())*fps)
	}
}

// sequence reads the number that ends a frame's file name, before its extension.
func sequence(name string) int {
	m := regexp.MustCompile(`(\d+)\.jpe?g$`).FindStringSubmatch(name)
	if m == nil {
		return -1
	}
	n, err := strconv.Atoi(m[1])
	if err != nil {
		return -1
	}
	return n
}

// keep leaves a picture where a person can look at it.
func (b *bench) keep(name string, data []byte) {
	b.must(os.WriteFile(filepath.Join(b.ArtifactDir(), name), data, 0o644))
}

// sandbox looks at the running service: its own user, in group video, with one connection out and no socket that anybody
// could connect to. A listener of our own shows that ss would have found one.
func (b *bench) sandbox() {
	pid := b.guest("systemctl show -P MainPID perch-agent")
	if user := b.guest("stat -c %U /proc/" + pid); user != "perch" {
		b.Errorf("the agent runs as %s", user)
	}
	video := b.guest("getent group video | cut -d: -f3")
	if groups := b.guest("grep ^Groups: /proc/" + pid + "/status"); !slices.Contains(strings.Fields(groups), video) {
		b.Errorf("the agent is not in group video (%s): %s", video, groups)
	}
	b.guest("systemd-run --quiet --unit=probe systemd-socket-activate --listen=127.0.0.1:9 /bin/true; sleep 1")
	sockets := b.guest("ss -H -ltnup")
	b.guest("systemctl stop probe")
	if !strings.Contains(sockets, "127.0.0.1:9 ") {
		b.Errorf("ss does not see a listener that is there:\n%s", sockets)
	}
	if strings.Contains(sockets, "perch") {
		b.Errorf("the agent has an open port:\n%s", sockets)
	}
	if out := b.guest("ss -H -tnp state established"); strings.Count(out, "perch-agent") != 1 {
		b.Errorf("the agent has not exactly one connection:\n%s", out)
	}
}

// powerCut takes the Pi's power away. Its old connection stays open at the broker, as after a real cut; the device is back
// under its name all the same, and the new entry answers.
func (b *bench) powerCut() {
	before := b.info()
	b.guest("sync")
	cut := time.Now()
	b.must(b.pi.Reset(b.Context()))
	b.guest("systemctl is-system-running --wait || true") // a machine that is busy booting starves its camera
	b.plugCamera()
	d := b.online(cut)
	after := b.info()
	if after.Boot == before.Boot {
		b.Errorf("after the power cut the boot is %s, as before", after.Boot)
	}
	if after.ID != before.ID || d.ID != before.ID {
		b.Errorf("after the power cut the device's id is %s, and listed as %s; before it was %s", after.ID, d.ID, before.ID)
	}
	b.snapshot()
	b.isState("enabled", "active")
}

func (b *bench) info() api.Info {
	b.Helper()
	out, err := b.perch("info", device, "--json")
	b.must(err)
	var info api.Info
	if err := json.Unmarshal(out, &info); err != nil {
		b.Fatalf("cannot read the device's info: %v\n%s", err, out)
	}
	return info
}
