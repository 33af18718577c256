//go:build e2e && linux

package host

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/warthog618/go-gpiocdev/uapi"
	"golang.org/x/sys/unix"

	"github.com/perchcam/perch/pkg/gpio"
	"github.com/perchcam/perch/pkg/gpio/gpiotest"
)

// These tests run where the kernel has gpio-sim, as root: in a guest. Build with
//
//	CGO_ENABLED=0 go test -c -tags e2e ./pkg/gpio/host
//
// and run the binary there; it configures the chip it needs. It may also be the guest's /init.

// An edge of gpio-sim is on its way for a while: irq_work raises it, on the next timer tick where the machine has no self-interrupt, and a
// thread of the kernel takes it from there. Two edges in that time are one.
const (
	configfs = "/sys/kernel/config"
	raised   = 250 * time.Millisecond // until an interrupt is counted, on a machine with work to do; none comes where the line has no such edge
	taken    = 25 * time.Millisecond  // from there to the reader's queue
)

func TestMain(m *testing.M) {
	switch os.Getenv("HOST_TEST_CHILD") {
	case "init":
		childInit()
	case "output":
		childOutput()
	}
	if os.Getpid() != 1 {
		os.Exit(m.Run())
	}
	for _, fs := range [][2]string{
		{"proc", "/proc"}, {"sysfs", "/sys"}, {"devtmpfs", "/dev"}, {"tmpfs", "/tmp"}, {"configfs", configfs}, {"tracefs", "/sys/kernel/tracing"},
	} {
		_ = os.MkdirAll(fs[1], 0o755)
		if err := unix.Mount(fs[0], fs[1], fs[0], 0, ""); err != nil {
			fmt.Println("mount", fs[1], err)
		}
	}
	fmt.Println("exit", m.Run())
	unix.Sync()
	_ = unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF)
}

// sim is a simulated chip that looks like a Pi's: 54 lines, some named GPIOn.
type sim struct {
	*Machine
	t      *testing.T
	config string
	lines  map[string]int
}

func newSim(t *testing.T, label string, lines map[string]int) *sim {
	t.Helper()
	if _, err := os.Stat(configfs + "/gpio-sim"); err != nil {
		if out, err := exec.Command("modprobe", "gpio-sim").CombinedOutput(); err != nil {
			t.Skipf("this kernel has no gpio-sim: %v %s", err, out)
		}
	}
	s := &sim{Machine: &Machine{dev: "/dev"}, t: t, config: configfs + "/gpio-sim/" + label, lines: lines}
	s.mkdir("")
	s.mkdir("/bank0")
	s.write(s.config+"/bank0/num_lines", "54")
	s.write(s.config+"/bank0/label", label)
	for name, n := range lines {
		s.mkdir(fmt.Sprintf("/bank0/line%d", n))
		if !strings.HasPrefix(name, "-") {
			s.write(fmt.Sprintf("%s/bank0/line%d/name", s.config, n), name)
		}
	}
	s.Plug("")
	t.Cleanup(func() {
		s.write(s.config+"/live", "0")
		for _, n := range lines {
			_ = os.Remove(fmt.Sprintf("%s/bank0/line%d", s.config, n))
		}
		_ = os.Remove(s.config + "/bank0")
		_ = os.Remove(s.config)
	})
	return s
}

func (s *sim) mkdir(dir string) {
	s.t.Helper()
	if err := os.Mkdir(s.config+dir, 0o755); err != nil {
		s.t.Fatal(err)
	}
}

func (s *sim) write(path, text string) {
	s.t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		s.t.Fatal(err)
	}
}

func (s *sim) read(path string) string {
	s.t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		s.t.Fatal(err)
	}
	return strings.TrimSpace(string(b))
}

// attr is a file of a line, which the chip's number is part of.
func (s *sim) attr(line, file string) string {
	return fmt.Sprintf("/sys/devices/platform/%s/%s/sim_gpio%d/%s",
		s.read(s.config+"/dev_name"), s.read(s.config+"/bank0/chip_name"), s.lines[line], file)
}

// pull drives a line without waiting for the edge.
func (s *sim) pull(line string, high bool) {
	s.write(s.attr(line, "pull"), map[bool]string{true: "pull-up", false: "pull-down"}[high])
}

