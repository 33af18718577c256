//go:build e2e && linux && cgo

package v4l2

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"image"
	"image/color"
	"image/jpeg"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
	"unsafe"

	"github.com/vladimirvivien/go4vl/v4l2"
	"golang.org/x/sys/unix"

	"github.com/perchcam/perch/pkg/camera"
	"github.com/perchcam/perch/pkg/camera/cameratest"
	"github.com/perchcam/perch/pkg/camera/pattern"
)

// These tests run on a machine with a camera, best one of the kernel's vivid
// driver, as root:
//
//	go test -c -tags e2e -o camera.test ./pkg/camera/v4l2
//	modprobe vivid n_devs=2 node_types=0x1,0x1
//	./camera.test -test.v -device /dev/video0 -vivid vivid.0 -second /dev/video1
var (
	deviceFlag   = flag.String("device", "", "the device to test with")
	vividFlag    = flag.String("vivid", "", "the name of the vivid device behind it, as in /sys/bus/platform/drivers/vivid; faults are injected")
	secondFlag   = flag.String("second", "", "another device, to be used at the same time")
	holdFlag     = flag.Bool("hold", false, "stream from -device until standard input ends: the other process of a test")
	loopbackFlag = flag.String("loopback", "", "a v4l2loopback device, which is written to as well")
)

func device(t *testing.T) *Source {
	t.Helper()
	if *deviceFlag == "" {
		t.Skip("no -device")
	}
	return &Source{path: *deviceFlag}
}

// vivid gives the device, if faults may be injected into it.
func vivid(t *testing.T) *Source {
	t.Helper()
	if *vividFlag == "" {
		t.Skip("no -vivid")
	}
	return device(t)
}

func set(t *testing.T, s *Source, name string, value int64) {
	t.Helper()
	if _, err := s.SetControl(t.Context(), name, value); err != nil {
		t.Fatal(err)
	}
}

// bind binds the device to its driver or unbinds it, as a plug does.
func bind(t *testing.T, what string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join("/sys/bus/platform/drivers/vivid", what), []byte(*vividFlag), 0o200); err != nil {
		t.Error(err)
	}
}

func TestConformance(t *testing.T) {
	s := device(t)
	opt := cameratest.Options{Want: camera.Want{Width: 320, Height: 180, FPS: 30}, Cycles: *cyclesFlag, Frames: 30}
	if *vividFlag != "" {
		opt.Break = func() { bind(t, "unbind") }
		opt.Mend = func() { bind(t, "bind") }
	}
	cameratest.Conformance(t, s, opt)
}

