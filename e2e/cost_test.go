//go:build e2e

package e2e

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"image"
	"image/jpeg"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/perchcam/perch/e2e/look/count"
)

var costFlag = flag.Bool("cost", false, "measure what the agent costs, beside go2rtc")

// What the agent may cost.
const (
	mostAnon    = 16 << 20 // bytes of RssAnon with three viewers of 1920×1080; mapped camera buffers are apart
	mostWakeups = 2.0      // a second, with nobody looking
	mostOfTheir = 0.6      // of go2rtc's processor time for a picture of the same camera
)

// TestCost is `make bench-agent`: the agent of the package on the virtual Pi, its cost in the guest's own /proc. The emulator makes seconds
// of its own, so what counts is what is compared within one run.
func TestCost(t *testing.T) {
	if !*costFlag {
		t.Skip("no -cost: it takes minutes and wants a quiet machine")
	}
	b := newBench(t)
	b.step("hardware", b.hardware)
	b.step("install", b.install)
	b.step("configure", b.configure)
	c := &cost{bench: b}
	b.step("tools", c.tools)
	b.step("go2rtc", c.beside)
	b.step("inside", c.inside)
	b.step("viewers", c.viewers)
	b.step("MJPEG", func() { c.memory("MJPEG", "/dev/video8,format=mjpeg", c.feed(1920, 1080)) })
	b.step("YUYV", func() { c.memory("YUYV", "/dev/video0,format=yuyv", func() {}) })
	b.step("idle", c.idle)
}

type cost struct{ *bench }

// tools builds what the measurement needs in the guest, and pictures as a webcam sends them.
func (c *cost) tools() {
	c.cross(".", "./feed", "feed")
	c.cross(".", "./look", "look")
	c.cross("..", "./cmd/broker", "perch-broker")
	c.cross("..", "./cmd/perch", "perch")
	c.cross("go2rtc", "github.com/AlexxIT/go2rtc", "go2rtc")
	c.must(os.WriteFile(filepath.Join(c.pi.Share(), "go2rtc.yaml"), []byte(`
api: {listen: ":1984"}
rtsp: {listen: ""}
webrtc: {listen: ""}
srtp: {listen: ""}
log: {level: error}
streams:
  cam: "v4l2:device?video=/dev/video8&input_format=mjpeg&video_size=1280x720&framerate=30"
`), 0o644))
	for _, size := range []image.Point{{1280, 720}, {1920, 1080}} {
		for n := range 8 {
			c.must(os.WriteFile(filepath.Join(c.pi.Share(), fmt.Sprintf("%d-%d.jpg", size.X, n)), scene(size, n), 0o644))
		}
	}
	c.guest("modprobe v4l2loopback video_nr=8")
}

// cross builds a program for the guest, as /host/NAME.
func (c *cost) cross(dir, what, name string) {
	c.Helper()
	cmd := exec.CommandContext(c.Context(), "go", "build", "-trimpath", "-ldflags", "-s -w", "-o", filepath.Join(c.pi.Share(), name), what)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH=arm64")
	if out, err := cmd.CombinedOutput(); err != nil {
		c.Fatalf("cannot build %s: %v\n%s", what, err, out)
	}
}

// scene is a picture with as much in it as a garden: about 100 KB at 1280×720.
func scene(size image.Point, n int) []byte {
	rnd := rand.New(rand.NewPCG(1, uint64(n)))
	img := image.NewYCbCr(image.Rectangle{Max: size}, image.YCbCrSubsampleRatio420)
	for y := range size.Y {
		for x := range size.X {
			img.Y[y*img.YStride+x] = byte(64 + (x/3+y/5+n*7)%96 + rnd.IntN(14))
		}
	}
	for i := range img.Cb {
		img.Cb[i], img.Cr[i] = byte(112+i%32), byte(144-i/97%32)
	}
	var b bytes.Buffer
	if err := jpeg.Encode(&b, img, &jpeg.Options{Quality: 80}); err != nil {
		panic(err) // cannot happen: the writer is memory
	}
	return b.Bytes()
}

