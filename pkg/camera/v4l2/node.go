//go:build linux && cgo

package v4l2

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
	"unsafe"

	"github.com/vladimirvivien/go4vl/v4l2"
	"golang.org/x/sys/unix"

	"github.com/perchcam/perch/pkg/camera"
)

// kernel is a node as the kernel has it, by go4vl's wrappers of ioctl(2),
// except where v0.3.0 is wrong for us:
//   - DQBUF and QBUF are ours: its error hides whether the device is gone or
//     broken (send, syscalls.go), its stamp loses the microseconds where C's
//     time_t has 64 bits and a long has 32 (makeBuffer, streaming.go), and
//     it keeps the structure on the goroutine's stack while only a number
//     points to it (see firm).
//   - Descriptors are opened by us, with O_CLOEXEC.
//   - Frame intervals are read where they are discrete only: getFrameInterval
//     reads others 8 bytes too far on.
//   - Of a format only size, format and field are set, and what the driver
//     chose is read by ourselves: PixFormat has two fields where C has one
//     union, so what follows them is shifted.
type kernel struct {
	file  int
	path  string
	count uint32
	maps  [][]byte
}

// openNode opens a device and checks that it is a camera.
func openNode(path string) (*kernel, v4l2.Capability, error) {
	file, err := unix.Open(path, unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, v4l2.Capability{}, sentence("open", path, err)
	}
	k := &kernel{file: file, path: path}
	firm()
	c, err := v4l2.GetCapability(k.Fd())
	if err == nil {
		err = usable(c.Driver, c.GetCapabilities())
	} else {
		err = fmt.Errorf("not a camera: %w", k.errno(err))
	}
	if err != nil {
		unix.Close(file)
		return nil, c, sentence("use", path, err)
	}
	return k, c, nil
}

// firm makes sure that the stack of this goroutine does not move during the
// next few calls. go4vl turns the address of a structure on the stack into a
// number and calls two functions with it; if one of them had to grow the
// stack, the kernel would write to where the structure was. A stack that has
// just grown has room.
//
//go:noinline
func firm() byte {
	var room [8 << 10]byte
	for i := range room {
		room[i] = byte(i)
	}
	return room[len(room)-1]
}

// errno finds the number behind an error of go4vl, which hides ENODEV, EIO and
// others behind one text: an unplugged device answers every call with ENODEV.
func (k *kernel) errno(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, v4l2.ErrorSystem):
		var priority uint32
		if e := k.ioctl(vidiocGPriority, unsafe.Pointer(&priority)); errors.Is(e, unix.ENODEV) {
			return fmt.Errorf("%w (%w)", err, unix.ENODEV)
		}
		return fmt.Errorf("%w (%w)", err, unix.EIO)
	case errors.Is(err, v4l2.ErrorBadArgument):
		return fmt.Errorf("%w (%w)", err, unix.EINVAL)
	case errors.Is(err, v4l2.ErrorUnsupported):
		return fmt.Errorf("%w (%w)", err, unix.ENOTTY)
	}
	return err
}

// ioctl calls ioctl(2) again as long as a signal comes between.
func (k *kernel) ioctl(request uintptr, arg unsafe.Pointer) error {
	for {
		_, _, e := unix.Syscall(unix.SYS_IOCTL, uintptr(k.file), request, uintptr(arg))
		switch e {
		case 0:
			return nil
		case unix.EINTR:
			continue
		}
		return e
	}
}

func (k *kernel) fd() int { return k.file }

func (k *kernel) close() error { return unix.Close(k.file) }

func (k *kernel) formats() ([]camera.Format, error) {
	firm()
	all, err := v4l2.GetAllFormatDescriptions(k.Fd())
	if err != nil && len(all) == 0 {
		if err = k.errno(err); errors.Is(err, unix.EINVAL) {
			return nil, fmt.Errorf("it lists none; a loopback device has formats only while something writes to it: %w", unix.ENODEV)
		}
		return nil, err
	}
	var known []camera.Format
	for _, f := range all {
		if f := camera.Format(f.PixelFormat); slices.Contains(camera.Formats(), f) {
			known = append(known, f)
		}
	}
	return known, nil
}

