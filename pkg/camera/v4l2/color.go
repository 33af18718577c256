//go:build linux && cgo

package v4l2

import "github.com/perchcam/perch/pkg/camera"

// Values of include/uapi/linux/videodev2.h.
const (
	spaceRec709 = 3
	spaceJPEG   = 7
	spaceDCIP3  = 12

	encodingDefault = 0
	encodingRec709  = 2
	encodingXV709   = 4

	rangeDefault = 0
	rangeLimited = 2
)

// meaning is what the numbers of a raw format mean, by the rules with which the
// kernel fills in what a driver leaves open (V4L2_MAP_YCBCR_ENC_DEFAULT and
// V4L2_MAP_QUANTIZATION_DEFAULT): YUV is of the limited range, unless its
// colour space is JPEG's. Grey sensors are taken at their word only, for most
// leave it open and use the full range.
func meaning(f camera.Format, space, encoding, quantization uint32) camera.Color {
	if encoding == encodingDefault && (space == spaceRec709 || space == spaceDCIP3) {
		encoding = encodingRec709
	}
	if quantization == rangeDefault && space != spaceJPEG && f != camera.GREY {
		quantization = rangeLimited
	}
	return camera.Color{
		Limited: quantization == rangeLimited,
		Rec709:  encoding == encodingRec709 || encoding == encodingXV709,
	}
}