func (s *sim) Drive(line string, high bool) {
	s.t.Helper()
	before, any := s.interrupts()
	s.pull(line, high)
	for end := time.Now().Add(raised); any && time.Now().Before(end); time.Sleep(time.Millisecond) {
		if n, _ := s.interrupts(); n != before {
			break
		}
	}
	time.Sleep(taken)
}

// interrupts counts those of all simulated lines; any: there is a line that waits for edges.
func (s *sim) interrupts() (n int, any bool) {
	for line := range strings.Lines(s.read("/proc/interrupts")) {
		if !strings.Contains(line, " irq_sim ") {
			continue
		}
		any = true
		for _, field := range strings.Fields(line)[1:] {
			count, err := strconv.Atoi(field)
			if err != nil {
				break // the controller's name: the counts of the processors are over
			}
			n += count
		}
	}
	return n, any
}

func (s *sim) High(line string) bool { return s.read(s.attr(line, "value")) == "1" }
func (s *sim) Unplug(string)         { s.write(s.config+"/live", "0") }

func (s *sim) Plug(string) {
	s.write(s.config+"/live", "1")
	waitFor(s.t, "the chip's device node", func() bool {
		_, err := os.Stat("/dev/" + s.read(s.config+"/bank0/chip_name"))
		return err == nil
	})
}

func waitFor(t *testing.T, what string, done func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !done(); {
		if time.Now().After(end) {
			t.Fatalf("%s did not come", what)
		}
		time.Sleep(time.Millisecond)
	}
}

func pi(t *testing.T) *sim {
	return newSim(t, "pinctrl-bcm2835", map[string]int{"GPIO4": 4, "GPIO17": 17, "GPIO22": 22, "GPIO27": 27})
}

func TestTheKernelKeepsTheContract(t *testing.T) {
	s := pi(t)
	for _, check := range gpiotest.Contract(s, "GPIO17", "GPIO22") {
		t.Run(check.Name, check.Run)
	}
}

func TestLinesAreFoundByNameAndLabel(t *testing.T) {
	s := pi(t)
	newSim(t, "aaa-expander", map[string]int{"GPIO17": 1, "TAMPER": 2})
	for _, c := range []struct {
		line, chip, label string
		offset            int
	}{
		{"GPIO17", "", "pinctrl-bcm2835", 17}, // also on the expander, whose label sorts first
		{"GPIO17", "aaa-expander", "aaa-expander", 1},
		{"TAMPER", "", "aaa-expander", 2},
		{"aaa-expander/7", "", "aaa-expander", 7},
		{"GPIO5", "", "pinctrl-bcm2835", 5}, // the line has no name: the n-th of the header's chip
	} {
		p, err := s.Find(c.line, c.chip)
		if err != nil || p.Label != c.label || p.Offset != c.offset {
			t.Errorf("Find(%s, %s) = %+v, %v", c.line, c.chip, p, err)
		}
	}
	for _, line := range []string{"GPIO99", "NOPE", "aaa-expander/54", "pinctrl-rp1/1"} {
		if p, err := s.Find(line, ""); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("Find(%s) = %+v, %v", line, p, err)
		}
	}
}

// No pull is asked for as such. periph leaves the one of an earlier holder in place.
func TestNoPullTakesThePullAway(t *testing.T) {
	s := pi(t)
	chip, err := open("/dev/" + s.read(s.config+"/bank0/chip_name"))
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(chip.fd)
	for _, c := range []struct {
		pull gpio.Pull
		want uapi.LineFlagV2
	}{{gpio.PullUp, uapi.LineFlagV2BiasPullUp}, {gpio.PullNone, uapi.LineFlagV2BiasDisabled}, {gpio.PullDown, uapi.LineFlagV2BiasPullDown}} {
		in, err := s.OpenInput(gpio.InputConfig{Line: "GPIO17", Pull: c.pull})
		if err != nil {
			t.Fatal(err)
		}
		const all = uapi.LineFlagV2BiasPullUp | uapi.LineFlagV2BiasPullDown | uapi.LineFlagV2BiasDisabled
		if info, err := chip.info(17); err != nil || info.Flags&all != c.want {
			t.Errorf("pull %v: the kernel has flags %#x, %v", c.pull, info.Flags, err)
		}
		in.Close()
	}
}

