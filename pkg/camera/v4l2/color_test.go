//go:build linux && cgo

package v4l2

import (
	"testing"

	"github.com/perchcam/perch/pkg/camera"
)

func TestMeaningOfColorsIsTheKernels(t *testing.T) {
	const sRGB, full, rec601 = 8, 1, 1
	for _, c := range []struct {
		format                        camera.Format
		space, encoding, quantization uint32
		want                          camera.Color
	}{
		{camera.YUYV, sRGB, 0, 0, camera.Color{Limited: true}}, // a webcam
		{camera.YUYV, 0, 0, 0, camera.Color{Limited: true}},
		{camera.YUYV, sRGB, 0, full, camera.Color{}},
		{camera.YU12, spaceJPEG, 0, 0, camera.Color{}},
		{camera.YU12, spaceJPEG, 0, rangeLimited, camera.Color{Limited: true}},
		{camera.UYVY, spaceRec709, 0, 0, camera.Color{Limited: true, Rec709: true}}, // an HDMI receiver
		{camera.UYVY, spaceRec709, rec601, 0, camera.Color{Limited: true}},
		{camera.NV12, sRGB, encodingRec709, full, camera.Color{Rec709: true}},
		{camera.NV12, sRGB, encodingXV709, 0, camera.Color{Limited: true, Rec709: true}},
		{camera.GREY, sRGB, 0, 0, camera.Color{}},
		{camera.GREY, sRGB, 0, rangeLimited, camera.Color{Limited: true}},
	} {
		if got := meaning(c.format, c.space, c.encoding, c.quantization); got != c.want {
			t.Errorf("%s in space %d, encoding %d, quantization %d: %+v, want %+v", c.format, c.space, c.encoding, c.quantization, got, c.want)
		}
	}
}