func (k *kernel) sizes(f camera.Format) []sizes {
	firm()
	all, _ := v4l2.GetFormatFrameSizes(k.Fd(), uint32(f)) // not every driver can
	var list []sizes
	for _, s := range all {
		list = append(list, sizes{
			minW: int(s.Size.MinWidth), minH: int(s.Size.MinHeight),
			maxW: int(s.Size.MaxWidth), maxH: int(s.Size.MaxHeight),
			stepW: int(s.Size.StepWidth), stepH: int(s.Size.StepHeight),
		})
	}
	return list
}

// modes lists everything, for people to read.
func (k *kernel) modes() ([]camera.Mode, error) {
	formats, err := k.formats()
	if err != nil {
		return nil, err
	}
	var list []camera.Mode
	for _, f := range formats {
		for _, s := range k.sizes(f) {
			list = append(list, camera.Mode{Format: f, Width: s.maxW, Height: s.maxH, FPS: k.fastest(uint32(f), uint32(s.maxW), uint32(s.maxH))})
		}
	}
	return list, nil
}

// fastest is the highest listed rate, 0 if none is.
func (k *kernel) fastest(format, w, h uint32) float64 {
	best := 0.0
	for i := range uint32(64) {
		firm()
		iv, err := v4l2.GetFormatFrameInterval(k.Fd(), i, format, w, h)
		if err != nil || iv.Type != v4l2.FrameIntervalTypeDiscrete {
			break
		}
		if p := period(iv.Interval.Min); p > 0 {
			best = max(best, float64(time.Second)/float64(p))
		}
	}
	return best
}

func (k *kernel) setFormat(m camera.Mode) error {
	firm()
	return k.errno(v4l2.SetPixFormat(k.Fd(), v4l2.PixFormat{
		Width: uint32(m.Width), Height: uint32(m.Height),
		PixelFormat: uint32(m.Format), Field: v4l2.FieldAny,
	}))
}

func (k *kernel) format() (picture, error) {
	f := rawFormat{kind: v4l2.BufTypeVideoCapture}
	if err := k.ioctl(vidiocGFmt, unsafe.Pointer(&f)); err != nil {
		return picture{}, err
	}
	p := f.pix
	return picture{
		format: camera.Format(p.format),
		width:  int(p.width), height: int(p.height), stride: int(p.line),
		color: meaning(camera.Format(p.format), p.space, p.encoding, p.quantization),
	}, nil
}

// rawFormat is struct v4l2_format: the type, then, where pointers want it, a union of 200 bytes.
type rawFormat struct {
	kind uint32
	_    [unsafe.Sizeof(uintptr(0)) - 4]byte
	pix  rawPix
	_    [200 - unsafe.Sizeof(rawPix{})]byte
}

// rawPix is struct v4l2_pix_format.
type rawPix struct{ width, height, format, field, line, size, space, priv, flags, encoding, quantization, transfer uint32 }

func (k *kernel) setRate(fps float64) (time.Duration, error) {
	const unit = 1000 // so that 12.5 and 29.97 can be said
	var p v4l2.StreamParam
	p.Capture.TimePerFrame = v4l2.Fract{Numerator: unit, Denominator: uint32(fps*unit + 0.5)}
	firm()
	err := v4l2.SetStreamParam(k.Fd(), k.BufferType(), p)
	firm()
	got, e := v4l2.GetStreamParam(k.Fd(), k.BufferType())
	if e != nil {
		return 0, k.errno(errors.Join(err, e))
	}
	return period(got.Capture.TimePerFrame), nil
}

// period is what a fraction of seconds comes to, 0 if it is none.
func period(f v4l2.Fract) time.Duration {
	if f.Denominator == 0 {
		return 0
	}
	return time.Duration(uint64(f.Numerator) * uint64(time.Second) / uint64(f.Denominator))
}

