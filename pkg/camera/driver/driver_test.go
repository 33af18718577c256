package driver

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/perchcam/perch/pkg/camera"
	"github.com/perchcam/perch/pkg/camera/rpicam"
)

func TestOpenKnowsEveryKind(t *testing.T) {
	for _, s := range []string{"a=pattern", "a=replay:/tmp/x", "a=rpicam", "a=v4l2:/dev/video0"} {
		spec, err := camera.ParseSpec(s)
		if err != nil {
			t.Fatal(err)
		}
		src, err := Open(spec)
		if spec.Kind == camera.KindV4L2 && errors.Is(err, camera.ErrUnsupported) {
			continue // a build without cgo
		}
		if err != nil || src == nil {
			t.Errorf("%s: %v, %v", s, src, err)
		}
	}
}

func TestOpenRefuses(t *testing.T) {
	for _, spec := range []camera.Spec{
		{Name: "a", Kind: "webcam"},
		{Kind: camera.KindAuto},
		{Name: "a", Kind: camera.KindPattern, Want: camera.Want{Format: camera.H264}},
		{Name: "a", Kind: camera.KindReplay, Address: "x", Options: map[string]string{"loop": "1"}},
		{Name: "a", Kind: camera.KindRpicam, Options: map[string]string{"output": "x"}},
		{Name: "a", Kind: camera.KindV4L2, Address: "/dev/video0", Options: map[string]string{"output": "x"}},
	} {
		if src, err := Open(spec); err == nil || src != nil {
			t.Errorf("%s: %v, %v", spec, src, err)
		}
	}
}

func TestExpandLeavesOutWhatIsNamed(t *testing.T) {
	dev := t.TempDir()
	node, link := filepath.Join(dev, "video0"), filepath.Join(dev, "by-id-cam")
	if err := os.WriteFile(node, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(node, link); err != nil {
		t.Fatal(err)
	}
	found := []camera.Spec{
		{Name: "hd-webcam", Kind: camera.KindV4L2, Address: link},
		{Name: "yard", Kind: camera.KindV4L2, Address: "/dev/video7"},
		{Name: "imx708", Kind: camera.KindRpicam, Address: "0"},
	}
	specs := []camera.Spec{
		{Name: "yard", Kind: camera.KindV4L2, Address: node}, // the same camera as hd-webcam
		{Kind: camera.KindAuto},
		{Name: "nest", Kind: camera.KindRpicam}, // the same as imx708
	}
	got := expand(specs, func() []camera.Spec { return found })
	want := []camera.Spec{
		specs[0],
		{Name: "yard-2", Kind: camera.KindV4L2, Address: "/dev/video7"},
		specs[2],
	}
	if d := cmp.Diff(want, got, cmpopts.IgnoreFields(camera.Want{}, "Dropped")); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
}

func TestRibbonCamerasAreNamedAfterTheirSensors(t *testing.T) {
	one := []rpicam.Listed{{Number: 0, Model: "imx708_wide", ID: "/base/soc/i2c0mux/i2c@1/imx708@1a"}}
	three := append(one, rpicam.Listed{Number: 1, Model: "OV5647", ID: "/base/a"}, rpicam.Listed{Number: 2, Model: "imx708_wide", ID: "/base/b"})
	for _, c := range []struct {
		list []rpicam.Listed
		want []string
	}{
		{nil, nil},
		{one, []string{"imx708_wide=rpicam:0"}},
		{three, []string{"imx708_wide-0=rpicam:/base/soc/i2c0mux/i2c@1/imx708@1a", "ov5647=rpicam:/base/a", "imx708_wide-2=rpicam:/base/b"}},
	} {
		var got []string
		for _, s := range ribbons(c.list) {
			got = append(got, s.String())
		}
		if d := cmp.Diff(c.want, got); d != "" {
			t.Errorf("(-want +got)\n%s", d)
		}
	}
}
