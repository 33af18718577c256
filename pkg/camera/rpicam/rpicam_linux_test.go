package rpicam

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/perchcam/perch/pkg/camera"
	"github.com/perchcam/perch/pkg/camera/cameratest"
)

// The test binary stands in for rpicam-vid and rpicam-hello: STAND_IN says how
// it behaves.
func TestMain(m *testing.M) {
	if how := os.Getenv("STAND_IN"); how != "" {
		standIn(how)
	}
	os.Exit(m.Run())
}

func standIn(how string) {
	if file := os.Getenv("STAND_IN_ARGS"); file != "" {
		os.WriteFile(file, []byte(strings.Join(append(os.Args[1:], os.Environ()...), "\n")), 0o600)
	}
	if slices.Contains(os.Args, "--list-cameras") {
		fmt.Print(os.Getenv("STAND_IN_LIST"))
		os.Exit(0)
	}
	greeting := "[0:02:11.883943943] [1650] \x1b[1;32m INFO \x1b[1;37mCamera camera_manager.cpp:297 \x1b[0mlibcamera v0.3.0\n"
	io.WriteString(os.Stderr, greeting)
	picture := cameratest.Grey(64, 48, 100)
	gone := func() bool { // as long as this file exists
		_, err := os.Stat(os.Getenv("STAND_IN_MARK"))
		return err == nil
	}
	if gone() {
		how = "absent"
	}
	switch how {
	case "normal":
	case "slow":
		time.Sleep(300 * time.Millisecond)
	case "absent":
		io.WriteString(os.Stderr, "ERROR: *** no cameras available ***\n")
		os.Exit(255)
	case "busy":
		io.WriteString(os.Stderr, "[0:02:11.9] [1650] ERROR Camera camera.cpp:675 Camera in use by another process\nERROR: *** failed to acquire camera /base/soc/i2c0mux/i2c@1/imx708@1a ***\nbye\n")
		os.Exit(255)
	case "dies":
		os.Stdout.Write(picture)
		os.Stdout.Write(picture[:len(picture)/2]) // half a frame
		os.Exit(7)
	case "killed":
		os.Stdout.Write(picture)
		syscall.Kill(os.Getpid(), syscall.SIGKILL)
		time.Sleep(time.Hour)
	case "hangs":
		time.Sleep(time.Hour)
	case "stays": // closes its output and does not go
		os.Stdout.Write(picture)
		os.Stdout.Close()
		time.Sleep(time.Hour)
	case "garbage":
		os.Stdout.Write(make([]byte, 1<<20))
		for i := range 50 {
			os.Stdout.Write(picture)
			os.Stdout.Write(picture[:40+i])
			os.Stdout.Write([]byte("text"))
		}
		os.Exit(0)
	case "family": // its own child holds both pipes and ignores the end of its parent
		c := exec.Command(os.Args[0])
		c.Env = append(os.Environ(), "STAND_IN=hangs")
		c.Stdout, c.Stderr = os.Stdout, os.Stderr
		if err := c.Start(); err != nil {
			panic(err)
		}
		os.WriteFile(os.Getenv("STAND_IN_PID"), fmt.Append(nil, c.Process.Pid), 0o600)
	}
	for {
		if _, err := os.Stdout.Write(picture); err != nil {
			os.Exit(1)
		}
		time.Sleep(2 * time.Millisecond)
		if gone() {
			io.WriteString(os.Stderr, "ERROR: *** no cameras available ***\n")
			os.Exit(255)
		}
	}
}

