package rpicam

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/perchcam/perch/pkg/camera"
)

// Listed is one camera in the answer of rpicam-hello --list-cameras.
type Listed struct {
	Number int
	Model  string // of the sensor
	ID     string // its place in the device tree: stays when cameras are added
	Modes  []camera.Mode
}

// listLimit bounds a program that hangs, as it does when a driver does.
const listLimit = 10 * time.Second

// List asks rpicam-hello for the ribbon cameras. None is no error.
func List(ctx context.Context, tools Tools) ([]Listed, error) {
	path, err := look(tools.Hello)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, listLimit)
	defer cancel()
	c, err := start(ctx, path, "--list-cameras")
	if err != nil {
		return nil, err
	}
	text, err := io.ReadAll(io.LimitReader(c.out, 1<<20))
	if err == nil {
		err = io.EOF
	}
	if err := c.end(err); err != nil && !c.ok() {
		return nil, err
	}
	return parseList(text), nil
}

var (
	// 0 : imx708_wide [4608x2592 10-bit RGGB] (/base/soc/i2c0mux/i2c@1/imx708@1a)
	cameraLine = regexp.MustCompile(`^\s*(\d+) : (\S+) .*\((/\S+)\)\s*$`)
	// 'SRGGB10_CSI2P' : 1536x864 [120.13 fps - (768, 432)/3072x1728 crop]
	modeText = regexp.MustCompile(`(\d+)x(\d+) \[(?:([0-9.]+) fps)?`)
)

// parseList reads what rpicam-hello prints (rpicam-apps core/options.cpp).
// Lines it does not know are passed over.
func parseList(text []byte) []Listed {
	var list []Listed
	lines := bufio.NewScanner(bytes.NewReader(text))
	for lines.Scan() {
		line := lines.Text()
		if m := cameraLine.FindStringSubmatch(line); m != nil {
			n, err := strconv.Atoi(m[1])
			if err == nil && !strings.Contains(m[3], "/usb") { // webcams are of kind v4l2
				list = append(list, Listed{Number: n, Model: m[2], ID: m[3]})
			}
			continue
		}
		if len(list) == 0 {
			continue
		}
		last := &list[len(list)-1]
		for _, m := range modeText.FindAllStringSubmatch(line, -1) {
			w, _ := strconv.Atoi(m[1]) // digits only; too many give the largest number
			h, _ := strconv.Atoi(m[2])
			fps, _ := strconv.ParseFloat(m[3], 64) // 0 where none is said
			mode := camera.Mode{Format: camera.MJPEG, Width: w, Height: h, FPS: fps}
			// The same size in several raw formats is one to us; the faster counts.
			i := slices.IndexFunc(last.Modes, func(o camera.Mode) bool { return o.Width == w && o.Height == h })
			if i < 0 {
				last.Modes = append(last.Modes, mode)
			} else {
				last.Modes[i].FPS = max(last.Modes[i].FPS, fps)
			}
		}
	}
	return list
}
