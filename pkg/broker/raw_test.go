package broker

import (
	"fmt"
	"net"
	"sync"
	"testing/synctest"

	"github.com/rsocket/rsocket-go/core"
	"github.com/rsocket/rsocket-go/core/transport"

	"github.com/perchcam/perch/pkg/session"
	"github.com/perchcam/perch/pkg/wire"
)

// raw is an end that does nothing by itself: it writes down every frame, and a test speaks for it.
type raw struct {
	mu      sync.Mutex
	streams []*rawStream // requested by the other end, in order
	pushes  []string
	ended   error
}

type rawStream struct {
	r      *raw
	s      *session.Stream
	mu     sync.Mutex
	frames []string
	n      uint64 // granted in all
	data   int    // bytes of data
	last   error  // what the newest ERROR said
	ended  error
}

func (r *raw) Request(s *session.Stream, first session.Frame) session.Owner {
	st := &rawStream{r: r, s: s}
	st.Frame(first)
	r.mu.Lock()
	r.streams = append(r.streams, st)
	r.mu.Unlock()
	return st
}

func (r *raw) Push(md []byte)    { r.pushes = append(r.pushes, string(md)) }
func (r *raw) Settle()           {}
func (r *raw) Linked(bool, bool) {}
func (r *raw) Ended(err error)   { r.ended = err }

// stream returns the i-th stream that was requested, once it is there.
func (r *raw) stream(i int) *rawStream {
	synctest.Wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.streams[i]
}

func (st *rawStream) Frame(f session.Frame) {
	st.mu.Lock()
	defer st.mu.Unlock()
	text := f.Type().String()
	switch f.Type() {
	case core.FrameTypeError:
		text = fmt.Sprintf("ERROR %v %s", core.ErrorCode(f.N()), f.Data())
		st.last = session.Errorf(core.ErrorCode(f.N()), "%s", f.Data())
	case core.FrameTypeRequestN, core.FrameTypeRequestStream, core.FrameTypeRequestChannel:
		st.n += uint64(f.N())
	default:
		for _, flag := range []struct {
			core.FrameFlag
			name string
		}{{core.FlagFollow, "F"}, {core.FlagComplete, "C"}, {core.FlagNext, "N"}} {
			if f.Has(flag.FrameFlag) {
				text += " " + flag.name
			}
		}
		st.data += len(f.Data())
	}
	st.frames = append(st.frames, text)
}

func (st *rawStream) Left(int)  {}
func (st *rawStream) Writable() {}
func (st *rawStream) Ended(err error) {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.ended = err
}

// log returns what has come, once nothing more is coming.
func (st *rawStream) log() []string {
	synctest.Wait()
	st.mu.Lock()
	defer st.mu.Unlock()
	return append([]string(nil), st.frames...)
}

func (st *rawStream) granted() uint64 {
	synctest.Wait()
	st.mu.Lock()
	defer st.mu.Unlock()
	return st.n
}

// say sends a payload; C among flags completes, F keeps it open, as only a fragment is.
func (st *rawStream) say(flags core.FrameFlag, data []byte) {
	st.s.Send(session.Message{Type: core.FrameTypePayload, Flags: flags, Data: data})
	st.s.Session().Flush()
}

// rawLaptop connects a laptop that does nothing by itself.
func (h *house) rawEnd(s session.Setup, r *raw) *end {
	h.t.Helper()
	e := &end{h: h, ran: make(chan error, 1)}
	var err error
	e.Client, err = session.NewClient(session.ClientConfig{Dial: e.dial, Setup: s}, r)
	if err != nil {
		h.t.Fatal(err)
	}
	h.run(e)
	synctest.Wait()
	return e
}

func (h *house) rawLaptop() *end {
	return h.rawEnd(session.Setup{Resume: true, MetadataMIME: wire.MIMEComposite, DataMIME: wire.MIMEJSON}, &raw{})
}

func (h *house) rawCamera(name string) (*end, *raw) {
	r := &raw{}
	return h.rawEnd(composed(deviceSetup(name, "id-"+name, 1), true), r), r
}

// request opens a stream of the end's own.
func (e *end) request(m session.Message) *rawStream {
	st := &rawStream{}
	st.s = e.Open(st)
	m.HasMetadata = true
	st.s.Send(m)
	e.Flush()
	return st
}

// tap is an end without a session: a link, and frames as bytes.
type tap struct {
	nc   net.Conn
	mu   sync.Mutex
	got  []string // what has come, as type, stream and flags
	text []string // of ERRORs
	end  error
}

// tap connects one. What it says first is up to the test.
func (h *house) tap() *tap {
	p := h.deaf()
	h.work.Go(p.read)
	return p
}

// deaf is a tap that never reads.
func (h *house) deaf() *tap {
	a, b := net.Pipe()
	h.work.Go(func() { h.Serve(b) })
	return &tap{nc: a}
}

func (p *tap) read() {
	d := transport.NewLengthBasedFrameDecoder(p.nc)
	for {
		b, err := d.Read()
		p.mu.Lock()
		if err != nil {
			p.end = err
			p.mu.Unlock()
			return
		}
		header := core.ParseFrameHeader(b)
		p.got = append(p.got, fmt.Sprintf("%v %d", header.Type(), header.StreamID()))
		if header.Type() == core.FrameTypeError {
			p.text = append(p.text, string(b[core.FrameHeaderLen+4:]))
		}
		p.mu.Unlock()
	}
}

// frames returns what has come once nothing more is coming.
func (p *tap) frames() []string {
	synctest.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]string(nil), p.got...)
}

// send writes a frame: a header and its body.
func (p *tap) send(id uint32, t core.FrameType, flags core.FrameFlag, body ...byte) {
	p.write(id, t, flags, body...)
	synctest.Wait()
}

func (p *tap) write(id uint32, t core.FrameType, flags core.FrameFlag, body ...byte) {
	header := core.NewFrameHeader(id, t, flags)
	b := append(header.Bytes(), body...)
	_, _ = p.nc.Write(append([]byte{byte(len(b) >> 16), byte(len(b) >> 8), byte(len(b))}, b...)) // the broker may have closed
}

// setup says SETUP as a device or, for nil, as a laptop.
func (p *tap) setup(s *wire.Setup) {
	p.hello(s)
	synctest.Wait()
}

func (p *tap) hello(s *wire.Setup) {
	body := []byte{0, 1, 0, 0, 0, 0, 0x27, 0x10, 0, 0, 0x75, 0x30} // 1.0, 10 s, 30 s
	for _, mime := range []string{wire.MIMEComposite, wire.MIMEJSON} {
		body = append(append(body, byte(len(mime))), mime...)
	}
	if s == nil {
		p.write(0, core.FrameTypeSetup, 0, body...)
		return
	}
	md, err := s.Append(nil)
	if err != nil {
		panic(err)
	}
	body = append(body, byte(len(md)>>16), byte(len(md)>>8), byte(len(md)))
	p.write(0, core.FrameTypeSetup, core.FlagMetadata, append(body, md...)...)
}