// stand gives a source whose programs are the stand-in.
func stand(t *testing.T, how string, spec camera.Spec) *Source {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("STAND_IN", how)
	tools := Tools{Video: []string{"/no/such/rpicam-vid", self}, Hello: []string{self}}
	s, err := New(spec, tools)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

const list = `Available cameras
-----------------
0 : imx708_wide [4608x2592 10-bit RGGB] (/base/soc/i2c0mux/i2c@1/imx708@1a)
    Modes: 'SRGGB10_CSI2P' : 1536x864 [120.13 fps - (768, 432)/3072x1728 crop]
                             2304x1296 [56.03 fps - (0, 0)/4608x2592 crop]
           'SRGGB8' : 1536x864 [130.00 fps - (768, 432)/3072x1728 crop]

1 : ov5647 [2592x1944] (/base/soc/i2c0mux/i2c@0/ov5647@36)
    Modes: 'SGBRG10_CSI2P' : 640x480 [58.92 fps - (16, 0)/2560x1920 crop]

2 : HD Webcam [] (/base/scb/pcie@7d500000/pci@0,0/usb@0,0-1.3:1.0-046d:0825)
`

var cyclesFlag = flag.Int("cycles", 8, "starts and stops in the conformance test")

func TestConformance(t *testing.T) {
	s := stand(t, "normal", camera.Spec{Name: "nest"})
	t.Setenv("STAND_IN_LIST", list)
	mark := filepath.Join(t.TempDir(), "gone")
	t.Setenv("STAND_IN_MARK", mark)
	cameratest.Conformance(t, s, cameratest.Options{
		Cycles: *cyclesFlag,
		Break:  func() { os.WriteFile(mark, nil, 0o600) },
		Mend:   func() { os.Remove(mark) },
	})
}

// all reads until an error or n frames.
func all(ctx context.Context, s *Source, want camera.Want, n int) (int, error) {
	got := 0
	for _, err := range s.Frames(ctx, want) {
		if err != nil {
			return got, err
		}
		if got++; got == n {
			break
		}
	}
	return got, nil
}

func TestEndsAreSentences(t *testing.T) {
	for _, c := range []struct {
		how    string
		frames int
		is     error
		says   string
	}{
		{"absent", 0, camera.ErrAbsent, "ended with exit status 255: ERROR: *** no cameras available ***"},
		{"busy", 0, camera.ErrBusy, "failed to acquire camera"},
		{"dies", 1, nil, "ended with exit status 7"},
		{"killed", 1, nil, "ended with signal: killed"},
		{"stays", 1, nil, "ended with signal: killed"},
	} {
		t.Run(c.how, func(t *testing.T) {
			got, err := all(t.Context(), stand(t, c.how, camera.Spec{Name: "nest"}), camera.Want{}, 100)
			if got != c.frames {
				t.Errorf("%d frames, want %d", got, c.frames)
			}
			if err == nil || c.is != nil && !errors.Is(err, c.is) || !strings.Contains(err.Error(), c.says) {
				t.Fatalf("got %v, want %q", err, c.says)
			}
			if strings.ContainsAny(err.Error(), "\n\x1b") {
				t.Errorf("more than a line: %q", err)
			}
		})
	}
}

func TestSlowStart(t *testing.T) {
	if got, err := all(t.Context(), stand(t, "slow", camera.Spec{Name: "nest"}), camera.Want{}, 3); got != 3 || err != nil {
		t.Errorf("%d frames, %v", got, err)
	}
}

func TestGarbageIsPassedOverAndCounted(t *testing.T) {
	torn := 0
	want := camera.Want{Dropped: func(reason string) {
		if reason == camera.DropTorn {
			torn++
		}
	}}
	got, err := all(t.Context(), stand(t, "garbage", camera.Spec{Name: "nest"}), want, 100)
	if got != 50 || torn != 49 || err == nil {
		t.Errorf("%d pictures, %d torn, %v; want 50, 49 and an error", got, torn, err)
	}
}

func TestHangingProgramIsKilledAtOnce(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(50*time.Millisecond, cancel)
	began := time.Now()
	if got, err := all(ctx, stand(t, "hangs", camera.Spec{Name: "nest"}), camera.Want{}, 1); got != 0 || err != nil {
		t.Errorf("%d frames, %v", got, err)
	}
	if d := time.Since(began); d > 3*time.Second {
		t.Errorf("killed after %v", d)
	}
}

func TestTheWholeGroupIsKilled(t *testing.T) {
	file := filepath.Join(t.TempDir(), "pid")
	t.Setenv("STAND_IN_PID", file)
	if _, err := all(t.Context(), stand(t, "family", camera.Spec{Name: "nest"}), camera.Want{}, 3); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var pid int
	fmt.Sscan(string(b), &pid)
	deadline := time.Now().Add(5 * time.Second)
	for alive(pid) {
		if time.Now().After(deadline) {
			t.Fatalf("process %d, the program's child, lives", pid)
		}
		runtime.Gosched()
	}
}

// alive tells whether a process runs; a dead one may wait to be reaped by init.
func alive(pid int) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	_, after, _ := strings.Cut(string(b), ") ")
	return !strings.HasPrefix(after, "Z") && !strings.HasPrefix(after, "X")
}

