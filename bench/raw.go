package main

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"sync/atomic"

	"github.com/rsocket/rsocket-go/core"

	"github.com/perchcam/perch/pkg/api"
	"github.com/perchcam/perch/pkg/wire"
)

// The raw ends are sockets and loops over the bytes of RSocket frames, in fragments of 16 KiB as Perch's own ends send
// them. They say the same through a relay, through which the laptop's socket leads to a socket of the device, as through
// the broker, so that what differs is what is in the middle.

// deviceName is the one device that all laptops ask.
const deviceName = "cam"

const fragment = 16 << 10

// wireEnd is a raw end.
type wireEnd struct {
	nc  net.Conn
	in  *bufio.Reader
	ack bool   // tells its position, as an end that can resume does
	pos uint64 // bytes received
}

func newWireEnd(nc net.Conn, ack bool) *wireEnd {
	return &wireEnd{nc: nc, in: bufio.NewReaderSize(nc, 128<<10), ack: ack}
}

// frameBytes appends a frame with its length.
func frameBytes(b []byte, id uint32, t core.FrameType, flags core.FrameFlag, parts ...[]byte) []byte {
	n := core.FrameHeaderLen
	for _, p := range parts {
		n += len(p)
	}
	h := core.NewFrameHeader(id, t, flags)
	b = append(append(b, byte(n>>16), byte(n>>8), byte(n)), h.Bytes()...)
	for _, p := range parts {
		b = append(b, p...)
	}
	return b
}

// position appends what an end that can resume says now and then: how much it has received.
func (e *wireEnd) position(b []byte, flags core.FrameFlag) []byte {
	return frameBytes(b, 0, core.FrameTypeKeepalive, flags, binary.BigEndian.AppendUint64(nil, e.pos))
}

// next reads a frame and passes over what of it does not fit into body. It answers KEEPALIVE.
func (e *wireEnd) next(body []byte) (id uint32, t core.FrameType, flags core.FrameFlag, n int, err error) {
	for {
		head, err := e.in.Peek(9)
		if err != nil {
			return 0, 0, 0, 0, err
		}
		n := int(head[0])<<16 | int(head[1])<<8 | int(head[2]) - core.FrameHeaderLen
		id := binary.BigEndian.Uint32(head[3:])
		word := binary.BigEndian.Uint16(head[7:])
		t, flags := core.FrameType(word>>10), core.FrameFlag(word&0x3ff)
		_, _ = e.in.Discard(9)
		m := min(n, len(body))
		if _, err := io.ReadFull(e.in, body[:m]); err != nil {
			return 0, 0, 0, 0, err
		}
		if _, err := e.in.Discard(n - m); err != nil {
			return 0, 0, 0, 0, err
		}
		if id != 0 {
			e.pos += uint64(n + core.FrameHeaderLen)
			return id, t, flags, n, nil
		}
		switch t {
		case core.FrameTypeKeepalive:
			if flags&core.FlagRespond != 0 {
				if _, err := e.nc.Write(e.position(nil, 0)); err != nil {
					return 0, 0, 0, 0, err
				}
			}
		case core.FrameTypeError:
			return 0, 0, 0, 0, fmt.Errorf("refused: %q", body[:m])
		}
	}
}

// hello is SETUP, as a device or as a laptop. token, if there is one, lets the session be resumed.
func hello(device string, token []byte) ([]byte, error) {
	body := []byte{0, 1, 0, 0, 0, 0, 0x4e, 0x20, 0, 1, 0x5f, 0x90} // version 1.0, 20 s, 90 s
	var flags core.FrameFlag
	if len(token) > 0 {
		flags |= core.FlagResume
		body = append(binary.BigEndian.AppendUint16(body, uint16(len(token))), token...)
	}
	for _, mime := range []string{wire.MIMEComposite, wire.MIMEOctetStream} {
		body = append(append(body, byte(len(mime))), mime...)
	}
	if device != "" {
		md, err := deviceMetadata(device)
		if err != nil {
			return nil, err
		}
		flags |= core.FlagMetadata
		body = append(append(body, byte(len(md)>>16), byte(len(md)>>8), byte(len(md))), md...)
	}
	return frameBytes(nil, 0, core.FrameTypeSetup, flags, body), nil
}

// deviceMetadata is what a device says in SETUP, with an advert of about 1 KiB.
func deviceMetadata(name string) ([]byte, error) {
	ad := api.Advert{Device: name, ID: "id-" + name, Boot: "0123456789abcdef", Rev: 1, Version: "bench"}
	for _, c := range []string{"yard", "gate", "barn", "roof"} {
		ad.Cameras = append(ad.Cameras, api.CameraRef{Name: c, Kind: "v4l2"})
	}
	for i := range 8 {
		ad.Sensors = append(ad.Sensors, api.SensorRef{Name: fmt.Sprintf("sensor-%d", i), Class: "temperature", Unit: "Cel"})
	}
	ad.Routes = []string{
		api.RouteSnapshot, api.RouteStream, api.RouteControl, api.RouteCameras, api.RouteInfo, api.RouteHealth,
		api.RouteMetrics, api.RouteLogs, api.RouteRead, api.RouteWatch, api.RouteSet,
	}
	advert, err := ad.Encode()
	if err != nil {
		return nil, err
	}
	return wire.Setup{
		Dialect: wire.RSocketBroker, ID: wire.NewUUID().String(), Service: api.Service, Advert: advert,
		Tags: []wire.Tag{{Key: wire.KeyInstanceName, Value: name}, {Key: wire.KeyDevice, Value: name}},
	}.Append(nil)
}

