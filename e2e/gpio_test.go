//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"image/jpeg"
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

// TestGPIO is what is wired to a Pi, on the kernel's simulated chip (gpio-sim): first the packages' own tests in the guest, then a door and
// outputs through the agent's package, its unit, the broker and the CLI.
func TestGPIO(t *testing.T) {
	b := &wired{bench: newBench(t)}
	b.step("lines", b.lines)
	b.step("chip", b.chip)
	b.step("install", b.install)
	b.step("configure", b.configure)
	b.step("edges", b.edges)
	b.step("outage", b.outage)
	b.step("outputs", b.outputs)
	b.step("killed", b.killed)
	b.step("stopped", b.stopped)
}

// wired is a bench whose Pi has a chip with a door and outputs.
type wired struct {
	*bench
	base int    // the kernel's number of the chip's first line, in its traces
	sim  string // the chip's folder in the guest's /sys/devices
}

// The chip's lines.
const (
	door  = 17
	ir    = 22 // off unless switched
	heat  = 23 // on in its safe state
	live  = 24 // shows viewing
	spare = 27
)

// lines runs the tests of pkg/gpio/host and pkg/gpio/sense that need a kernel with simulated hardware.
func (b *wired) lines() {
	b.guest("mountpoint -q /sys/kernel/tracing || mount -t tracefs tracefs /sys/kernel/tracing")
	for _, room := range []string{"host", "sense"} {
		dir := filepath.Join("..", "pkg", "gpio", room)
		source, err := os.ReadFile(filepath.Join(dir, "e2e_test.go"))
		b.must(err)
		var names []string
		for _, m := range regexp.MustCompile(`(?m)^func (Test\w+)\(t `).FindAllStringSubmatch(string(source), -1) {
			names = append(names, m[1])
		}
		b.compile("./"+dir, room+".test")
		ctx, cancel := context.WithTimeout(b.Context(), 5*time.Minute)
		out, err := b.pi.Run(ctx, fmt.Sprintf("cd /tmp && /host/%s.test -test.v -test.timeout 290s -test.run '^(%s)$' 2>&1", room, strings.Join(names, "|")))
		cancel()
		b.keep(room+".log", []byte(out))
		if err != nil {
			b.Errorf("the tests of pkg/gpio/%s fail in the guest: %v", room, err)
			continue
		}
		for line := range strings.Lines(out) {
			if regexp.MustCompile(`^(--- |\s+e2e_test\.go)`).MatchString(line) {
				b.Logf("%s: %s", room, strings.TrimSpace(line))
			}
		}
		if n := strings.Count(out, "\n--- PASS") + strings.Count(out, "\n--- SKIP"); n != len(names) {
			b.Errorf("%d of the %d tests of pkg/gpio/%s ran", n, len(names), room)
		}
	}
}

// compile builds a package's tests for the guest, as /host/NAME.
func (b *wired) compile(dir, name string) {
	b.Helper()
	cmd := exec.CommandContext(b.Context(), "go", "test", "-c", "-tags", "e2e", "-o", filepath.Join(b.pi.Share(), name), dir)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH=arm64")
	if out, err := cmd.CombinedOutput(); err != nil {
		b.Fatalf("cannot build the tests of %s: %v\n%s", dir, err, out)
	}
}

// chip plugs a chip in that looks like a Pi's. The door is closed: its contact is open, and the line pulled up.
func (b *wired) chip() {
	said := b.guest(fmt.Sprintf(`modprobe gpio-sim
		chip=/sys/kernel/config/gpio-sim/pi
		mkdir -p $chip/bank0; echo pinctrl-bcm2835 >$chip/bank0/label; echo 54 >$chip/bank0/num_lines
		for n in %d %d %d %d %d; do mkdir $chip/bank0/line$n; echo GPIO$n >$chip/bank0/line$n/name; done
		echo 1 >$chip/live
		udevadm settle
		sim=/sys/devices/platform/$(cat $chip/dev_name)/$(cat $chip/bank0/chip_name)
		echo pull-up >$sim/sim_gpio%[1]d/pull
		echo $sim
		cat $(dirname $(grep -l pinctrl-bcm2835 /sys/class/gpio/gpiochip*/label))/base
		stat -c %%G /dev/$(cat $chip/bank0/chip_name)`, door, ir, heat, live, spare))
	fields := strings.Fields(said)
	if len(fields) != 3 {
		b.Fatalf("the chip is described as %q", said)
	}
	var err error
	b.sim = fields[0]
	b.base, err = strconv.Atoi(fields[1])
	b.must(err)
}

