//go:build linux && cgo

package v4l2

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"strconv"
	"strings"
	"unsafe"

	"github.com/perchcam/perch/pkg/camera"
)

// go4vl v0.3.0 lists controls without their flags and values, so the few
// structures of include/uapi/linux/videodev2.h are here. None differs between
// machines.
type (
	queryControl struct {
		id, kind               uint32
		name                   [32]byte
		min, max, step, preset int32
		flags                  uint32
		_                      [2]uint32
	}
	queryMenu struct {
		id, index uint32
		name      [32]byte // or, in its first 8 bytes, a number
		_         uint32
	}
	controlValue struct {
		id    uint32
		value int32
	}
)

const (
	vidiocGCtrl     = uintptr(3<<30 | unsafe.Sizeof(controlValue{})<<16 | 'V'<<8 | 27)
	vidiocSCtrl     = uintptr(3<<30 | unsafe.Sizeof(controlValue{})<<16 | 'V'<<8 | 28)
	vidiocQueryCtrl = uintptr(3<<30 | unsafe.Sizeof(queryControl{})<<16 | 'V'<<8 | 36)
	vidiocQueryMenu = uintptr(3<<30 | unsafe.Sizeof(queryMenu{})<<16 | 'V'<<8 | 37)

	nextControl = 0x80000000

	flagDisabled  = 0x0001
	flagReadOnly  = 0x0004
	flagInactive  = 0x0010
	flagWriteOnly = 0x0040

	kindIntegerMenu = 9

	maxControls = 1024 // against a driver that never ends
	maxMenu     = 256
)

// kinds are the types of controls that one number can set.
var kinds = map[uint32]camera.ControlType{
	1: camera.ControlInt, 2: camera.ControlBool, 3: camera.ControlMenu, 4: camera.ControlButton,
	8: camera.ControlBitmask, kindIntegerMenu: camera.ControlMenu,
}

// Controls lists what can be set, with the values as they are.
func (s *Source) Controls(context.Context) ([]camera.Control, error) {
	k, _, err := openNode(s.path)
	if err != nil {
		return nil, err
	}
	defer k.close()
	var list []camera.Control
	for q := range k.controls() {
		list = append(list, k.control(q))
	}
	return list, nil
}

// SetControl sets a control by its name.
func (s *Source) SetControl(_ context.Context, name string, value int64) (int64, error) {
	k, _, err := openNode(s.path)
	if err != nil {
		return 0, err
	}
	defer k.close()
	for q := range k.controls() {
		c := k.control(q)
		if c.Name != name {
			continue
		}
		if err := allowed(c, value); err != nil {
			return 0, fmt.Errorf("%s: %w", s.path, err)
		}
		v := controlValue{id: q.id, value: int32(value)}
		if err := k.ioctl(vidiocSCtrl, unsafe.Pointer(&v)); err != nil {
			return 0, sentence("set "+name+" of", s.path, err)
		}
		if q.flags&flagWriteOnly == 0 {
			if err := k.ioctl(vidiocGCtrl, unsafe.Pointer(&v)); err != nil {
				return 0, sentence("read "+name+" of", s.path, err)
			}
		}
		return signed(c.Type, v.value), nil
	}
	return 0, fmt.Errorf("%s has no control %q: %w", s.path, name, camera.ErrUnsupported)
}

// allowed tells why a value cannot be set.
func allowed(c camera.Control, value int64) error {
	switch {
	case c.ReadOnly:
		return fmt.Errorf("%s can only be read: %w", c.Name, camera.ErrUnsupported)
	case c.Type == camera.ControlButton:
		return nil
	case value < c.Min || value > c.Max:
		return fmt.Errorf("%s is from %d to %d, not %d: %w", c.Name, c.Min, c.Max, value, camera.ErrUnsupported)
	}
	if c.Type == camera.ControlMenu {
		var names []string
		for _, m := range c.Menu {
			if m.Value == value {
				return nil
			}
			names = append(names, fmt.Sprintf("%d (%s)", m.Value, m.Name))
		}
		return fmt.Errorf("%s is one of %s, not %d: %w", c.Name, strings.Join(names, ", "), value, camera.ErrUnsupported)
	}
	return nil
}

// controls yields the controls that are worth showing.
func (k *kernel) controls() func(func(queryControl) bool) {
	return func(yield func(queryControl) bool) {
		var id uint32
		for range maxControls {
			q := queryControl{id: id | nextControl}
			if k.ioctl(vidiocQueryCtrl, unsafe.Pointer(&q)) != nil || q.id <= id {
				return // EINVAL after the last
			}
			id = q.id
			if kinds[q.kind] != "" && q.flags&flagDisabled == 0 && !yield(q) {
				return
			}
		}
	}
}

// control completes what the kernel says of one.
func (k *kernel) control(q queryControl) camera.Control {
	kind := kinds[q.kind]
	c := camera.Control{
		Name: controlName(q.name[:]), Type: kind,
		Min: signed(kind, q.min), Max: signed(kind, q.max), Step: signed(kind, q.step), Default: signed(kind, q.preset),
		ReadOnly: q.flags&flagReadOnly != 0,
		Inactive: q.flags&flagInactive != 0,
	}
	if q.flags&flagWriteOnly == 0 && kind != camera.ControlButton {
		v := controlValue{id: q.id}
		if k.ioctl(vidiocGCtrl, unsafe.Pointer(&v)) == nil { // some cannot be read while the camera is off
			c.Value = signed(kind, v.value)
		}
	}
	if kind == camera.ControlMenu {
		for i := q.min; i <= q.max && int64(i)-int64(q.min) < maxMenu; i++ {
			m := queryMenu{id: q.id, index: uint32(i)}
			if k.ioctl(vidiocQueryMenu, unsafe.Pointer(&m)) != nil {
				continue // menus have holes
			}
			name := text(m.name[:])
			if q.kind == kindIntegerMenu {
				name = strconv.FormatInt(int64(binary.NativeEndian.Uint64(m.name[:])), 10)
			}
			c.Menu = append(c.Menu, camera.MenuItem{Value: int64(i), Name: name})
		}
	}
	return c
}

// signed widens a value; a bit mask has no sign.
func signed(kind camera.ControlType, v int32) int64 {
	if kind == camera.ControlBitmask {
		return int64(uint32(v))
	}
	return int64(v)
}

// text is a C string.
func text(b []byte) string {
	b, _, _ = bytes.Cut(b, []byte{0})
	return strings.ToValidUTF8(string(b), "?")
}

// controlName writes a name as v4l2-ctl does: "Exposure Time, Absolute"
// becomes exposure_time_absolute.
func controlName(b []byte) string {
	words := strings.FieldsFunc(strings.ToLower(text(b)), func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < '0' || r > '9')
	})
	return strings.Join(words, "_")
}

var (
	_ camera.Controller = (*Source)(nil)
	_ camera.Awaiter    = (*Source)(nil)
)
