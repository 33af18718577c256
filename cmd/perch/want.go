package main

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"
)

// picture says which pictures are wanted, as flags.
type picture struct {
	camera  string
	size    pixels
	quality int
	wait    time.Duration
}

func (p *picture) flags(f *pflag.FlagSet) {
	f.StringVar(&p.camera, "camera", "", "`NAME` of the camera (default the device's first)")
	f.Var(&p.size, "size", "`WxH` in pixels, at most (default the camera's own)")
	f.IntVar(&p.quality, "quality", 0, "of the JPEG, `1-100` (default the device's choice)")
	f.DurationVar(&p.wait, "wait", 0, "how long to wait for a device that is away (default the broker's choice)")
}

// pixels is a size such as 640x480, as a flag.
type pixels struct{ w, h int }

func (p *pixels) Type() string { return "WxH" }

func (p *pixels) String() string {
	if *p == (pixels{}) {
		return ""
	}
	return fmt.Sprintf("%dx%d", p.w, p.h)
}

func (p *pixels) Set(s string) error {
	w, h, ok := strings.Cut(strings.ToLower(s), "x")
	var err1, err2 error
	p.w, err1 = strconv.Atoi(w)
	p.h, err2 = strconv.Atoi(h)
	if !ok || err1 != nil || err2 != nil || p.w < 1 || p.h < 1 {
		return errors.New("it must be like 640x480")
	}
	return nil
}
