package main

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// picture says which pictures are wanted, as flags.
type picture struct {
	camera  string
	size    pixels
	quality int
	wait    time.Duration
}

func (p *picture) flags(a *app, cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&p.camera, "camera", "", "`NAME` of the camera (default the device's first)")
	f.Var(&p.size, "size", "`WxH` in pixels that it must fit into, with the proportions it has (default the camera's own)")
	f.Var((*percent)(&p.quality), "quality", "of the JPEG, `1-100` (default the device's choice)")
	spanFlag(f, &p.wait, "wait", 0, "how long to wait for a device that is away, in addition to --timeout (default the broker's choice)")
	_ = cmd.RegisterFlagCompletionFunc("camera", a.completeCamera)
}

// number is how many of something, as a flag. 0 is not set.
type number uint32

func (n *number) Type() string { return "N" }

func (n *number) String() string {
	if *n == 0 {
		return ""
	}
	return strconv.FormatUint(uint64(*n), 10)
}

// Set implements pflag.Value.
func (n *number) Set(s string) error {
	v, err := strconv.ParseUint(s, 10, 31)
	if err != nil || v == 0 {
		return errors.New("it must be a whole number, 1 or more")
	}
	*n = number(v)
	return nil
}

// percent is a quality, as a flag. 0 is not set.
type percent int

func (q *percent) Type() string { return "1-100" }

func (q *percent) String() string {
	if *q == 0 {
		return ""
	}
	return strconv.Itoa(int(*q))
}

// Set implements pflag.Value.
func (q *percent) Set(s string) error {
	v, err := strconv.Atoi(s)
	if err != nil || v < 1 || v > 100 {
		return errors.New("it must be 1 to 100")
	}
	*q = percent(v)
	return nil
}

// span is a length of time, as a flag. 0 is not set.
type span time.Duration

func (d *span) Type() string { return "TIME" }

func (d *span) String() string {
	text := time.Duration(*d).String()
	for _, zero := range []string{"m0s", "h0m"} { // 1m is what people write, not 1m0s
		if strings.HasSuffix(text, zero) {
			text = text[:len(text)-2]
		}
	}
	if *d == 0 {
		return ""
	}
	return text
}

// Set implements pflag.Value.
func (d *span) Set(s string) error {
	v, err := time.ParseDuration(s)
	if err != nil || v <= 0 {
		return errors.New("it must be a time such as 500ms, 30s or 1h30m")
	}
	*d = span(v)
	return nil
}

func spanFlag(f *pflag.FlagSet, d *time.Duration, name string, value time.Duration, usage string) {
	*d = value
	f.Var((*span)(d), name, usage)
}

// Sides of a picture, in pixels.
const (
	minSide = 16    // of less there is nothing to see
	maxSide = 16384 // as pkg/api has it
)

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
	switch {
	case !ok || err1 != nil || err2 != nil || p.w < 1 || p.h < 1:
		return errors.New("it must be like 640x480")
	case max(p.w, p.h) > maxSide, min(p.w, p.h) < minSide:
		return fmt.Errorf("a side may have %d to %d pixels", minSide, maxSide)
	}
	return nil
}
