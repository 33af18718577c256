// Command feed is the webcam that the kernel's virtual cameras are not: it plays JPEG files over and over into a v4l2loopback device, so
// that whoever reads it has a camera that gives MJPEG.
//
//	feed /dev/video8 1280x720 30 1.jpg 2.jpg …
//
// It says "playing" when the first picture has been written; before that the device has no format to capture. It plays until it is killed.
package main

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

func main() {
	if err := play(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "feed:", err)
		os.Exit(1)
	}
}

func play(args []string) error {
	if len(args) < 4 {
		return errors.New("usage: feed DEVICE WIDTHxHEIGHT FPS FILE and more files")
	}
	var width, height uint32
	if _, err := fmt.Sscanf(args[1], "%dx%d", &width, &height); err != nil {
		return fmt.Errorf("%q is not WIDTHxHEIGHT", args[1])
	}
	fps, err := strconv.ParseFloat(args[2], 64)
	if err != nil || fps <= 0 {
		return fmt.Errorf("%q is not a rate", args[2])
	}
	var pictures [][]byte
	for _, file := range args[3:] {
		data, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		pictures = append(pictures, data)
	}
	fd, err := unix.Open(args[0], unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("cannot open %s: %w", args[0], err)
	}
	defer unix.Close(fd)
	if err := setFormat(fd, width, height); err != nil {
		return fmt.Errorf("cannot set the format of %s: %w", args[0], err)
	}
	tick := time.NewTicker(time.Duration(float64(time.Second) / fps))
	defer tick.Stop()
	for n := 0; ; n++ {
		if _, err := unix.Write(fd, pictures[n%len(pictures)]); err != nil {
			return fmt.Errorf("cannot write to %s: %w", args[0], err)
		}
		if n == 0 {
			fmt.Println("playing")
		}
		<-tick.C
	}
}

// setFormat makes the device one that is written MJPEG to.
func setFormat(fd int, width, height uint32) error {
	const (
		output = 2 // V4L2_BUF_TYPE_VIDEO_OUTPUT
		mjpeg  = 'M' | 'J'<<8 | 'P'<<16 | 'G'<<24
	)
	// struct v4l2_format: the type, then (after 4 bytes where pointers have 8) struct v4l2_pix_format in a union of 200 bytes.
	type pix struct{ width, height, format, field, line, size, space, priv, flags, enc, quant, xfer uint32 }
	set := struct {
		kind uint32
		_    [unsafe.Sizeof(uintptr(0)) - 4]byte
		pix  pix
		_    [200 - unsafe.Sizeof(pix{})]byte
	}{kind: output, pix: pix{width: width, height: height, format: mjpeg, field: 1, size: width * height}}
	request := uintptr(3<<30 | unsafe.Sizeof(set)<<16 | 'V'<<8 | 5) // VIDIOC_S_FMT
	if _, _, e := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), request, uintptr(unsafe.Pointer(&set))); e != 0 {
		return e
	}
	return nil
}
