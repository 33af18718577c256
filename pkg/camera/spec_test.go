package camera_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/perchcam/perch/pkg/camera"
)

func TestParseSpecs(t *testing.T) {
	got, err := camera.ParseSpecs(" yard=v4l2:/dev/v4l/by-path/platform-fd500000.pcie-pci-0000:01:00.0-usb-0:1.3:1.0-video-index0,width=1280,height=720,fps=12.5,format=MJPG ; " +
		"nest=rpicam:,format=h264,hflip=1,linger=30s; test=pattern; old=replay:/var/lib/clip.mjpeg,linger=0s;auto;")
	if err != nil {
		t.Fatal(err)
	}
	want := []camera.Spec{
		{
			Name: "yard", Kind: "v4l2", Address: "/dev/v4l/by-path/platform-fd500000.pcie-pci-0000:01:00.0-usb-0:1.3:1.0-video-index0",
			Want: camera.Want{Width: 1280, Height: 720, FPS: 12.5, Format: camera.MJPEG},
		},
		{Name: "nest", Kind: "rpicam", Want: camera.Want{Format: camera.H264}, Linger: 30 * time.Second, Options: map[string]string{"hflip": "1"}},
		{Name: "test", Kind: "pattern"},
		{Name: "old", Kind: "replay", Address: "/var/lib/clip.mjpeg", Linger: -1},
		{Kind: "auto"},
	}
	same := cmpopts.IgnoreFields(camera.Want{}, "Dropped")
	if d := cmp.Diff(want, got, same); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
	for _, s := range got { // what is written is read as the same
		again, err := camera.ParseSpec(s.String())
		if d := cmp.Diff(s, again, same); d != "" || err != nil {
			t.Errorf("%s: %v (-want +got)\n%s", s, err, d)
		}
	}
}

func TestParseSpecsTellsEverythingThatIsWrong(t *testing.T) {
	_, err := camera.ParseSpecs("Yard=v4l2:/dev/video0;b=webcam:1;c=v4l2;d=pattern,width=0,height=x,fps=-1,format=gif,linger=never,width=5,oops;e;f=pattern;f=pattern;auto;auto")
	for _, want := range []string{
		`camera "Yard": a name is`,
		`camera b: unknown kind "webcam"`,
		`camera c: kind v4l2 needs an address, as in c=v4l2:/dev/video0`,
		`camera d: width=0: a size is`,
		`camera d: height=x: a size is`,
		`camera d: fps=-1: a rate is`,
		`camera d: unknown picture format "gif"`,
		`camera d: linger=never: a time is`,
		`camera d: key width is given twice`,
		`camera d: "oops" is not key=value`,
		`camera "e": write it as`,
		`camera f is given twice`,
		`camera auto is given twice`,
	} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not in\n%v", want, err)
		}
	}
	for _, s := range []string{"", " ; ;"} {
		if _, err := camera.ParseSpecs(s); err == nil || !strings.Contains(err.Error(), `"auto"`) {
			t.Errorf("%q: %v", s, err)
		}
	}
}

func FuzzParseSpecs(f *testing.F) {
	f.Add("a=v4l2:/dev/video0,width=640;auto")
	f.Add("a=pattern,fps=1e3,linger=5m,x=y")
	f.Fuzz(func(t *testing.T, s string) {
		specs, err := camera.ParseSpecs(s)
		if err != nil {
			return
		}
		var parts []string
		for _, spec := range specs {
			parts = append(parts, spec.String())
		}
		again, err := camera.ParseSpecs(strings.Join(parts, ";"))
		if err != nil {
			t.Fatalf("%q was read, %q is not: %v", s, parts, err)
		}
		if d := cmp.Diff(specs, again, cmpopts.IgnoreFields(camera.Want{}, "Dropped"), cmpopts.EquateEmpty()); d != "" {
			t.Errorf("%q: %s", s, d)
		}
	})
}

func TestFormats(t *testing.T) {
	for s, want := range map[string]camera.Format{"mjpeg": camera.MJPEG, "MJPG": camera.MJPEG, "H264": camera.H264, "yuy2": camera.YUYV, "grey": camera.GREY, "i420": camera.YU12} {
		if got, err := camera.ParseFormat(s); got != want || err != nil {
			t.Errorf("%s: %v, %v", s, got, err)
		}
	}
	for _, f := range camera.Formats() {
		if got, err := camera.ParseFormat(f.String()); got != f || err != nil {
			t.Errorf("%s: %v, %v", f, got, err)
		}
	}
	if s := camera.Format(1).String(); s != "0x00000001" {
		t.Errorf("an unprintable code is %q", s)
	}
}