// Formats and sizes change from one run to the next, in both directions: the
// buffers of the last run are freed, else the driver answers EBUSY.
func TestModesAreListedAndReportedAsChosen(t *testing.T) {
	s := device(t)
	info, err := s.Describe(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%+v", info)
	for _, want := range []camera.Want{
		{},
		{Width: 640},
		{Width: 1000, Height: 1000},
		{Width: 320, Height: 180, FPS: 15},
		{Width: 1280, Height: 720, Format: camera.YUYV},
		{Width: 320, Height: 180, Format: camera.NV12},
	} {
		for f, err := range s.Frames(t.Context(), want) {
			if err != nil {
				t.Fatalf("%+v: %v", want, err)
			}
			if want.Format != 0 && f.Format != want.Format {
				t.Errorf("wanted %+v, got %d bytes of %d×%d %s", want, len(f.Data), f.Width, f.Height, f.Format)
			}
			t.Logf("wanted %+v, got %d×%d %s every %v, rows of %d, %d bytes", want, f.Width, f.Height, f.Format, f.Period, f.Stride, len(f.Data))
			break
		}
	}
}

// Every raw format, in either range and by either matrix, becomes a picture
// with vivid's colour bars in it: 75 % of white, yellow, cyan, green, magenta,
// red and blue, and black, as a JPEG has them.
func TestEveryFormatBecomesAPicture(t *testing.T) {
	s := vivid(t)
	defer func() { set(t, s, "quantization", 0); set(t, s, "y_cbcr_encoding", 0) }()
	const full, limited, rec601, rec709 = 1, 2, 1, 2
	for _, c := range []struct {
		format        camera.Format
		space, matrix int64
	}{
		{camera.YUYV, 0, 0},
		{camera.YUYV, full, rec601},
		{camera.YUYV, limited, rec601},
		{camera.YUYV, full, rec709},
		{camera.YUYV, limited, rec709},
		{camera.UYVY, limited, rec601},
		{camera.NV12, limited, rec709},
		{camera.YU12, 0, 0},
	} {
		name := fmt.Sprintf("%s, quantization %d, encoding %d", c.format, c.space, c.matrix)
		set(t, s, "quantization", c.space)
		set(t, s, "y_cbcr_encoding", c.matrix)
		h, err := camera.NewHub(camera.Config{Name: "vivid", Source: s, Want: camera.Want{Width: 320, Height: 180, Format: c.format}, Linger: -1})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		done := make(chan error)
		go func() { done <- h.Run(ctx) }()
		p, err := h.Snapshot(ctx, camera.SnapshotOptions{})
		cancel()
		<-done
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		img, err := jpeg.Decode(bytes.NewReader(p.Data))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		for i, on := range [8][3]byte{{1, 1, 1}, {1, 1, 0}, {0, 1, 1}, {0, 1, 0}, {1, 0, 1}, {1, 0, 0}, {0, 0, 1}} {
			x := 20 + 40*i
			got := img.(*image.YCbCr).YCbCrAt(x, 150)
			var want color.YCbCr
			want.Y, want.Cb, want.Cr = color.RGBToYCbCr(191*on[0], 191*on[1], 191*on[2])
			if apart(got.Y, want.Y) > 6 || apart(got.Cb, want.Cb) > 6 || apart(got.Cr, want.Cr) > 6 {
				t.Errorf("%s: at %d the colour is %v, not %v", name, x, got, want)
			}
		}
	}
}

func apart(a, b byte) int { return max(int(a)-int(b), int(b)-int(a)) }

func TestInjectedFaults(t *testing.T) {
	s := vivid(t)
	want := camera.Want{Width: 320, Height: 180, FPS: 30}
	t.Run("disconnect", func(t *testing.T) {
		n := 0
		var got error
		for _, err := range s.Frames(t.Context(), want) {
			if got = err; err != nil {
				break
			}
			if n++; n == 10 {
				set(t, s, "disconnect", 1)
			}
		}
		if !errors.Is(got, camera.ErrAbsent) || !errors.Is(got, unix.ENODEV) {
			t.Errorf("after %d frames: %v, want ErrAbsent and ENODEV", n, got)
		}
		// vivid stays gone until its driver is bound anew, under the same number.
		bind(t, "unbind")
		bind(t, "bind")
		if err := s.Await(t.Context()); err != nil {
			t.Fatal(err)
		}
		take(t, s, want, 5)
	})
	t.Run("fatal error", func(t *testing.T) {
		n := 0
		var got error
		for _, err := range s.Frames(t.Context(), want) {
			if got = err; err != nil {
				break
			}
			if n++; n == 10 {
				set(t, s, "inject_fatal_streaming_error", 1)
			}
		}
		if !errors.Is(got, unix.EIO) {
			t.Errorf("after %d frames: %v, want EIO", n, got)
		}
		take(t, s, want, 5)
	})
	t.Run("corrupt buffers", func(t *testing.T) {
		corrupt, n := 0, 0
		w := want
		w.Dropped = func(reason string) {
			if reason == camera.DropCorrupt {
				corrupt++
			}
		}
		for _, err := range s.Frames(t.Context(), w) {
			if err != nil {
				t.Fatal(err)
			}
			if n++; n == 5 {
				set(t, s, "inject_v4l2_buf_flag_error", 1)
			}
			if n == 20 {
				break
			}
		}
		if corrupt == 0 {
			t.Error("none counted")
		}
	})
	t.Run("dropped buffers", func(t *testing.T) {
		set(t, s, "percentage_of_dropped_buffers", 30)
		defer set(t, s, "percentage_of_dropped_buffers", 0)
		var first, last camera.Frame
		n := 0
		for f, err := range s.Frames(t.Context(), want) {
			if err != nil {
				t.Fatal(err)
			}
			if n == 0 {
				first = f
			}
			last = f
			if n++; n == 60 {
				break
			}
		}
		if last.Seq-first.Seq+1 <= 60 {
			t.Errorf("60 frames numbered %d to %d: no loss seen", first.Seq, last.Seq)
		}
		t.Logf("60 frames, %d lost", last.Seq-first.Seq+1-60)
	})
	for _, fault := range []string{"inject_vidioc_reqbufs_error", "inject_vidioc_s_fmt_error", "inject_vidioc_streamon_error", "inject_vidioc_qbuf_error"} {
		t.Run(fault, func(t *testing.T) {
			if _, err := s.SetControl(t.Context(), fault, 1); err != nil {
				t.Skip(err)
			}
			for _, err := range s.Frames(t.Context(), want) {
				if err == nil {
					t.Fatal("a frame came")
				}
				t.Log(err)
			}
			take(t, s, want, 3)
		})
	}
}

// take reads n frames.
func take(t *testing.T, s *Source, want camera.Want, n int) {
	t.Helper()
	got := 0
	for _, err := range s.Frames(t.Context(), want) {
		if err != nil {
			t.Fatalf("after %d frames: %v", got, err)
		}
		if got++; got == n {
			return
		}
	}
}

// hold begins another process that streams from the device until it is released.
func hold(t *testing.T, s *Source) (pid int, release func()) {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run", "^TestHold$", "-hold", "-device", s.path)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	release = sync.OnceFunc(func() {
		in.Close()
		cmd.Wait() // it ends by itself; how is of no interest
	})
	t.Cleanup(release)
	if _, err := io.ReadFull(out, make([]byte, len(holding))); err != nil {
		t.Fatal("the other process does not stream:", err)
	}
	return cmd.Process.Pid, release
}

