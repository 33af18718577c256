//go:build linux && cgo

package v4l2

import (
	"errors"
	"strings"
	"testing"

	"github.com/perchcam/perch/pkg/camera"
)

func TestChooseFormat(t *testing.T) {
	rgb := camera.Format('R' | 'G'<<8 | 'B'<<16 | '3'<<24)
	for _, c := range []struct {
		list       []camera.Format
		want, gets camera.Format
	}{
		{[]camera.Format{camera.YUYV, camera.MJPEG, camera.H264}, 0, camera.MJPEG},
		{[]camera.Format{camera.YUYV, camera.H264}, 0, camera.YUYV},
		{[]camera.Format{camera.YUYV, camera.H264}, camera.H264, camera.H264},
		{[]camera.Format{camera.JPEG, camera.YUYV}, camera.MJPEG, camera.JPEG},
		{[]camera.Format{camera.YUYV}, camera.MJPEG, 0},
		{[]camera.Format{rgb}, 0, 0},
		{nil, 0, 0},
	} {
		if got := chooseFormat(c.list, c.want); got != c.gets {
			t.Errorf("%v, wanted %v: got %v, want %v", c.list, c.want, got, c.gets)
		}
	}
}

func TestChooseSizeTakesTheNearest(t *testing.T) {
	fixed := func(wh ...int) (list []sizes) {
		for i := 0; i < len(wh); i += 2 {
			list = append(list, sizes{minW: wh[i], minH: wh[i+1], maxW: wh[i], maxH: wh[i+1]})
		}
		return list
	}
	webcam := fixed(160, 120, 320, 240, 640, 480, 1280, 720, 1920, 1080)
	scaler := []sizes{{minW: 16, minH: 16, maxW: 2592, maxH: 1944, stepW: 16, stepH: 2}}
	for _, c := range []struct {
		list   []sizes
		format camera.Format
		want   camera.Want
		w, h   int
	}{
		{webcam, camera.MJPEG, camera.Want{}, 1280, 720},
		{webcam, camera.YUYV, camera.Want{}, 640, 480},
		{webcam, camera.MJPEG, camera.Want{Width: 1920, Height: 1080}, 1920, 1080},
		{webcam, camera.MJPEG, camera.Want{Width: 4000, Height: 3000}, 1920, 1080},
		{webcam, camera.MJPEG, camera.Want{Width: 1000, Height: 700}, 1280, 720},
		{webcam, camera.MJPEG, camera.Want{Height: 720}, 1280, 720},
		{webcam, camera.MJPEG, camera.Want{Width: 300}, 320, 240},
		{scaler, camera.YUYV, camera.Want{Width: 1001, Height: 501}, 1008, 502},
		{scaler, camera.YUYV, camera.Want{Width: 5000}, 2592, 1944},
		{nil, camera.YUYV, camera.Want{Width: 800, Height: 600}, 800, 600},
		{nil, camera.YUYV, camera.Want{Width: 800}, 800, 450},
	} {
		m := chooseSize(c.list, c.format, c.want)
		if m.Width != c.w || m.Height != c.h {
			t.Errorf("%+v of %v: got %d×%d, want %d×%d", c.want, c.list, m.Width, m.Height, c.w, c.h)
		}
	}
}

// Capabilities of nodes as they were reported for real devices: a webcam and
// its metadata node, and those of a Raspberry Pi 4 (camera-streamer
// debug/raspi4.txt).
func TestNodesAreToldApart(t *testing.T) {
	for _, c := range []struct {
		driver string
		caps   uint32
		says   string
	}{
		{"uvcvideo", 0x04200001, ""},
		{"vivid", 0x05200001, ""},
		{"uvcvideo", 0x04a00000, "metadata node"},
		{"unicam", 0x25200001, "kind rpicam"},
		{"rp1-cfe", 0x2c200001, "kind rpicam"},
		{"other-csi", 0x25200001, "kind rpicam"},
		{"bcm2835-isp", 0x04200001, "kind rpicam"},
		{"bcm2835-codec", 0x04204000, "codec"},
		{"rkisp", 0x04201000, "multi-planar"},
		{"vivid", 0x05200002, "not a camera"},
		{"old", 0x01000001, "without streaming"},
	} {
		err := usable(c.driver, c.caps)
		if c.says == "" {
			if err != nil {
				t.Errorf("%s %#x: %v", c.driver, c.caps, err)
			}
			continue
		}
		if !errors.Is(err, camera.ErrUnsupported) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s %#x: %v, want %q", c.driver, c.caps, err, c.says)
		}
	}
}
