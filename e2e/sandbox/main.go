//go:build linux

// Command sandbox looks at the agent's sandbox from within. It runs on the virtual Pi under two names:
//
//	perch-probe                   what the unit must forbid, and what the features need: one line for each, "NAME ERROR"
//	rpicam-hello, rpicam-vid      stand-ins for Raspberry Pi's programs, which make the system calls that libcamera makes
//
// The calls are those of libcamera 0.5: src/libcamera/device_enumerator_udev.cpp (a netlink socket that is bound), the media
// controller and subdevices of the pipeline, dma_buf_allocator.cpp and shared_mem_object.cpp.
package main

import (
	"bytes"
	"fmt"
	"image"
	"image/color"
	"image/jpeg"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

func main() {
	switch name := filepath.Base(os.Args[0]); name {
	case "rpicam-hello":
		fmt.Print("Available cameras\n-----------------\n",
			"0 : imx708 [4608x2592 10-bit RGGB] (/base/soc/i2c0mux/i2c@1/imx708@1a)\n",
			"    Modes: 'SRGGB10_CSI2P' : 1536x864 [120.13 fps - (768, 432)/3072x1728 crop]\n")
	case "rpicam-vid":
		err := needed()
		if err == nil {
			err = shoot(os.Args[1:])
		}
		fmt.Fprintln(os.Stderr, "ERROR: *** failed to start camera:", err, "***")
		os.Exit(255)
	default:
		probe()
	}
}

// call is a system call, or a few.
type call struct {
	name string
	run  func() error
}

// needs are what libcamera does before the first picture.
var needs = []call{
	{"netlink", bindNetlink},
	{"media", func() error { return open("/dev/media0") }},
	{"subdevice", func() error { return open("/dev/v4l-subdev0") }},
	{"dma_heap", allocate},
	{"memfd", mapMemory},
	{"gpiochip", func() error { return open("/dev/gpiochip0") }},
}

// needed makes them, and returns the first that is forbidden. A device that is not there is another matter.
func needed() error {
	for _, c := range needs {
		if err := c.run(); err == unix.EPERM || err == unix.EACCES {
			return fmt.Errorf("%s: %w", c.name, err)
		}
	}
	return nil
}

// probe prints what each call comes to.
func probe() {
	for _, c := range append([]call{
		{"listen", listen},
		{"accept", accept},
		{"device", func() error { return open("/dev/perch-probe") }}, // that everybody may open, elsewhere
		{"etc", func() error { return os.WriteFile("/etc/perch-probe", nil, 0o600) }},
		{"home", func() error { _, err := os.ReadDir("/root"); return err }},
		{"settime", func() error { return unix.Settimeofday(&unix.Timeval{Sec: 1}) }},
		{"namespace", func() error { return unix.Unshare(unix.CLONE_NEWUSER) }},
		{"executable", writeAndExecute},
	}, needs...) {
		fmt.Println(c.name, c.run())
	}
}

func open(path string) error {
	fd, err := unix.Open(path, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err == nil {
		_ = unix.Close(fd)
	}
	return err
}

// bindNetlink is libudev's monitor.
func bindNetlink() error {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_KOBJECT_UEVENT)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: 2})
}

// allocate takes a buffer from the first heap that is there, and maps it.
func allocate() error {
	var err error = unix.ENOENT
	for _, heap := range []string{"vidbuf_cached", "linux,cma", "reserved", "system"} {
		var fd int
		if fd, err = unix.Open("/dev/dma_heap/"+heap, unix.O_RDWR|unix.O_CLOEXEC, 0); err == unix.ENOENT {
			continue
		} else if err != nil {
			return err
		}
		defer unix.Close(fd)
		const size = 1 << 16
		// struct dma_heap_allocation_data and DMA_HEAP_IOCTL_ALLOC of linux/dma-heap.h
		data := struct {
			len   uint64
			fd    uint32
			flags uint32
			heap  uint64
		}{len: size, flags: unix.O_RDWR | unix.O_CLOEXEC}
		if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), 0xC0184800, uintptr(unsafe.Pointer(&data))); errno != 0 {
			return errno
		}
		defer unix.Close(int(data.fd))
		b, err := unix.Mmap(int(data.fd), 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
		if err != nil {
			return err
		}
		return unix.Munmap(b)
	}
	return err
}

func mapMemory() error {
	fd, err := unix.MemfdCreate("ipa", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if err := unix.Ftruncate(fd, 4096); err != nil {
		return err
	}
	b, err := unix.Mmap(fd, 0, 4096, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return err
	}
	return unix.Munmap(b)
}

// listen is what a server does. A socket that was never bound listens on a port of the kernel's choice.
func listen() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return unix.Listen(fd, 1)
}

// accept fails with EINVAL where it is allowed: nobody listens.
func accept() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	_, _, err = unix.Accept4(fd, unix.SOCK_CLOEXEC)
	return err
}

func writeAndExecute() error {
	b, err := unix.Mmap(-1, 0, 4096, unix.PROT_READ|unix.PROT_WRITE|unix.PROT_EXEC, unix.MAP_PRIVATE|unix.MAP_ANON)
	if err == nil {
		_ = unix.Munmap(b)
	}
	return err
}

// shoot writes pictures to standard output until nobody reads them, as rpicam-vid does with --output=-.
func shoot(args []string) error {
	option := func(name string, usual float64) float64 {
		for _, a := range args {
			if v, ok := strings.CutPrefix(a, "--"+name+"="); ok {
				if f, err := strconv.ParseFloat(v, 64); err == nil {
					return f
				}
			}
		}
		return usual
	}
	w, h := int(option("width", 640)), int(option("height", 480))
	tick := time.NewTicker(time.Duration(float64(time.Second) / option("framerate", 30)))
	var jpg bytes.Buffer
	img := image.NewGray(image.Rect(0, 0, w, h))
	for n := 0; ; n++ {
		for x := range w {
			img.SetGray(x, n%h, color.Gray{Y: uint8(n)})
		}
		jpg.Reset()
		if err := jpeg.Encode(&jpg, img, nil); err != nil {
			return err
		}
		if _, err := os.Stdout.Write(jpg.Bytes()); err != nil {
			return err
		}
		<-tick.C
	}
}