const holding = "holding\n"

// TestHold is the other process.
func TestHold(t *testing.T) {
	if !*holdFlag {
		t.Skip("no -hold")
	}
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		io.Copy(io.Discard, os.Stdin)
		cancel()
	}()
	told := false
	for _, err := range device(t).Frames(ctx, camera.Want{Width: 320, Height: 180}) {
		if err != nil {
			t.Fatal(err)
		}
		if !told {
			told = true
			os.Stdout.WriteString(holding)
		}
	}
}

func TestAnotherProcessHoldsTheCamera(t *testing.T) {
	s := device(t)
	pid, release := hold(t, s)
	var err error
	for _, err = range s.Frames(t.Context(), camera.Want{Width: 320, Height: 180}) {
	}
	if !errors.Is(err, camera.ErrBusy) || !strings.Contains(err.Error(), strconv.Itoa(pid)) {
		t.Errorf("held by process %d: %v, want ErrBusy and who it is", pid, err)
	}
	t.Log(err)
	if _, err := s.Describe(t.Context()); err != nil {
		t.Errorf("cannot be asked while it is busy: %v", err)
	}
	free := make(chan time.Time, 1)
	go func() {
		s.Await(t.Context())
		free <- time.Now()
	}()
	time.Sleep(100 * time.Millisecond) // let it watch
	told := time.Now()
	release()
	select {
	case at := <-free:
		t.Logf("free %v after the other was told to stop", at.Sub(told))
	case <-time.After(5 * time.Second):
		t.Error("the end of the other was not seen")
	}
	take(t, s, camera.Want{Width: 320, Height: 180}, 2)
}