// board runs a board on the machine until the test ends, or stop is called.
func board(t *testing.T, lines gpio.Opener, sensors, outputs string) (*gpio.Board, func()) {
	t.Helper()
	specs, err := gpio.ParseSensors(sensors)
	if err != nil {
		t.Fatal(err)
	}
	outs, err := gpio.ParseOutputs(outputs)
	if err != nil {
		t.Fatal(err)
	}
	b, err := gpio.New(gpio.Config{Sensors: specs, Outputs: outs, Lines: lines, Boot: "test"})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- b.Run(ctx) }()
	stopped := false
	stop := func() {
		if !stopped {
			stopped = true
			cancel()
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
	}
	t.Cleanup(stop)
	return b, stop
}

func state(t *testing.T, b *gpio.Board, sensor string) gpio.Item {
	t.Helper()
	items, err := b.Read(sensor)
	if err != nil {
		t.Fatal(err)
	}
	return items[0]
}

func TestAThousandPressesAreCountedExactly(t *testing.T) {
	s := pi(t)
	s.pull("GPIO17", true)
	b, _ := board(t, s, "button=gpio:GPIO17,debounce=0,class=button", "")
	waitFor(t, "the state", func() bool { return state(t, b, "button").Type == gpio.TypeState })
	w, err := b.Watch(gpio.WatchOptions{})
	if err != nil {
		t.Fatal(err)
	}
	const presses = 1000
	began := time.Now()
	for i := range presses {
		for _, on := range []bool{true, false} {
			s.pull("GPIO17", !on)
			waitFor(t, fmt.Sprintf("edge of press %d", i+1), func() bool { return *state(t, b, "button").On == on })
		}
	}
	t.Logf("%d presses in %v", presses, time.Since(began).Round(time.Millisecond))
	if it := state(t, b, "button"); it.Count != presses {
		t.Errorf("count = %d", it.Count)
	}
	st := b.Stats()
	if st.Edges != 2*presses || st.MissedKernel != 0 {
		t.Errorf("%+v", st)
	}
	// The watcher took nothing meanwhile: what it gets, what it is told it missed and what the storm guard held back is everything.
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	var changes, missed uint64
	var last gpio.Item
	for {
		it, err := w.Next(ctx)
		if err != nil {
			break
		}
		switch it.Type {
		case gpio.TypeChange, gpio.TypeStorm:
			changes++
			last = it
		case gpio.TypeGap:
			missed += it.Missed
		}
	}
	t.Logf("%d changes, %d missed, %d held back", changes, missed, st.Held)
	if last.Count != presses || *last.On {
		t.Errorf("the last change is %+v", last)
	}
	if st.Held == 0 && changes+missed != 2*presses {
		t.Errorf("%d changes and %d missed of %d", changes, missed, 2*presses)
	}
}

