package sense

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/perchcam/perch/pkg/gpio"
)

// channel is one quantity of a device of files: (value + offset) · scale · factor.
type channel struct {
	quantity, unit string
	value          string // paths
	offset, scale  string // "" = 0 and 1
	factor         float64
}

// files is a device of files.
type files struct {
	what     string
	channels []channel
}

// Close implements gpio.Sensor: nothing is held, so a driver can be unloaded.
func (f *files) Close() error { return nil }

// Read implements gpio.Sensor. A channel that has no value now (ENODATA, EAGAIN: the kernel's words for it) is left out as long as there
// is another; any other error is one of the device.
func (f *files) Read(ctx context.Context) ([]gpio.Value, error) {
	var values []gpio.Value
	var none error
	for _, c := range f.channels {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		v, err := c.read()
		switch {
		case errors.Is(err, syscall.ENODATA), errors.Is(err, syscall.EAGAIN), errors.Is(err, syscall.EOPNOTSUPP):
			none = err
		case err != nil:
			return nil, fmt.Errorf("cannot read %s of %s: %w", c.quantity, f.what, err)
		default:
			values = append(values, gpio.Value{Quantity: c.quantity, Value: v, Unit: c.unit})
		}
	}
	if len(values) == 0 {
		return nil, fmt.Errorf("cannot read %s: %w", f.what, errors.Join(none, errNoValue))
	}
	return values, nil
}

func (c *channel) read() (float64, error) {
	v, err := number(c.value)
	if err != nil {
		return 0, err
	}
	offset, scale := 0.0, 1.0
	if c.offset != "" {
		if offset, err = number(c.offset); err != nil {
			return 0, err
		}
	}
	if c.scale != "" {
		if scale, err = number(c.scale); err != nil {
			return 0, err
		}
	}
	return (v + offset) * scale * c.factor, nil
}

// number reads a file with one number in it.
func number(path string) (float64, error) {
	s, err := text(path)
	if err != nil {
		return 0, err
	}
	v, err := strconv.ParseFloat(s, 64)
	if err != nil {
		return 0, fmt.Errorf("%s says %q, which is no number", path, s)
	}
	return v, nil
}

// text reads a small file. An attribute of sysfs is at most a page.
func text(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, 4096))
	return string(bytes.TrimSpace(b)), err
}

// device is a directory of a class.
type device struct {
	dir   string
	names []string // by which an owner may call it
}

// find returns the one device of a class that is called name: by its own name or label, by the name of its directory ("hwmon3"), or by
// that of the device it belongs to ("1-0076", a chip at address 0x76 of bus 1), which tells two of a kind apart.
func find(kind, pattern, name string, files ...string) (string, error) {
	dirs, err := filepath.Glob(pattern)
	if err != nil {
		return "", err
	}
	var there []string
	var found []device
	for _, dir := range dirs {
		d := device{dir: dir}
		for _, file := range files {
			if s, err := text(filepath.Join(dir, file)); err == nil && s != "" {
				short, _, _ := strings.Cut(s, "@") // dht11@0
				d.names = append(d.names, s, short)
			}
		}
		if len(d.names) > 0 {
			there = append(there, d.names[0])
		}
		d.names = append(d.names, filepath.Base(dir), parent(kind, dir))
		if slices.Contains(d.names, name) {
			found = append(found, d)
		}
	}
	switch len(found) {
	case 0:
		return "", missing(kind, name, there)
	case 1:
		return found[0].dir, nil
	}
	var which []string
	for _, d := range found {
		which = append(which, d.names[len(d.names)-1])
	}
	return "", &deviceError{fmt.Sprintf("there are %d %s devices %q", len(found), kind, name), fmt.Sprintf("say which: one of %q", which), fs.ErrNotExist}
}

// parent is the name of the device a class directory belongs to: where its link "device" leads, or for IIO, which has none, the directory
// above the real one.
func parent(kind, dir string) string {
	if kind == "iio" {
		real, err := filepath.EvalSymlinks(dir)
		if err != nil {
			return filepath.Base(dir)
		}
		return filepath.Base(filepath.Dir(real))
	}
	real, err := filepath.EvalSymlinks(filepath.Join(dir, "device"))
	if err != nil {
		return filepath.Base(dir)
	}
	return filepath.Base(real)
}

// number every quantity that occurs more than once; a single one keeps its plain name.
func plain(channels []channel, base func(channel) string) {
	n := map[string]int{}
	for _, c := range channels {
		n[base(c)]++
	}
	for i, c := range channels {
		if b := base(c); n[b] == 1 {
			channels[i].quantity = b
		}
	}
}