// feed plays pictures into the MJPEG camera at 30 a second, until stop.
func (c *cost) feed(width, height int) (stop func()) {
	c.Helper()
	c.guest(fmt.Sprintf("systemd-run --quiet --unit=feed sh -c 'exec /host/feed /dev/video8 %dx%d 30 /host/%d-*.jpg'; until v4l2-ctl -d /dev/video8 --list-formats | grep -q MJPG; do sleep 0.2; done", width, height, width))
	return func() { c.guest("systemctl stop feed") }
}

// camera makes the agent restart with another camera, which it gives back the process of.
func (c *cost) camera(spec string) (pid string) {
	c.Helper()
	since := time.Now()
	c.guest(fmt.Sprintf("echo 'PERCH_CAMERAS=yard=v4l2:%s' >>/etc/default/perch-agent; systemctl restart perch-agent", spec))
	c.online(since)
	return c.guest("systemctl show -P MainPID perch-agent")
}

// cpu is the processor time that a unit of the guest has used.
func (c *cost) cpu(unit string) time.Duration {
	c.Helper()
	ns, err := strconv.ParseInt(c.guest("systemctl show -P CPUUsageNSec "+unit), 10, 64)
	c.must(err)
	return time.Duration(ns)
}

const agentUnit, rival = "perch-agent", "go2rtc"

// watch lets so many laptops look for so long, calls meanwhile after most of it, and gives how many pictures they got.
func (c *cost) watch(viewers int, d time.Duration, meanwhile func()) (pictures int) {
	c.Helper()
	var mu sync.Mutex
	var errs []error
	var watching sync.WaitGroup
	for range viewers {
		watching.Go(func() {
			n, err := c.look(d)
			mu.Lock()
			defer mu.Unlock()
			pictures += n
			errs = append(errs, err)
		})
	}
	time.Sleep(d * 3 / 4)
	meanwhile()
	watching.Wait()
	c.must(errors.Join(errs...))
	return pictures
}

// look is one laptop: the CLI, whose pictures are counted as they come.
func (c *cost) look(d time.Duration) (int, error) {
	cmd := exec.CommandContext(c.Context(), filepath.Join(c.bin, "perch"), "--broker", c.url, "-q", "stream", device, "-o", "-", "--for", d.String(), "--timeout", "1m")
	cmd.Env = []string{"HOME=" + c.TempDir()}
	var said bytes.Buffer
	cmd.Stderr = &said
	out, err := cmd.StdoutPipe()
	if err != nil {
		return 0, err
	}
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	n := count.Pictures(out)
	if err := cmd.Wait(); err != nil {
		return n, fmt.Errorf("perch stream: %w: %s", err, said.Bytes())
	}
	return n, nil
}

// idle looks at the agent with nobody looking: no camera is open, and hardly anything wakes it.
func (c *cost) idle() {
	pid := c.guest("systemctl show -P MainPID perch-agent")
	c.watch(1, 5*time.Second, func() {})
	time.Sleep(20 * time.Second) // the camera lingers for 5 s, and then the memory goes back to the kernel bit by bit
	if n := c.guest("ls -l /proc/" + pid + "/fd | grep -c /dev/video || true"); n != "0" {
		c.Errorf("with nobody looking the agent has %s cameras open", n)
	}
	const script = "awk '/^voluntary_ctxt_switches/ {n += $2} END {print n}' /proc/%s/task/*/status"
	const d = 30 * time.Second
	wakeups := func() float64 {
		n, err := strconv.ParseFloat(c.guest(fmt.Sprintf(script, pid)), 64)
		c.must(err)
		return n
	}
	before, began, used := wakeups(), time.Now(), c.cpu(agentUnit)
	time.Sleep(d)
	rate := (wakeups() - before) / time.Since(began).Seconds()
	c.Logf("idle: %.2f wake-ups/s, %v of processor time in %v, RssAnon %.1f MB", rate, c.cpu(agentUnit)-used, d, c.anon(pid))
	if rate > mostWakeups {
		c.Errorf("idle: %.2f wake-ups/s, more than %.0f", rate, mostWakeups)
	}
}

