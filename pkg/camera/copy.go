package camera

import "github.com/perchcam/perch/pkg/camera/internal/mjpeg"

// Bounds of one frame, against a driver that reports nonsense. The largest
// sensor for a Pi has 64 million pixels.
const (
	maxFrame = 64 << 20
	maxSide  = 1 << 14
)

// copyFrame copies a frame out of the camera's memory, into buf if it is raw
// and fits; a raw one in the form in which it will be encoded. A frame that is
// no whole picture is refused, with the reason.
func copyFrame(f Frame, buf []byte) (*shot, string) {
	s := &shot{mono: f.Mono, format: f.Format, width: f.Width, height: f.Height}
	switch {
	case len(f.Data) == 0:
		return nil, DropEmpty
	case len(f.Data) > maxFrame:
		return nil, DropTooBig
	case f.Format.isJPEG():
		l, err := mjpeg.Walk(f.Data)
		if err != nil {
			return nil, DropTorn
		}
		if l.Width > maxSide || l.Height > maxSide {
			return nil, DropTooBig
		}
		s.width, s.height = l.Width, l.Height // what is in it counts, not what was agreed
		s.data = l.Append(make([]byte, 0, l.Size()), f.Data)
		return s, ""
	case f.Format == H264:
		s.data = append([]byte(nil), f.Data...)
		return s, ""
	}
	if s.width <= 0 || s.height <= 0 || s.width > maxSide || s.height > maxSide || f.Stride > maxFrame {
		return nil, DropBadSize
	}
	stride := max(f.Stride, f.Format.rowBytes(s.width))
	n := f.Format.size(stride, s.height)
	if n <= 0 || len(f.Data) < n {
		return nil, DropBadSize
	}
	s.data = sized(buf, planarSize(f.Format, s.width, s.height))
	unpack(s.data, f, stride)
	return s, ""
}