// The kernel keeps so many edges for a reader that is held up, and drops the oldest: each that is missing is stated, and counted all the same.
func TestMissedEdgesAreStatedExactly(t *testing.T) {
	s := pi(t)
	s.pull("GPIO17", true)
	held := &holder{sim: s}
	b, _ := board(t, held, "button=gpio:GPIO17,debounce=0,class=button", "")
	waitFor(t, "the state", func() bool { return state(t, b, "button").Type == gpio.TypeState })
	w, err := b.Watch(gpio.WatchOptions{})
	if err != nil {
		t.Fatal(err)
	}
	const presses = fifo/2 + 10
	held.Lock()
	for range presses {
		s.Drive("GPIO17", false)
		s.Drive("GPIO17", true)
	}
	held.Unlock()
	waitFor(t, "the last edge", func() bool { return b.Stats().Edges == 2*presses })
	if it := state(t, b, "button"); it.Count != presses || *it.On {
		t.Errorf("%+v", it)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	var changes, missed uint64
	for {
		it, err := w.Next(ctx)
		if err != nil {
			break
		}
		switch it.Type {
		case gpio.TypeChange:
			changes++
		case gpio.TypeGap:
			missed += it.Missed
		}
	}
	t.Logf("%d edges, %d told, %d stated as missed", 2*presses, changes, missed)
	st := b.Stats() // what came all at once, the storm guard tells in part
	if missed != 2*presses-fifo || missed != st.MissedKernel || changes == 0 {
		t.Errorf("%d changes and %d missed of %d; %+v", changes, missed, 2*presses, st)
	}
}

// holder keeps its inputs from being read while it is locked.
type holder struct {
	*sim
	sync.Mutex
}

func (h *holder) OpenInput(c gpio.InputConfig) (gpio.Input, error) {
	in, err := h.sim.OpenInput(c)
	return &heldUp{in, h}, err
}

type heldUp struct {
	gpio.Input
	by *holder
}

func (h *heldUp) Next(ctx context.Context) (gpio.Event, error) {
	h.by.Lock()
	defer h.by.Unlock()
	return h.Input.Next(ctx)
}

func TestABusyLineIsAStateThatPasses(t *testing.T) {
	s := pi(t)
	other, err := s.OpenInput(gpio.InputConfig{Line: "GPIO17", Consumer: "gpiomon"})
	if err != nil {
		t.Fatal(err)
	}
	b, _ := board(t, s, "door=gpio:GPIO17,class=door", "")
	waitFor(t, "the error", func() bool { it := state(t, b, "door"); return it.Error != nil && it.Error.Code == "busy" })
	if it := state(t, b, "door"); !strings.Contains(it.Error.Text, `"gpiomon"`) {
		t.Errorf("who holds it: %q", it.Error.Text)
	}
	other.Close()
	waitFor(t, "the state", func() bool { return state(t, b, "door").Type == gpio.TypeState })
}

func TestAChipThatGoesAndComesBack(t *testing.T) {
	s := pi(t)
	s.pull("GPIO17", true)
	b, _ := board(t, s, "door=gpio:GPIO17,class=door,debounce=0", "ir=gpio:GPIO22")
	waitFor(t, "the state", func() bool { return state(t, b, "door").Type == gpio.TypeState })
	s.Unplug("")
	waitFor(t, "the error", func() bool { it := state(t, b, "door"); return it.Error != nil && it.Error.Code == "missing" })
	waitFor(t, "the output's error", func() bool { return b.Outputs()[0].Error != nil })
	s.Plug("")
	s.pull("GPIO17", true)
	waitFor(t, "the state", func() bool { return state(t, b, "door").Type == gpio.TypeState })
	waitFor(t, "the output", func() bool { return b.Outputs()[0].Error == nil })
	s.pull("GPIO17", false)
	waitFor(t, "the door", func() bool { return *state(t, b, "door").On })
	if _, err := b.Set("ir", true, 0); err != nil || !s.High("GPIO22") {
		t.Errorf("Set: %v, pin %v", err, s.High("GPIO22"))
	}
}

func TestOutputsAreSafeAtTheEnd(t *testing.T) {
	s := pi(t)
	spy := &spy{sim: s, last: map[string]bool{}}
	b, stop := board(t, spy, "", "ir=gpio:GPIO22,initial=on; heater=gpio:GPIO27,active=low,max_on=1s")
	waitFor(t, "the outputs", func() bool { o := b.Outputs(); return o[0].Error == nil && o[1].Error == nil })
	if !s.High("GPIO22") || !s.High("GPIO27") {
		t.Errorf("at start: ir %v, heater's pin %v", s.High("GPIO22"), s.High("GPIO27"))
	}
	if _, err := b.Set("heater", true, 0); err != nil || s.High("GPIO27") {
		t.Errorf("the heater: %v, pin %v", err, s.High("GPIO27"))
	}
	waitFor(t, "max_on", func() bool { return s.High("GPIO27") })
	if _, err := b.Set("heater", true, 0); err != nil {
		t.Fatal(err)
	}
	stop()
	if len(spy.last) != 2 || spy.last["GPIO22"] || !spy.last["GPIO27"] {
		t.Errorf("at the end: %v", spy.last)
	}
}

// spy notes the level of a pin just before it is let go: gpio-sim then puts it to its pull.
type spy struct {
	*sim
	mu   sync.Mutex
	last map[string]bool
}

func (s *spy) OpenOutput(c gpio.OutputConfig) (gpio.Output, error) {
	o, err := s.sim.OpenOutput(c)
	return &spied{o, s, c.Line}, err
}

type spied struct {
	gpio.Output
	spy  *spy
	line string
}

func (s *spied) Close() error {
	s.spy.mu.Lock()
	defer s.spy.mu.Unlock()
	s.spy.last[s.line] = s.spy.High(s.line)
	return s.Output.Close()
}

// An output of a process that was killed stays as it was, until SafeState.
func TestSafeStateAfterAKill(t *testing.T) {
	s := pi(t)
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), "HOST_TEST_CHILD=output")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "the output", func() bool { return s.High("GPIO22") })
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	began := time.Now()
	if !s.High("GPIO22") {
		t.Log("the chip let the line go by itself")
	}
	outs, _ := gpio.ParseOutputs("ir=gpio:GPIO22,initial=on; gone=gpio:NOPE")
	err := gpio.SafeState(s, outs)
	if s.High("GPIO22") {
		t.Error("the output is on")
	}
	t.Logf("safe %v after the process ended", time.Since(began))
	if err == nil || !strings.Contains(err.Error(), `"gone"`) || strings.Contains(err.Error(), `"ir"`) {
		t.Errorf("SafeState = %v", err)
	}
}