func (b *wired) configure() {
	_, port, _ := strings.Cut(strings.TrimPrefix(b.url, "tcp://"), ":")
	b.guest(fmt.Sprintf(`cat >>/etc/default/perch-agent <<'END'
PERCH_BROKER=tcp://%s:%s
PERCH_DEVICE=%s
PERCH_CAMERAS=yard=pattern,width=320,height=240,fps=5
PERCH_SENSORS="door=gpio:GPIO%d,pull=up,active=low,debounce=0,class=door"
PERCH_OUTPUTS="ir=gpio:GPIO%d,max_on=60s;heat=gpio:GPIO%d,safe=on;live=gpio:GPIO%d,show=viewing"
PERCH_TRIGGERS="on=door:rise do=snapshot:yard,keep=3"
END
systemctl restart perch-agent`, vpi.GuestLoopback, port, device, door, ir, heat, live))
	b.isState("enabled", "active")
	b.serving()
}

// serving waits until the agent tells the state of its door.
func (b *wired) serving() api.Reading {
	b.Helper()
	var err error
	for limit := time.Now().Add(time.Minute); time.Now().Before(limit); time.Sleep(200 * time.Millisecond) {
		var out []byte
		if out, err = b.perch("sensors", device, "door", "--json"); err != nil {
			continue // not there yet
		}
		r, bad := api.ParseReading(bytes.TrimSpace(out))
		if err = bad; err == nil && r.Type == api.ReadingState {
			return r
		}
		err = fmt.Errorf("%s", out)
	}
	b.Fatalf("the door is not told of: %v", err)
	return api.Reading{}
}

// pull moves a line from outside, as a contact does, and returns when the guest has said that it did.
func (b *wired) pull(line int, up bool) {
	b.Helper()
	b.guest(fmt.Sprintf("echo pull-%s >%s/sim_gpio%d/pull", map[bool]string{true: "up", false: "down"}[up], b.sim, line))
}

// level is what the chip sees at a line.
func (b *wired) level(line int) bool {
	b.Helper()
	return b.guest(fmt.Sprintf("cat %s/sim_gpio%d/value", b.sim, line)) == "1"
}

// waitLevel waits for a level, as long as a person would.
func (b *wired) waitLevel(line int, high bool) {
	b.Helper()
	for limit := time.Now().Add(10 * time.Second); b.level(line) != high; {
		if time.Now().After(limit) {
			b.Fatalf("line %d does not become %v", line, high)
		}
	}
}

// follow starts `perch sensors --follow` and waits for its first line.
func (b *wired) follow() *proc.Process {
	b.Helper()
	laptop, err := proc.Start(filepath.Join(b.bin, "perch"), []string{"--broker", b.url, "sensors", device, "door", "--follow", "--json"}, nil)
	b.must(err)
	b.Cleanup(func() { _ = laptop.Stop() })
	b.must(b.says(laptop, `"type":"state"`))
	return laptop
}

// says waits until a program has said something.
func (b *wired) says(p *proc.Process, text string) error {
	ctx, cancel := context.WithTimeout(b.Context(), time.Minute)
	defer cancel()
	_, err := p.Line(ctx, text)
	return err
}

// edges measures how late a door's edge is on the laptop. The emulator's own delay is that of an echo in the same run: the same command to
// the guest, for a line that nobody watches, until the guest's answer.
func (b *wired) edges() {
	const times = 20
	laptop := b.follow()
	defer laptop.Stop()
	first := b.serving().Seq
	var echo, told []time.Duration
	for i := range times {
		up := i%2 != 0
		began := time.Now()
		b.pull(spare, up)
		echo = append(echo, time.Since(began))
		came := make(chan time.Duration, 1)
		began = time.Now()
		go func() {
			if b.says(laptop, fmt.Sprintf(`"seq":%d,`, first+uint64(i)+1)) == nil {
				came <- time.Since(began)
			}
		}()
		b.pull(door, up)
		select {
		case d := <-came:
			told = append(told, d)
		case <-time.After(time.Minute):
			b.Fatalf("edge %d is not told of:\n%s", i+1, laptop.Said())
		}
	}
	slices.Sort(echo)
	slices.Sort(told)
	b.Logf("an edge was on the laptop after %v (median), at most %v; an echo took %v, at most %v", told[times/2], told[times-1], echo[times/2], echo[times-1])
	if late := told[times/2] - echo[times/2]; late > 100*time.Millisecond {
		b.Errorf("an edge is told of %v later than an echo", late)
	}
	b.changes(laptop, first, times)
}