// address is the metadata of a request for a device.
func address(device string) ([]byte, error) {
	return wire.Request{Route: api.RouteSnapshot, Service: api.Service, Device: device}.Append(nil, wire.RSocketBroker)
}

func sized(n int) []byte { return binary.BigEndian.AppendUint32(nil, uint32(n)) }

// connect dials what is in the middle. how is "broker", "resume" (a broker, and the session can be resumed) or "relay".
func connect(addr, device, how string) (*wireEnd, error) {
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		return nil, err
	}
	e := newWireEnd(nc, how == "resume")
	if how == "relay" {
		return e, nil
	}
	var token []byte
	if e.ack {
		token = []byte(wire.NewUUID().String())
	}
	b, err := hello(device, token)
	if err == nil {
		_, err = nc.Write(frameBytes(b, 0, core.FrameTypeKeepalive, core.FlagRespond, make([]byte, 8)))
	}
	if err != nil {
		_ = nc.Close()
		return nil, err
	}
	return e, nil
}

// rawDevice answers requests with as many bytes as they ask for.
func rawDevice(addr, how string) error {
	frames := newAnswers()
	if how != "relay" {
		e, err := connect(addr, deviceName, how)
		if err != nil {
			return err
		}
		if _, err := e.in.Peek(1); err != nil { // the answer to its KEEPALIVE
			return err
		}
		failed := make(chan error, 1)
		go func() { failed <- frames.serve(e) }()
		say(ready{})
		go func() { _ = stay(); failed <- nil }()
		return <-failed
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	welcome(ln, func(nc net.Conn) { _ = newAnswers().serve(newWireEnd(nc, false)) })
	return stay()
}

// answers are the frames of an answer of each size asked for, made once.
type answers struct{ of map[int][]byte }

func newAnswers() *answers { return &answers{map[int][]byte{}} }

func (a *answers) frames(size int) []byte {
	b, ok := a.of[size]
	if !ok {
		data := make([]byte, size)
		for first := true; first || len(data) > 0; first = false {
			n := min(len(data), fragment-core.FrameHeaderLen)
			flags := core.FlagNext | core.FlagFollow
			if n == len(data) {
				flags = core.FlagNext | core.FlagComplete
			}
			b = frameBytes(b, 0, core.FrameTypePayload, flags, data[:n])
			data = data[n:]
		}
		a.of[size] = b
	}
	return b
}

func (a *answers) serve(e *wireEnd) error {
	body := make([]byte, 4096)
	for {
		id, t, _, n, err := e.next(body)
		if err != nil {
			return err
		}
		if t != core.FrameTypeRequestResponse || n < 4 {
			continue
		}
		b := a.frames(int(binary.BigEndian.Uint32(body[n-4:])))
		for at := 0; at < len(b); at += 3 + int(b[at])<<16 + int(b[at+1])<<8 + int(b[at+2]) {
			binary.BigEndian.PutUint32(b[at+3:], id)
		}
		if e.ack {
			var head [32]byte
			if _, err := (&net.Buffers{e.position(head[:0], 0), b}).WriteTo(e.nc); err != nil {
				return err
			}
			continue
		}
		if _, err := e.nc.Write(b); err != nil {
			return err
		}
	}
}

// rawLaptop asks one thing after the other.
type rawLaptop struct {
	*wireEnd
	md   []byte
	id   uint32
	body []byte
	out  []byte
}

func newRawLaptop(addr, how string) (asker, error) {
	md, err := address(deviceName)
	if err != nil {
		return nil, err
	}
	e, err := connect(addr, "", how)
	if err != nil {
		return nil, err
	}
	return &rawLaptop{wireEnd: e, md: append([]byte{byte(len(md) >> 16), byte(len(md) >> 8), byte(len(md))}, md...), id: 1, body: make([]byte, 512)}, nil
}

func (l *rawLaptop) close() { _ = l.nc.Close() }

func (l *rawLaptop) ask(size int) error {
	l.out = frameBytes(l.out[:0], l.id, core.FrameTypeRequestResponse, core.FlagMetadata, l.md, sized(size))
	if l.ack {
		l.out = l.position(l.out, 0)
	}
	l.id += 2
	if _, err := l.nc.Write(l.out); err != nil {
		return err
	}
	for got := 0; ; {
		_, t, flags, n, err := l.next(l.body)
		switch {
		case err != nil:
			return err
		case t == core.FrameTypeError:
			return fmt.Errorf("refused: %q", l.body[:min(n, len(l.body))])
		case t != core.FrameTypePayload:
			continue
		}
		if got += n; flags&core.FlagComplete != 0 {
			if got != size {
				return fmt.Errorf("%d of %d bytes", got, size)
			}
			return nil
		}
	}
}

// relayed counts what a relay has carried.
type relayed struct{ ToTarget, FromTarget int64 }

// relay connects everybody who connects to it with target. It reads into, and writes from, one buffer of 128 KiB for each
// direction; or, splicing, leaves it to the kernel.
func relay(target string, splice bool) error {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	var to, from atomic.Int64
	pump := func(dst, src net.Conn, n *atomic.Int64) {
		defer func() { _, _ = dst.Close(), src.Close() }()
		if splice {
			_, _ = io.Copy(dst, src)
			return
		}
		buf := make([]byte, 128<<10)
		for {
			m, err := src.Read(buf)
			if _, werr := dst.Write(buf[:m]); err != nil || werr != nil {
				return
			}
			n.Add(int64(m))
		}
	}
	welcome(ln, func(a net.Conn) {
		b, err := net.Dial("tcp", target)
		if err != nil {
			_ = a.Close()
			return
		}
		go pump(b, a, &to)
		pump(a, b, &from)
	})
	return obey(func(struct{}) (any, error) { return relayed{to.Load(), from.Load()}, nil })
}
