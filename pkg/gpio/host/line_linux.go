package host

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/warthog618/go-gpiocdev/uapi"
	"golang.org/x/sys/unix"

	"github.com/perchcam/perch/pkg/gpio"
)

const (
	// fifo is how many edges the kernel keeps for a line nobody reads: a second of the fastest the board lets through. Its default is 16.
	fifo = 64
	// eventSize is that of struct gpio_v2_line_event (linux/gpio.h), on every architecture.
	eventSize = 48
	// atOnce is how many events one read takes.
	atOnce = 16
)

// OpenInput implements gpio.Opener.
func (m *Machine) OpenInput(c gpio.InputConfig) (gpio.Input, error) {
	r := uapi.LineRequest{EventBufferSize: fifo}
	r.Config.Flags = uapi.LineFlagV2Input | uapi.LineFlagV2EdgeRising
	if !c.ActiveOnly {
		r.Config.Flags |= uapi.LineFlagV2EdgeFalling
	}
	switch c.Pull {
	case gpio.PullUp:
		r.Config.Flags |= uapi.LineFlagV2BiasPullUp
	case gpio.PullDown:
		r.Config.Flags |= uapi.LineFlagV2BiasPullDown
	case gpio.PullNone:
		r.Config.Flags |= uapi.LineFlagV2BiasDisabled
	}
	if c.Debounce > 0 {
		r.Config.AddAttribute(uapi.LineConfigAttribute{Attr: uapi.DebouncePeriod(c.Debounce).Encode(), Mask: 1})
	}
	f, err := m.request(&r, c.Line, c.Chip, c.Consumer, c.ActiveLow)
	if err != nil {
		return nil, err
	}
	return &input{line: line{f}, events: make([]byte, 0, atOnce*eventSize)}, nil
}

// OpenOutput implements gpio.Opener. The initial level is part of the request, so the pin never has another one between.
func (m *Machine) OpenOutput(c gpio.OutputConfig) (gpio.Output, error) {
	var r uapi.LineRequest
	r.Config.Flags = uapi.LineFlagV2Output
	var on uapi.OutputValues
	if c.Initial {
		on = 1
	}
	r.Config.AddAttribute(uapi.LineConfigAttribute{Attr: on.Encode(), Mask: 1})
	f, err := m.request(&r, c.Line, c.Chip, c.Consumer, c.ActiveLow)
	if err != nil {
		return nil, err
	}
	return &output{line{f}}, nil
}

// request finds a line and takes it.
func (m *Machine) request(r *uapi.LineRequest, name, chip, consumer string, activeLow bool) (*os.File, error) {
	p, err := m.Find(name, chip)
	if err != nil {
		return nil, err
	}
	c, err := open(p.Path)
	if err != nil {
		return nil, err
	}
	defer unix.Close(c.fd)
	if c.label != p.Label { // the numbers were dealt anew since Find
		return nil, fmt.Errorf("the chip %s has moved: %w", p.Label, unix.ENODEV)
	}
	r.Lines, r.Offsets[0] = 1, uint32(p.Offset)
	copy(r.Consumer[:len(r.Consumer)-1], consumer)
	if activeLow {
		r.Config.Flags |= uapi.LineFlagV2ActiveLow
	}
	err = uapi.GetLine(uintptr(c.fd), r)
	if errors.Is(err, unix.EBUSY) {
		busy := &gpio.BusyError{Line: name, Consumer: p.Consumer}
		if info, err := c.info(p.Offset); err == nil {
			busy.Consumer = c.place(p.Offset, &info).Consumer
		}
		return nil, busy
	}
	if err != nil {
		return nil, fmt.Errorf("cannot take line %s (%s, offset %d): %w", name, p.Label, p.Offset, err)
	}
	// Non-blocking, so that os.File waits in the runtime's poller: no thread per line, and deadlines work.
	if err := unix.SetNonblock(int(r.Fd), true); err != nil {
		unix.Close(int(r.Fd))
		return nil, fmt.Errorf("cannot take line %s: %w", name, err)
	}
	return os.NewFile(uintptr(r.Fd), "line "+name), nil
}

// line is a requested line.
type line struct{ f *os.File }

func (l line) Close() error { return l.f.Close() }

// Value implements gpio.Input and gpio.Output. It does not turn an output into an input, as periph's Read does.
func (l line) Value() (bool, error) {
	v := uapi.LineValues{Mask: 1}
	err := l.control(func(fd uintptr) error { return uapi.GetLineValuesV2(fd, &v) })
	return v.Bits&1 != 0, err
}

func (l line) control(f func(fd uintptr) error) error {
	raw, err := l.f.SyscallConn()
	if err != nil {
		return err
	}
	var ioctl error
	if err := raw.Control(func(fd uintptr) { ioctl = f(fd) }); err != nil {
		return err
	}
	if ioctl != nil {
		return fmt.Errorf("%s: %w", l.f.Name(), ioctl)
	}
	return nil
}

type output struct{ line }

// Set implements gpio.Output.
func (o *output) Set(on bool) error {
	v := uapi.LineValues{Mask: 1}
	if on {
		v.Bits = 1
	}
	return o.control(func(fd uintptr) error { return uapi.SetLineValuesV2(fd, v) })
}

type input struct {
	line
	events []byte // read and not handed over; owned by the caller of Next
	at     int
}

// Next implements gpio.Input.
func (in *input) Next(ctx context.Context) (gpio.Event, error) {
	for in.at >= len(in.events) {
		if err := in.read(ctx); err != nil {
			return gpio.Event{}, err
		}
	}
	ev := decode(in.events[in.at:])
	in.at += eventSize
	return ev, nil
}

// read waits for events and takes what is there.
func (in *input) read(ctx context.Context) error {
	deadline, _ := ctx.Deadline() // the zero time is no deadline, for the file too
	if err := in.f.SetReadDeadline(deadline); errors.Is(err, os.ErrNoDeadline) {
		return err // of a closed file Read tells better
	}
	stop := context.AfterFunc(ctx, func() { _ = in.f.SetReadDeadline(time.Unix(1, 0)) })
	n, err := in.f.Read(in.events[:cap(in.events)])
	stop()
	in.events, in.at = in.events[:0], 0
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		if err := ctx.Err(); err != nil {
			return err
		}
		if !deadline.IsZero() && !time.Now().Before(deadline) {
			return context.DeadlineExceeded // ctx's own timer is a moment behind
		}
		return nil // the end of an earlier ctx, told late
	case err != nil:
		return err
	case n == 0 || n%eventSize != 0:
		return fmt.Errorf("%s: %d bytes of events: %w", in.f.Name(), n, io.ErrUnexpectedEOF)
	}
	in.events = in.events[:n]
	return nil
}

// decode reads a struct gpio_v2_line_event. For an active-low line the kernel says rising for the edge to the active level.
func decode(b []byte) gpio.Event {
	order := binary.NativeEndian
	return gpio.Event{
		Mono:   time.Duration(order.Uint64(b)),
		Active: uapi.LineEventID(order.Uint32(b[8:])) == uapi.LineEventRisingEdge,
		Seq:    order.Uint32(b[20:]),
	}
}