// beside compares the agent with go2rtc: the same camera, one viewer on this machine, in turn.
func (c *cost) beside() {
	c.camera("/dev/video8,width=1280,height=720,fps=30,format=mjpeg")
	defer c.feed(1280, 720)()
	const d = 15 * time.Second
	// Restart: v1.9.14 was seen to be gone some time after its viewer was.
	c.guest("systemd-run --quiet --unit=go2rtc -p Restart=always /host/go2rtc -config /host/go2rtc.yaml; sleep 5; systemctl is-active go2rtc")
	defer c.guest("systemctl stop go2rtc")
	addr, err := c.pi.Forward(c.Context(), 1984)
	c.must(err)
	var ours, theirs time.Duration
	var got, gave int
	for range 2 {
		was := c.cpu(agentUnit)
		got += c.watch(1, d, func() {})
		ours += c.cpu(agentUnit) - was
		time.Sleep(7 * time.Second) // it lingers
		was = c.cpu(rival)
		n, err := count.URL("http://"+addr+"/api/stream.mjpeg?src=cam", d)
		if err != nil {
			c.Fatalf("%v; it said:\n%s", err, c.guest("journalctl -u go2rtc --no-pager"))
		}
		gave += n
		theirs += c.cpu(rival) - was
		time.Sleep(7 * time.Second)
	}
	a, b := perPicture(ours, got), perPicture(theirs, gave)
	c.Logf("1280x720 MJPEG at 30/s, one viewer, %v each: agent %d pictures, %v of processor time, %.2f ms a picture; go2rtc %d, %v, %.2f ms; ratio %.2f",
		2*d, got, ours, a, gave, theirs, b, a/b)
	if a > mostOfTheir*b {
		c.Errorf("a picture costs %.2f of what it costs go2rtc, more than %.2f", a/b, mostOfTheir)
	}
}

// inside is the same with the viewers and the broker in the guest, so that the emulator's network is not what is measured. What each of both
// had of the kernel's time and of its own, and how often it was put aside, tells what a picture's cost is made of.
func (c *cost) inside() {
	outside := c.guest("grep ^PERCH_BROKER= /etc/default/perch-agent | tail -n 1")
	const d = 15 * time.Second
	defer c.feed(1280, 720)()
	c.guest("systemd-run --quiet --unit=broker /host/perch-broker --listen tcp://127.0.0.1:7878; systemd-run --quiet --unit=go2rtc -p Restart=always /host/go2rtc -config /host/go2rtc.yaml")
	c.guest("cat >>/etc/default/perch-agent <<'END'\nPERCH_BROKER=tcp://127.0.0.1:7878\nPERCH_CAMERAS=yard=v4l2:/dev/video8,width=1280,height=720,fps=30,format=mjpeg\nEND\nsystemctl restart perch-agent; sleep 5")
	defer func() {
		c.guest("systemctl stop go2rtc broker; cat >>/etc/default/perch-agent <<'END'\n" + outside + "\nEND")
	}()
	looks := [2]string{
		fmt.Sprintf("HOME=/tmp /host/perch --broker tcp://127.0.0.1:7878 -q stream %s -o - --for %v --timeout 1m | /host/look", device, d),
		fmt.Sprintf("/host/look 'http://127.0.0.1:1984/api/stream.mjpeg?src=cam' %v", d),
	}
	var used [2]spent
	var got [2]int
	for range 2 {
		for i, unit := range []string{agentUnit, rival} {
			before := c.spent(unit)
			n, err := strconv.Atoi(c.guest(looks[i]))
			c.must(err)
			got[i] += n
			used[i] = used[i].plus(c.spent(unit).minus(before))
			time.Sleep(7 * time.Second)
		}
	}
	for i, unit := range []string{agentUnit, rival} {
		n := max(1, got[i])
		c.Logf("inside, 1280x720 MJPEG at 30/s, one viewer, %v: %s %d pictures, %.2f ms each, of which the kernel %.2f ms", 2*d, unit, n,
			perPicture(used[i].user+used[i].kernel, n), perPicture(used[i].kernel, n))
	}
	a, b := perPicture(used[0].user+used[0].kernel, got[0]), perPicture(used[1].user+used[1].kernel, got[1])
	c.Logf("inside: ratio %.2f", a/b)
}

