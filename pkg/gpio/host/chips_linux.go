package host

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/warthog618/go-gpiocdev/uapi"
	"golang.org/x/sys/unix"

	"github.com/perchcam/perch/pkg/gpio"
)

// Chips returns the chips that can be opened now.
func (m *Machine) Chips() []Chip {
	var list []Chip
	_ = m.each(func(c *openChip) {
		list = append(list, Chip{c.path, c.label, c.lines})
	})
	return list
}

// openChip is a chip while it is looked at.
type openChip struct {
	path  string
	name  string // the kernel's, the same under every path
	label string
	lines int
	fd    int
}

// each visits every chip once, those periph knows first and in its order, then those that have come since.
func (m *Machine) each(visit func(*openChip)) error {
	now, _ := filepath.Glob(filepath.Join(m.dev, "gpiochip*"))
	var refused error
	seen := map[string]bool{}
	for _, path := range append(slices.Clone(m.paths), now...) {
		c, err := open(path)
		if errors.Is(err, fs.ErrPermission) {
			refused = denied(path)
		}
		if err != nil {
			continue
		}
		if !seen[c.name] {
			seen[c.name] = true
			visit(c)
		}
		unix.Close(c.fd)
	}
	if refused == nil && len(seen) == 0 {
		return noChip()
	}
	return refused
}

func open(path string) (*openChip, error) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	info, err := uapi.GetChipInfo(uintptr(fd))
	if err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("%s is no GPIO chip: %w", path, err)
	}
	c := &openChip{path: path, name: text(info.Name[:]), lines: int(info.Lines), fd: fd}
	c.label = cmp.Or(text(info.Label[:]), c.name)
	return c, nil
}

func (c *openChip) info(offset int) (uapi.LineInfoV2, error) {
	return uapi.GetLineInfoV2(uintptr(c.fd), offset)
}

func (c *openChip) place(offset int, info *uapi.LineInfoV2) gpio.Place {
	p := gpio.Place{Label: c.label, Path: c.path, Offset: offset, Name: text(info.Name[:]), Consumer: text(info.Consumer[:])}
	if p.Consumer == "" && info.Flags.IsUsed() {
		p.Consumer = "the kernel"
	}
	return p
}

// Find implements gpio.Opener.
func (m *Machine) Find(line, chip string) (gpio.Place, error) {
	label, offset, byOffset := strings.Cut(line, "/")
	if byOffset {
		chip = label
	}
	var found []gpio.Place
	var chips []string
	refused := m.each(func(c *openChip) {
		chips = append(chips, c.label)
		if chip != "" && c.label != chip {
			return
		}
		if byOffset {
			if n, err := strconv.Atoi(offset); err == nil && n >= 0 && n < c.lines {
				found = c.add(found, n)
			}
			return
		}
		found = append(found, c.byName(line)...)
	})
	if main := slices.DeleteFunc(slices.Clone(found), func(p gpio.Place) bool { return !isMain(p.Label) }); len(main) > 0 {
		found = main
	}
	switch len(found) {
	case 1:
		return found[0], nil
	case 0:
		if refused != nil {
			return gpio.Place{}, refused
		}
		return gpio.Place{}, &lineError{
			fmt.Sprintf("no line %s on %s", line, cmp.Or(chip, strings.Join(chips, ", "))),
			"the lines there are: gpioinfo", fs.ErrNotExist,
		}
	}
	var where []string
	for _, p := range found {
		where = append(where, p.Label)
	}
	return gpio.Place{}, &lineError{
		fmt.Sprintf("more than one line is named %s, on %s", line, strings.Join(where, ", ")),
		"say which with chip=" + where[0], fs.ErrNotExist,
	}
}

// isMain tells the chip of the header from expanders and from the board's own.
func isMain(label string) bool { return strings.HasPrefix(label, "pinctrl-") }

// byName returns the lines of a name. Where the header's lines have no names (older device trees), GPIOn is the n-th.
func (c *openChip) byName(name string) []gpio.Place {
	var list []gpio.Place
	for offset := range c.lines {
		if info, err := c.info(offset); err == nil && text(info.Name[:]) == name {
			list = append(list, c.place(offset, &info))
		}
	}
	number, isGPIO := strings.CutPrefix(name, "GPIO")
	n, err := strconv.Atoi(number)
	if len(list) > 0 || !isMain(c.label) || !isGPIO || err != nil || n < 0 || n >= c.lines {
		return list
	}
	if info, err := c.info(n); err == nil && info.Name[0] == 0 {
		list = append(list, c.place(n, &info))
	}
	return list
}

func (c *openChip) add(list []gpio.Place, offset int) []gpio.Place {
	if info, err := c.info(offset); err == nil {
		list = append(list, c.place(offset, &info))
	}
	return list
}

// text is a C string.
func text(b []byte) string { return uapi.BytesToString(b) }