// changes checks that a watcher was told of so many changes behind first, each once and in order, and of nothing else.
func (b *wired) changes(laptop *proc.Process, first uint64, want int) (list []api.Reading) {
	b.Helper()
	for line := range strings.Lines(laptop.Said()) {
		if !strings.HasPrefix(line, "{") {
			continue // what the CLI says of its link
		}
		r, err := api.ParseReading([]byte(strings.TrimSpace(line)))
		b.must(err)
		if r.Seq <= first && r.Type == api.ReadingState {
			continue
		}
		if r.Type != api.ReadingChange || r.Seq != first+uint64(len(list))+1 {
			b.Errorf("after number %d came %s", first+uint64(len(list)), line)
		}
		list = append(list, r)
	}
	if len(list) != want {
		b.Errorf("%d changes were told of, not %d", len(list), want)
	}
	return list
}

// outage unplugs the Pi's cable for 10 s while the door goes on: nothing is lost, and the trigger's pictures of that time are there.
func (b *wired) outage() {
	const presses, down = 25, 10 * time.Second
	laptop := b.follow()
	defer laptop.Stop()
	before := b.serving()
	b.must(b.pi.SetLink(b.Context(), false))
	cut := time.Now()
	b.guest(fmt.Sprintf(`pull=%s/sim_gpio%d/pull
		i=0; while [ $i -lt %d ]; do i=$((i+1)); echo pull-down >$pull; sleep 0.05; echo pull-up >$pull; sleep 0.05; done`, b.sim, door, presses))
	guest, err := strconv.ParseFloat(b.guest("date +%s.%N"), 64)
	b.must(err)
	time.Sleep(time.Until(cut.Add(down)))
	b.must(b.pi.SetLink(b.Context(), true))
	b.must(b.says(laptop, fmt.Sprintf(`"seq":%d,`, before.Seq+2*presses)))
	list := b.changes(laptop, before.Seq, 2*presses)
	if last := list[len(list)-1]; *last.Count != *before.Count+presses || *last.On {
		b.Errorf("the last change is %+v; before the outage it was %+v", last, before)
	}

	out, err := b.perch("album", device, "--json")
	b.must(err)
	var album api.Album
	b.must(json.Unmarshal(out, &album))
	b.Logf("the album has %d pictures; gone: %v", len(album.Pictures), album.Gone)
	if len(album.Pictures) != 3 {
		b.Fatalf("the album has %d pictures, not 3:\n%s", len(album.Pictures), out)
	}
	for _, p := range album.Pictures {
		if late := guest - float64(p.Edge.UnixMilli())/1e3; p.Sensor != "door" || !p.On || late < 0 || late > down.Seconds() {
			b.Errorf("picture %d was not taken during the outage, %.1f s before %v", p.Picture, late, p.Edge)
		}
	}
	dir := filepath.Join(b.TempDir(), "album")
	_, err = b.perch("album", device, "-o", dir)
	b.must(err)
	files, err := os.ReadDir(dir)
	b.must(err)
	if len(files) != 3 {
		b.Errorf("%d files were written", len(files))
	}
	for _, f := range files {
		data, err := os.ReadFile(filepath.Join(dir, f.Name()))
		b.must(err)
		if c, err := jpeg.DecodeConfig(bytes.NewReader(data)); err != nil || c.Width != 320 {
			b.Errorf("%s: %+v, %v", f.Name(), c, err)
		}
	}
}