func childOutput() {
	m := &Machine{dev: "/dev"}
	if _, err := m.OpenOutput(gpio.OutputConfig{Line: "GPIO22", Initial: true}); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	time.Sleep(time.Minute)
	os.Exit(0)
}

// The kernel traces every level and direction it gives a line.
func TestAnOutputDoesNotGlitchAtStart(t *testing.T) {
	const tracing = "/sys/kernel/tracing"
	if _, err := os.Stat(tracing + "/events/gpio/enable"); err != nil {
		t.Skip("this kernel does not trace gpio")
	}
	s := pi(t)
	s.write(tracing+"/events/gpio/enable", "1")
	defer s.write(tracing+"/events/gpio/enable", "0")
	for _, c := range []gpio.OutputConfig{{Initial: true}, {Initial: true, ActiveLow: true}, {}, {ActiveLow: true}} {
		high := c.Initial != c.ActiveLow
		s.pull("GPIO22", high)
		s.write(tracing+"/trace", "")
		c.Line, c.Consumer = "GPIO22", "perch:ir"
		o, err := s.OpenOutput(c)
		if err != nil {
			t.Fatal(err)
		}
		trace := s.read(tracing + "/trace")
		o.Close()
		var levels []string
		for line := range strings.Lines(trace) {
			if _, level, ok := strings.Cut(line, " set "); ok {
				levels = append(levels, strings.TrimSpace(level))
			}
		}
		if want := map[bool]string{true: "1", false: "0"}[high]; len(levels) == 0 || strings.Trim(strings.Join(levels, ""), want) != "" {
			t.Errorf("%+v was driven to %v\n%s", c, levels, trace)
		}
	}
}

// A second name for a chip, as Raspberry Pi OS gives it on a Pi 5, makes periph close descriptor 0.
func TestInitKeepsStdin(t *testing.T) {
	s := pi(t)
	chip := s.read(s.config + "/bank0/chip_name")
	second := "/dev/gpiochip99"
	if err := os.Symlink(chip, second); err != nil {
		t.Fatal(err)
	}
	defer os.Remove(second)
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), "HOST_TEST_CHILD=init")
	stdin, err := os.Open("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	defer stdin.Close()
	cmd.Stdin = stdin
	out, err := cmd.CombinedOutput()
	t.Logf("%s", out)
	if err != nil {
		t.Errorf("%v", err)
	}
}

// childInit opens a line twice, after Init: with descriptor 0 closed, the first would be it.
func childInit() {
	before, _ := os.Readlink("/proc/self/fd/0")
	m, err := Init()
	after, _ := os.Readlink("/proc/self/fd/0")
	if after == "/sys/class/gpio/export" { // where the kernel has GPIO in sysfs, periph's driver for that got the number
		after = before
	}
	fmt.Println("stdin:", before, "→", after, "; chips:", m.Chips(), "; notes:", strconv.Quote(strings.Join(m.Notes(), "; ")), err)
	if err != nil || after != before || len(m.Chips()) == 0 {
		os.Exit(1)
	}
	if len(m.paths) == 0 || !strings.HasPrefix(m.paths[0], "/dev/gpiochip") {
		os.Exit(2)
	}
	if _, err := m.OpenInput(gpio.InputConfig{Line: "GPIO17"}); err != nil {
		fmt.Println(err)
		os.Exit(3)
	}
	os.Exit(0)
}

var _ gpiotest.Rig = (*sim)(nil)
