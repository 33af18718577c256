//go:build e2e

package e2e

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/perchcam/perch/pkg/api"
)

// TestCameras is what cameras do in the field, on the kernel's vivid and v4l2loopback: first pkg/camera/v4l2's own tests in the guest, as a
// 64-bit and as a 32-bit program, then names, a missing camera and a replug through the agent's package, broker and CLI.
func TestCameras(t *testing.T) {
	b := newBench(t)
	b.step("plug", func() {
		b.guest("modprobe vivid n_devs=2 node_types=0x1,0x1 num_inputs=1,1 input_types=0,0 && modprobe v4l2loopback video_nr=8 && udevadm settle && test -c /dev/video1")
	})
	b.step("64 bit", func() { b.drive("arm64", "aarch64-linux-gnu-gcc", "") })
	b.step("32 bit", func() { b.drive("arm", "arm-linux-gnueabi-gcc", "6") })
	b.step("unplug", func() { b.guest("rmmod v4l2loopback vivid") })
	b.step("hardware", b.plugCamera)
	b.step("install", b.install)
	b.step("configure", b.configure)
	b.step("names", b.names)
	b.step("replug", b.replug)
	b.step("renumber", b.renumber)
}

// kernelTests are those that need a camera of a kernel's.
const kernelTests = "Conformance|Modes.*|EveryFormat.*|Injected.*|Another.*|TwoCameras.*|Replug.*|Stall.*|Controls|Discovery|Loopback"

// drive runs the driver's tests in the guest, in a program for goarch. The guest's kernel runs those of 32 bits too: with the structures of
// the 32-bit interface, which are not those of 64 bits.
func (b *bench) drive(goarch, cc, goarm string) {
	name := "v4l2-" + goarch + ".test"
	cmd := exec.CommandContext(b.Context(), "go", "test", "-c", "-tags", "e2e,netgo,osusergo", "-ldflags", "-linkmode external -extldflags -static",
		"-o", filepath.Join(b.pi.Share(), name), "../pkg/camera/v4l2")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=1", "GOOS=linux", "GOARCH="+goarch, "GOARM="+goarm, "CC="+cc)
	if out, err := cmd.CombinedOutput(); err != nil {
		b.Fatalf("cannot build the driver's tests for %s: %v\n%s", goarch, err, out)
	}
	out, err := b.pi.Run(b.Context(), "cd /tmp && /host/"+name+" -test.v -test.timeout 110s -test.run '^Test("+kernelTests+")$'"+
		" -device /dev/video0 -vivid vivid.0 -second /dev/video1 -loopback /dev/video8 -cycles 10 2>&1")
	b.must(os.WriteFile(filepath.Join(b.ArtifactDir(), name+".log"), []byte(out), 0o644))
	if err != nil {
		b.Fatalf("the driver's tests fail on %s: %v", goarch, err)
	}
	passed := strings.Count(out, "\n--- PASS")
	for _, test := range []string{
		"TestConformance", "TestInjectedFaults/disconnect", "TestAnotherProcessHoldsTheCamera", "TestTwoCamerasAtOnce", "TestReplugThroughTheHub", "TestLoopback/conformance",
	} {
		if !strings.Contains(out, "--- PASS: "+test+" ") {
			b.Errorf("%s was not run on %s", test, goarch)
		}
	}
	for _, line := range regexp.MustCompile(`(?m)^.*(after the node was ready|frames, \d+ lost|after it was injected).*$`).FindAllString(out, -1) {
		b.Logf("%s: %s", goarch, strings.TrimSpace(line))
	}
	b.Logf("%s: %d tests passed", goarch, passed)
}

// named are the cameras of the device, by name.
func (b *bench) named(state string) map[string]api.Camera {
	b.Helper()
	var got map[string]api.Camera
	for limit := time.Now().Add(time.Minute); time.Now().Before(limit); time.Sleep(200 * time.Millisecond) {
		out, err := b.perch("cameras", device, "--json")
		if err != nil {
			continue // it is on its way
		}
		var list api.CameraList
		if err := json.Unmarshal(out, &list); err != nil {
			b.Fatalf("cannot read the list of cameras: %v\n%s", err, out)
		}
		got = make(map[string]api.Camera)
		for _, c := range list.Cameras {
			got[c.Name] = c
		}
		if got[vividName].State == state {
			return got
		}
	}
	b.Fatalf("%s is not %s: %+v", vividName, state, got)
	return nil
}

// vividName is what PERCH_CAMERAS=auto calls the camera: after its socket, for vivid has no serial number.
const vividName = "platform-vivid.0"

// names: a camera that is found is named by where it is, and one that its owner named and that is not there is in the log once, at the
// start, however often somebody asks for it.
func (b *bench) names() {
	b.guest(`echo 'PERCH_CAMERAS=gone=v4l2:/dev/v4l/by-id/usb-absent-video-index0;auto' >>/etc/default/perch-agent
systemctl restart perch-agent`)
	got := b.named(api.CameraIdle)
	if len(got) != 2 || got["gone"].State != api.CameraMissing {
		b.Errorf("cameras: %+v", got)
	}
	for range 3 {
		if _, err := b.perch("snapshot", device, "--camera", "gone", "-o", filepath.Join(b.TempDir(), "gone.jpg")); err == nil {
			b.Error("a camera that is not there gives a picture")
		}
	}
	journal := b.guest("journalctl -b -u perch-agent -o cat --since -5min | grep 'camera=gone' || true")
	if strings.Count(journal, "to=absent") != 1 || !strings.Contains(journal, "usb-absent") {
		b.Errorf("the log of the missing camera:\n%s", journal)
	}
}

// replug pulls the camera out while a laptop looks and plugs it in again: the pictures go on by themselves.
func (b *bench) replug() {
	const frames = 60
	dir := filepath.Join(b.TempDir(), "replug")
	done := make(chan error, 1)
	go func() {
		_, err := b.perch("stream", device, "--camera", vividName, "-n", strconv.Itoa(frames), "--fps", "10", "-o", dir)
		done <- err
	}()
	b.named(api.CameraActive)
	b.guest("echo vivid.0 >/sys/bus/platform/drivers/vivid/unbind")
	b.named(api.CameraMissing)
	b.guest("echo vivid.0 >/sys/bus/platform/drivers/vivid/bind")
	if err := <-done; err != nil {
		b.Fatal(err)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != frames {
		b.Errorf("%d pictures, %v", len(entries), err)
	}
}

// renumber boots with another device in the camera's old number: the camera has a new one, and its name.
func (b *bench) renumber() {
	b.guest("sync")
	b.must(b.pi.Reset(b.Context()))
	b.guest("systemctl is-system-running --wait || true")
	b.guest("modprobe v4l2loopback video_nr=0 && modprobe vivid n_devs=1 node_types=0x1 num_inputs=1 input_types=0 && udevadm settle && v4l2-ctl -d /dev/video1 --info | grep -w vivid")
	b.named(api.CameraIdle)
	file := filepath.Join(b.TempDir(), "renumbered.jpg")
	_, err := b.perch("snapshot", device, "--camera", vividName, "-o", file)
	b.must(err)
	data, err := os.ReadFile(file)
	b.must(err)
	b.must(checkVivid(data, 640, 480))
	if address := b.guest("readlink -f /dev/v4l/by-path/platform-vivid.0-video-index0"); address != "/dev/video1" {
		b.Errorf("the camera is %s, so nothing was shown", address)
	}
}
