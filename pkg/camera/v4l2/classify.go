//go:build linux && cgo

package v4l2

import (
	"fmt"

	"github.com/perchcam/perch/pkg/camera"
)

// Capability bits of a node (include/uapi/linux/videodev2.h).
const (
	capVideoCapture       = 0x00000001
	capVideoOutput        = 0x00000002
	capVideoCaptureMPlane = 0x00001000
	capVideoM2MMPlane     = 0x00004000
	capVideoM2M           = 0x00008000
	capMetaCapture        = 0x00800000
	capStreaming          = 0x04000000
	capIOMC               = 0x20000000
)

// receivers are the drivers of a Pi's ribbon connector and of the image
// processor behind it. Their nodes give raw sensor data at best.
var receivers = map[string]bool{
	"unicam": true, "bcm2835-unicam": true, "rp1-cfe": true,
	"bcm2835-isp": true, "pispbe": true,
}

// usable tells whether a node is a camera that can be streamed from as it is;
// if not, the error says what the node is and what to use instead. caps are
// the node's own (device_caps), not those of the whole device, which are the
// same for a webcam's picture and metadata nodes.
func usable(driver string, caps uint32) error {
	what := ""
	switch {
	case receivers[driver], caps&capIOMC != 0:
		what = "the receiver of a ribbon (CSI) camera, which libcamera drives: use kind rpicam for this camera"
	case caps&(capVideoM2M|capVideoM2MMPlane) != 0:
		what = "a video codec, not a camera"
	case caps&capMetaCapture != 0:
		what = "the metadata node of a camera: use the node with the next lower number"
	case caps&capVideoCapture == 0 && caps&capVideoCaptureMPlane != 0:
		what = "a multi-planar node, which this program does not read"
	case caps&capVideoCapture == 0:
		what = "not a camera"
	case caps&capStreaming == 0:
		what = "a camera without streaming input, which this program does not read"
	default:
		return nil
	}
	return fmt.Errorf("this is %s (driver %s, capabilities %#08x): %w", what, driver, caps, camera.ErrUnsupported)
}