func (k *kernel) request(n int) (int, error) {
	k.count = uint32(n)
	firm()
	r, err := v4l2.InitBuffers(k)
	if err != nil {
		return 0, k.errno(err)
	}
	k.count = r.Count
	firm()
	for i := range k.count {
		b, err := v4l2.GetBuffer(k, i)
		if err != nil {
			return 0, k.errno(err)
		}
		m, err := unix.Mmap(k.file, int64(b.Info.Offset), int(b.Length), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
		if err != nil {
			return 0, err
		}
		k.maps = append(k.maps, m)
	}
	return int(k.count), nil
}

func (k *kernel) release() error {
	var errs []error
	for _, m := range k.maps {
		errs = append(errs, unix.Munmap(m))
	}
	k.maps = nil
	if k.count > 0 {
		firm()
		_, err := v4l2.ResetBuffers(k)
		errs = append(errs, k.errno(err))
		k.count = 0
	}
	return errors.Join(errs...)
}

func (k *kernel) on() error {
	firm()
	return k.errno(v4l2.StreamOn(k))
}

func (k *kernel) off() error {
	firm()
	return k.errno(v4l2.StreamOff(k))
}

// rawBuffer is struct v4l2_buffer, with times of 64 bits on every machine,
// which kernels since 5.6 take from 32-bit programs too.
type rawBuffer struct {
	index, kind, bytesused, flags, field uint32
	_                                    uint32 // where C aligns what follows
	sec, usec                            int64
	timecode                             [4]uint32
	sequence, memory                     uint32
	m                                    uintptr
	length, reserved2                    uint32
	request                              int32
}

// The ioctl numbers carry the size of their structure.
const (
	vidiocQbuf      = uintptr(3<<30 | unsafe.Sizeof(rawBuffer{})<<16 | 'V'<<8 | 15)
	vidiocDqbuf     = uintptr(3<<30 | unsafe.Sizeof(rawBuffer{})<<16 | 'V'<<8 | 17)
	vidiocGFmt      = uintptr(3<<30 | unsafe.Sizeof(rawFormat{})<<16 | 'V'<<8 | 4)
	vidiocSFmt      = uintptr(3<<30 | unsafe.Sizeof(rawFormat{})<<16 | 'V'<<8 | 5)
	vidiocGPriority = uintptr(2<<30 | 4<<16 | 'V'<<8 | 67)
)

func (k *kernel) queue(i int) error {
	b := rawBuffer{index: uint32(i), kind: v4l2.BufTypeVideoCapture, memory: v4l2.IOTypeMMAP}
	return k.ioctl(vidiocQbuf, unsafe.Pointer(&b))
}

func (k *kernel) dequeue() (buffer, error) {
	b := rawBuffer{kind: v4l2.BufTypeVideoCapture, memory: v4l2.IOTypeMMAP}
	if err := k.ioctl(vidiocDqbuf, unsafe.Pointer(&b)); err != nil {
		return buffer{}, err
	}
	if int(b.index) >= len(k.maps) || int(b.bytesused) > len(k.maps[b.index]) {
		return buffer{}, fmt.Errorf("the driver gave buffer %d with %d bytes: %w", b.index, b.bytesused, unix.EIO)
	}
	return buffer{
		index:     int(b.index),
		seq:       b.sequence,
		stamp:     time.Duration(b.sec)*time.Second + time.Duration(b.usec)*time.Microsecond,
		monotonic: b.flags&v4l2.BufFlagTimestampMask == v4l2.BufFlagTimestampMonotonic,
		damaged:   b.flags&v4l2.BufFlagError != 0,
		data:      k.maps[b.index][:b.bytesused],
	}, nil
}

// The rest is what go4vl's wrappers ask of a streaming device.

// Name is the device's path.
func (k *kernel) Name() string { return k.path }

// Fd is the descriptor.
func (k *kernel) Fd() uintptr { return uintptr(k.file) }

// Capability is not used by the wrappers that are called here.
func (k *kernel) Capability() v4l2.Capability { return v4l2.Capability{} }

// MemIOType says that buffers are mapped.
func (k *kernel) MemIOType() v4l2.IOType { return v4l2.IOTypeMMAP }

// GetOutput is not used: dequeue gives the frames.
func (k *kernel) GetOutput() <-chan []byte { return nil }

// SetInput is not used: this is a capture.
func (k *kernel) SetInput(<-chan []byte) {}

// Close closes the descriptor.
func (k *kernel) Close() error { return k.close() }

// Buffers are the mapped buffers.
func (k *kernel) Buffers() [][]byte { return k.maps }

// BufferType is capture of one plane.
func (k *kernel) BufferType() v4l2.BufType { return v4l2.BufTypeVideoCapture }

// BufferCount is the number of buffers.
func (k *kernel) BufferCount() uint32 { return k.count }

// Start is not used: capture starts.
func (k *kernel) Start(context.Context) error { return nil }

// Stop is not used: capture stops.
func (k *kernel) Stop() error { return nil }