func TestProgramIsToldWhatIsWanted(t *testing.T) {
	file := filepath.Join(t.TempDir(), "args")
	t.Setenv("STAND_IN_ARGS", file)
	t.Setenv("STAND_IN_LIST", list)
	t.Setenv("PERCH_TOKEN", "secret")
	s := stand(t, "normal", camera.Spec{
		Name: "nest", Address: "/base/soc/i2c0mux/i2c@0/ov5647@36",
		Options: map[string]string{"hflip": "1", "roi": "0:0:0.5:0.5", "ev": "-0.5", "quality": "60"},
	})
	if _, err := all(t.Context(), s, camera.Want{Width: 640, FPS: 12.5}, 1); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(string(b), "\n")
	want := []string{
		"--nopreview", "--timeout=0", "--flush", "--output=-", "--width=640", "--height=360", "--framerate=12.5",
		"--camera=1", "--codec=mjpeg", "--ev=-0.5", "--hflip=1", "--quality=60", "--roi=0,0,0.5,0.5",
	}
	if !slices.Equal(lines[:len(want)], want) {
		t.Errorf("got  %q\nwant %q", lines[:len(want)], want)
	}
	if strings.Contains(string(b), "secret") {
		t.Error("the child was told the token")
	}
	h264 := (&Source{}).arguments("", camera.Want{Format: camera.H264, FPS: 15})
	for _, arg := range []string{"--codec=h264", "--inline", "--intra=15"} {
		if !slices.Contains(h264, arg) {
			t.Errorf("H.264 without %s: %q", arg, h264)
		}
	}
}

func TestListIsUnderstood(t *testing.T) {
	got := parseList([]byte(list))
	if len(got) != 2 {
		t.Fatalf("%d cameras, want two: webcams are not of this kind", len(got))
	}
	c := got[0]
	if c.Number != 0 || c.Model != "imx708_wide" || c.ID != "/base/soc/i2c0mux/i2c@1/imx708@1a" {
		t.Errorf("got %+v", c)
	}
	want := []camera.Mode{{Format: camera.MJPEG, Width: 1536, Height: 864, FPS: 130}, {Format: camera.MJPEG, Width: 2304, Height: 1296, FPS: 56.03}}
	if !slices.Equal(c.Modes, want) {
		t.Errorf("modes %+v, want %+v", c.Modes, want)
	}
	if got := parseList([]byte("No cameras available!\n")); len(got) != 0 {
		t.Errorf("got %+v of none", got)
	}
}

func TestMissingCameraAndProgramAreSaid(t *testing.T) {
	t.Setenv("STAND_IN_LIST", "No cameras available!\n")
	if _, err := stand(t, "normal", camera.Spec{Name: "nest", Address: "1"}).Describe(t.Context()); !errors.Is(err, camera.ErrAbsent) {
		t.Errorf("no camera: %v", err)
	}
	s, err := New(camera.Spec{Name: "nest"}, Tools{Video: []string{"/no/such/program"}})
	if err != nil {
		t.Fatal(err)
	}
	_, err = all(t.Context(), s, camera.Want{}, 1)
	if !errors.Is(err, camera.ErrAbsent) || !strings.Contains(err.Error(), "apt install") {
		t.Errorf("no program: %v", err)
	}
}

func TestNewListsAllThatIsWrong(t *testing.T) {
	_, err := New(camera.Spec{
		Name: "nest", Kind: "rpicam", Address: "left",
		Want:    camera.Want{Format: camera.YUYV},
		Options: map[string]string{"output": "/etc/passwd", "ev": "1 --output=x"},
	}, Tools{})
	for _, part := range []string{"mjpeg and h264", `address "left"`, `no key "output"`, "ev=1 --output=x"} {
		if err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("%q is not in %v", part, err)
		}
	}
}