// outputs switches one for a time, and looks at the one that shows viewing.
func (b *wired) outputs() {
	b.waitLevel(heat, false)
	if _, err := b.perch("set", device, "ir", "on", "--for", "3s"); err != nil {
		b.Error(err)
	}
	if !b.level(ir) {
		b.Error("ir was switched on, and the chip does not see it")
	}
	b.waitLevel(ir, false)
	if b.level(live) {
		b.Error("nobody watches, and the light is on")
	}
	watcher, err := proc.Start(filepath.Join(b.bin, "perch"), []string{"--broker", b.url, "stream", device, "-o", filepath.Join(b.TempDir(), "frames")}, nil)
	b.must(err)
	b.waitLevel(live, true)
	_ = watcher.Stop() // it says that it was interrupted
	b.waitLevel(live, false)
}

// drive is a level that the kernel gave a line.
type drive struct {
	line  int
	high  bool
	after time.Duration // since the mark
}

// trace begins to note what the kernel drives, marks the time and runs a script in the guest.
func (b *wired) trace(script string) {
	b.Helper()
	b.guest("cd /sys/kernel/tracing; echo >trace; echo 1 >events/gpio/gpio_value/enable; echo now >trace_marker; " + script)
}

// drives returns what the kernel has driven since trace.
func (b *wired) drives() (list []drive) {
	b.Helper()
	trace := b.guest("cd /sys/kernel/tracing; echo 0 >events/gpio/gpio_value/enable; cat trace")
	b.keep("trace.log", []byte(trace))
	began := 0.0
	for _, m := range regexp.MustCompile(`(?m)\s(\d+\.\d+): (?:(tracing_mark_write)|gpio_value: (\d+) set (\d))`).FindAllStringSubmatch(trace, -1) {
		at, err := strconv.ParseFloat(m[1], 64)
		b.must(err)
		switch {
		case m[2] != "" && began == 0:
			began = at
		case m[2] == "" && began != 0:
			n, err := strconv.Atoi(m[3])
			b.must(err)
			list = append(list, drive{n - b.base, m[4] == "1", time.Duration((at - began) * float64(time.Second))})
		}
	}
	return list
}

// of are the drives of one line.
func of(line int, all []drive) (list []drive) {
	for _, d := range all {
		if d.line == line {
			list = append(list, d)
		}
	}
	return list
}

// killed ends the agent as the kernel does when memory is short. The unit puts the outputs into their safe state before the agent is
// started again, and that is how long they may be wrong.
func (b *wired) killed() {
	before := b.serving()
	laptop := b.follow()
	defer laptop.Stop()
	_, err := b.perch("set", device, "ir", "on")
	b.must(err)
	b.trace("kill -9 $(systemctl show -P MainPID perch-agent)")
	for limit := time.Now().Add(time.Minute); b.serving().Boot == before.Boot; time.Sleep(time.Second) { // the guest is left in peace
		if time.Now().After(limit) {
			b.Fatal("the agent was not killed, or not started again")
		}
	}
	all := b.drives()
	// heat goes on by safe-state, and off by the new agent, which begins so; ir goes off by the first and stays so.
	on, off := of(heat, all), of(ir, all)
	if len(on) < 2 || !on[0].high || on[len(on)-1].high || len(off) == 0 || slices.ContainsFunc(off, func(d drive) bool { return d.high }) {
		b.Fatalf("after SIGKILL the kernel drove %v", all)
	}
	took := max(on[0].after, off[0].after)
	b.Logf("outputs were in their safe state %v after SIGKILL", took)
	if took > 10*time.Second { // the unit's TimeoutStopSec: safe-state has no more
		b.Errorf("outputs were not in their safe state before %v after SIGKILL", took)
	}
	b.must(b.says(laptop, `"reason":"restart"`))
}

// stopped ends the agent in good order: it leaves its outputs safe itself, and safe-state finds nothing to change.
func (b *wired) stopped() {
	_, err := b.perch("set", device, "ir", "on")
	b.must(err)
	b.trace("systemctl stop perch-agent")
	off := of(ir, b.drives())
	if len(off) == 0 || slices.ContainsFunc(off, func(d drive) bool { return d.high }) {
		b.Fatalf("while the agent was stopped ir was driven to %v", off)
	}
	b.Logf("ir was off %v after the stop was asked for", off[0].after)
	if journal := b.guest("journalctl -b -u perch-agent -o cat"); strings.Contains(journal, "may not be safe") {
		b.Errorf("the journal:\n%s", journal)
	}
}
