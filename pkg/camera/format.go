package camera

import (
	"fmt"
	"slices"
	"strings"
)

// Format is a V4L2 fourcc: four characters, the first in the lowest byte
// (https://docs.kernel.org/userspace-api/media/v4l/pixfmt.html).
type Format uint32

// The formats that this package understands.
const (
	MJPEG Format = 'M' | 'J'<<8 | 'P'<<16 | 'G'<<24 // JPEG pictures, Huffman tables perhaps missing
	JPEG  Format = 'J' | 'P'<<8 | 'E'<<16 | 'G'<<24 // JPEG pictures
	H264  Format = 'H' | '2'<<8 | '6'<<16 | '4'<<24 // H.264 byte stream, one picture a frame
	YUYV  Format = 'Y' | 'U'<<8 | 'Y'<<16 | 'V'<<24 // packed 4:2:2, Y first
	UYVY  Format = 'U' | 'Y'<<8 | 'V'<<16 | 'Y'<<24 // packed 4:2:2, U first
	NV12  Format = 'N' | 'V'<<8 | '1'<<16 | '2'<<24 // Y plane, then U and V interleaved, 4:2:0
	YU12  Format = 'Y' | 'U'<<8 | '1'<<16 | '2'<<24 // Y, U and V planes, 4:2:0
	GREY  Format = 'G' | 'R'<<8 | 'E'<<16 | 'Y'<<24 // 8 bit luma only
)

// formats in order of preference: what costs the Pi least comes first.
var formats = []Format{MJPEG, JPEG, YU12, NV12, YUYV, UYVY, GREY, H264}

// Formats lists the formats that this package understands, those that cost
// least first.
func Formats() []Format { return slices.Clone(formats) }

// String gives the four characters, or hexadecimal if they are not printable.
func (f Format) String() string {
	if f == 0 {
		return "any"
	}
	b := [4]byte{byte(f), byte(f >> 8), byte(f >> 16), byte(f >> 24)}
	for _, c := range b {
		if c < ' ' || c > '~' {
			return fmt.Sprintf("%#08x", uint32(f))
		}
	}
	return strings.TrimRight(string(b[:]), " ")
}

// ParseFormat reads a fourcc or a common name (mjpeg, jpeg, h264, yuyv …),
// upper or lower case.
func ParseFormat(s string) (Format, error) {
	switch up := strings.ToUpper(s); up {
	case "MJPEG", "MJPG":
		return MJPEG, nil
	case "I420", "YUV420":
		return YU12, nil
	case "YUY2":
		return YUYV, nil
	case "GRAY":
		return GREY, nil
	default:
		for _, f := range formats {
			if f.String() == up {
				return f, nil
			}
		}
	}
	return 0, fmt.Errorf("unknown picture format %q; known are mjpeg, jpeg, h264, yuyv, uyvy, nv12, yu12, grey", s)
}

// Compressed tells whether the format's frames vary in length.
func (f Format) Compressed() bool { return f == MJPEG || f == JPEG || f == H264 }

// isJPEG tells whether frames of this format are JPEG pictures.
func (f Format) isJPEG() bool { return f == MJPEG || f == JPEG }

// size is the number of bytes of a raw frame, 0 for a compressed format.
func (f Format) size(stride, height int) int {
	switch f {
	case YUYV, UYVY, GREY:
		return stride * height
	case NV12:
		return stride*height + stride*((height+1)/2)
	case YU12:
		return stride*height + 2*((stride+1)/2)*((height+1)/2)
	}
	return 0
}

// rowBytes is the least length of a row of the first plane, 0 for a compressed format.
func (f Format) rowBytes(width int) int {
	even := (width + 1) &^ 1
	switch f {
	case YUYV, UYVY:
		return 2 * even
	case NV12, YU12:
		return even
	case GREY:
		return width
	}
	return 0
}