// spent is what a unit had of the processor.
type spent struct{ user, kernel time.Duration }

func (u spent) plus(v spent) spent  { return spent{u.user + v.user, u.kernel + v.kernel} }
func (u spent) minus(v spent) spent { return spent{u.user - v.user, u.kernel - v.kernel} }

func (c *cost) spent(unit string) spent {
	c.Helper()
	var u, k int64
	out := c.guest("awk '/^user_usec/ {u = $2} /^system_usec/ {k = $2} END {print u, k}' /sys/fs/cgroup/system.slice/" + unit + ".service/cpu.stat")
	if _, err := fmt.Sscan(out, &u, &k); err != nil {
		c.Fatalf("%q are no times: %v", out, err)
	}
	return spent{time.Duration(u) * time.Microsecond, time.Duration(k) * time.Microsecond}
}

func perPicture(d time.Duration, n int) float64 { return d.Seconds() * 1000 / float64(n) }

// viewers is what further viewers of one camera cost: no further copy, and so much time for each of their pictures.
func (c *cost) viewers() {
	c.camera("/dev/video8,width=1280,height=720,fps=10,format=mjpeg")
	defer c.feed(1280, 720)()
	const d = 15 * time.Second
	var used [2]time.Duration
	var got [2]int
	for i, viewers := range []int{1, 3} {
		was := c.cpu(agentUnit)
		got[i] = c.watch(viewers, d, func() {})
		used[i] = c.cpu(agentUnit) - was
	}
	m := c.metrics()
	frames, copied := m["perch_camera_frames_total"], m["perch_camera_copied_total"]
	c.Logf("one viewer: %d pictures, %v; three: %d, %v; %.2f ms for each picture of a further viewer; %v of %v frames copied for %d pictures",
		got[0], used[0], got[1], used[1], perPicture(used[1]-used[0], got[1]-got[0]), copied, frames, got[0]+got[1])
	if copied > frames || copied == 0 {
		c.Errorf("%v of %v frames were copied", copied, frames)
	}
}

// metrics are the agent's counters, by their names.
func (c *cost) metrics() map[string]float64 {
	c.Helper()
	out, err := c.perch("metrics", device)
	c.must(err)
	m := make(map[string]float64)
	for line := range strings.Lines(string(out)) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		if n, err := strconv.ParseFloat(value[strings.LastIndexByte(value, ' ')+1:], 64); err == nil {
			name, _, _ = strings.Cut(name, "{")
			m[name] += n
		}
	}
	return m
}

// memory is what three viewers of 1920×1080 take.
func (c *cost) memory(name, camera string, stop func()) {
	defer stop()
	pid := c.camera(camera + ",width=1920,height=1080")
	var anon, most, mapped float64
	n := c.watch(3, 20*time.Second, func() {
		for range 5 {
			anon = c.anon(pid)
			most = max(most, anon)
			time.Sleep(500 * time.Millisecond)
		}
		kb, err := strconv.ParseFloat(c.guest("awk '/\\/dev\\/video/ {v = 1; next} /^Size:/ && v {n += $2; v = 0} END {print n + 0}' /proc/"+pid+"/smaps"), 64)
		c.must(err)
		mapped = kb / 1024
	})
	c.Logf("%s of 1920x1080, three viewers: %d pictures, RssAnon at most %.1f MB, and %.1f MB of mapped camera buffers", name, n, most, mapped)
	if most > mostAnon/(1<<20) {
		c.Errorf("%s of 1920x1080, three viewers: RssAnon %.1f MB, more than %d", name, most, mostAnon>>20)
	}
}

// anon is a process's RssAnon in MB.
func (c *cost) anon(pid string) float64 {
	c.Helper()
	kb, err := strconv.ParseFloat(c.guest("awk '/^RssAnon/ {print $2}' /proc/"+pid+"/status"), 64)
	c.must(err)
	return kb / 1024
}