// Two cameras run side by side, and the end of one does not touch the other.
func TestTwoCamerasAtOnce(t *testing.T) {
	one := device(t)
	if *secondFlag == "" {
		t.Skip("no -second")
	}
	two := &Source{path: *secondFlag}
	want := camera.Want{Width: 320, Height: 180, FPS: 15}
	n := 0
	for _, err := range one.Frames(t.Context(), want) {
		if err != nil {
			t.Fatalf("the first after %d frames: %v", n, err)
		}
		if n++; n%10 == 1 { // three runs of the second within one of the first
			take(t, two, want, 5)
		}
		if n == 30 {
			return
		}
	}
}

// Unplugged while it runs, plugged in again: frames come by themselves.
func TestReplugThroughTheHub(t *testing.T) {
	s := vivid(t)
	h, err := camera.NewHub(camera.Config{Name: "vivid", Source: s, Want: camera.Want{Width: 320, Height: 180, FPS: 30}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- h.Run(ctx) }()
	defer func() { cancel(); <-done }()
	v := h.View(camera.ViewOptions{})
	defer v.Close()
	next := func() camera.Picture {
		t.Helper()
		ctx, cancel := context.WithTimeout(ctx, time.Minute)
		defer cancel()
		p, err := v.Next(ctx)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	replug := func() time.Duration {
		t.Helper()
		last := next()
		for range 5 {
			last = next()
		}
		bind(t, "unbind")
		state, turned := h.Turned()
		for state.Phase != camera.Absent {
			select {
			case <-turned:
			case <-time.After(20 * time.Second):
				t.Fatalf("state %+v", state)
			}
			state, turned = h.Turned()
		}
		bind(t, "bind")
		// udev sets group and mode after that; the clock starts when the node can be opened.
		for unix.Access(s.path, unix.R_OK|unix.W_OK) != nil {
			time.Sleep(time.Millisecond)
		}
		ready := camera.Mono()
		p := next()
		for p.Mono < ready {
			last, p = p, next()
		}
		if p.Seq != last.Seq+1+p.Skipped {
			t.Errorf("picture %d after %d says %d skipped", p.Seq, last.Seq, p.Skipped)
		}
		t.Logf("a frame taken %v after the node was ready, had %v after", p.Mono-ready, camera.Mono()-ready)
		return p.Mono - ready
	}
	// An emulated machine may be kept waiting; the agent must not wait by itself.
	const limit = 300 * time.Millisecond
	best := replug()
	for range 4 {
		if best > limit {
			best = min(best, replug())
		}
	}
	if best > limit {
		t.Errorf("a frame is taken %v after the node was ready at best, more than %v", best, limit)
	}
	if err := exec.Command("udevadm", "settle").Run(); err != nil {
		t.Log("udevadm:", err)
	}
}

func TestStallIsFound(t *testing.T) {
	s := vivid(t)
	h, err := camera.NewHub(camera.Config{Name: "vivid", Source: s, Want: camera.Want{Width: 320, Height: 180, FPS: 30}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- h.Run(ctx) }()
	defer func() { cancel(); <-done }()
	v := h.View(camera.ViewOptions{})
	defer v.Close()
	if _, err := v.Next(ctx); err != nil {
		t.Fatal(err)
	}
	set(t, s, "percentage_of_dropped_buffers", 100)
	defer set(t, s, "percentage_of_dropped_buffers", 0)
	began := time.Now()
	state, turned := h.Turned()
	for state.Phase != camera.Stalled {
		select {
		case <-turned:
		case <-time.After(20 * time.Second):
			t.Fatalf("state %+v", state)
		}
		state, turned = h.Turned()
	}
	t.Logf("found %v after it was injected: %v", time.Since(began), state.Err)
	set(t, s, "percentage_of_dropped_buffers", 0)
	for range 5 {
		if _, err := v.Next(ctx); err != nil {
			t.Fatal(err)
		}
	}
}

func TestControls(t *testing.T) {
	s := vivid(t)
	list, err := s.Controls(t.Context())
	if err != nil || len(list) < 10 {
		t.Fatalf("%d controls, %v", len(list), err)
	}
	for _, c := range list {
		t.Logf("%+v", c)
	}
	if got, err := s.SetControl(t.Context(), "brightness", 77); got != 77 || err != nil {
		t.Errorf("brightness 77: %d, %v", got, err)
	}
	if _, err := s.SetControl(t.Context(), "brightness", 1000); !errors.Is(err, camera.ErrUnsupported) {
		t.Errorf("brightness 1000: %v", err)
	}
	if _, err := s.SetControl(t.Context(), "no_such", 1); !errors.Is(err, camera.ErrUnsupported) {
		t.Errorf("no_such: %v", err)
	}
}

func TestDiscovery(t *testing.T) {
	s := device(t)
	found := Discover()
	t.Logf("%+v", found)
	t.Log(Why())
	for _, f := range found {
		if f.Node == s.path || f.Address == s.path {
			return
		}
	}
	t.Errorf("%s is not among them", s.path)
}

// play writes a moving picture, every tenth torn, into a loopback device until
// the test ends.
func play(t *testing.T, path string) {
	t.Helper()
	fd, err := unix.Open(path, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	k := &kernel{file: fd, path: path}
	set := rawFormat{kind: v4l2.BufTypeVideoOutput, pix: rawPix{width: 640, height: 480, format: uint32(camera.MJPEG), field: 1, size: 640 * 480}}
	if err := k.ioctl(vidiocSFmt, unsafe.Pointer(&set)); err != nil {
		t.Fatal("S_FMT of the output:", err)
	}
	spec := camera.Spec{Name: "feed", Kind: camera.KindPattern}
	source, err := pattern.New(spec)
	if err != nil {
		t.Fatal(err)
	}
	done, playing := make(chan struct{}), make(chan struct{})
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		defer close(done)
		n := 0
		for f, err := range source.Frames(ctx, camera.Want{Width: 640, Height: 480, FPS: 20}) {
			if err != nil {
				t.Error(err)
				return
			}
			data := f.Data
			if f.Seq%10 == 9 {
				data = data[:len(data)/2] // torn
			}
			if _, err := unix.Write(fd, data); err != nil {
				t.Error("write:", err)
				return
			}
			if n++; n == 3 {
				close(playing)
			}
		}
	}()
	t.Cleanup(func() { cancel(); <-done; unix.Close(fd) })
	<-playing // before that it has no format
}

func TestLoopback(t *testing.T) {
	if *loopbackFlag == "" {
		t.Skip("no -loopback")
	}
	play(t, *loopbackFlag)
	s := &Source{path: *loopbackFlag}
	t.Run("conformance", func(t *testing.T) {
		cameratest.Conformance(t, s, cameratest.Options{Cycles: *cyclesFlag})
	})
	h, err := camera.NewHub(camera.Config{Name: "loop", Source: s})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- h.Run(ctx) }()
	defer func() { cancel(); <-done }()
	v := h.View(camera.ViewOptions{})
	defer v.Close()
	for i := range 60 {
		p, err := v.Next(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.HasSuffix(p.Data, []byte{0xff, 0xd9}) {
			t.Fatalf("picture %d does not end with its end", p.Seq)
		}
		img, err := jpeg.Decode(bytes.NewReader(p.Data))
		if err != nil && i == 0 {
			// The driver calls its first buffer full: if that is a torn one, the
			// end of an older picture completes it.
			t.Log("the first picture:", err)
			continue
		}
		if err != nil || img.Bounds() != image.Rect(0, 0, 640, 480) {
			t.Fatalf("picture %d: %v", p.Seq, err)
		}
	}
	st := h.Stats()
	t.Logf("%+v", st)
	if st.Dropped[camera.DropTorn] == 0 {
		t.Error("no torn picture was counted, and one in ten was")
	}
}
