package session_test

import (
	"bufio"
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"sync"
	"testing"

	"github.com/rsocket/rsocket-go/core"

	"github.com/perchcam/perch/pkg/session"
)

// BenchmarkFrames cuts frames out of the bytes of a link, and checks them.
func BenchmarkFrames(b *testing.B) {
	for _, size := range []int{100, 16 << 10} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			next := session.Frames(&again{b: frameBytes(1, core.FrameTypePayload, core.FlagNext, string(make([]byte, size)))})
			b.SetBytes(int64(size))
			b.ReportAllocs()
			for b.Loop() {
				if err := next(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// again is a link on which the same bytes come again and again.
type again struct {
	net.Conn
	b  []byte
	at int
}

func (a *again) Read(p []byte) (n int, err error) {
	for n < len(p) {
		m := copy(p[n:], a.b[a.at:])
		n, a.at = n+m, (a.at+m)%len(a.b)
	}
	return n, nil
}

// BenchmarkLedger is one frame that is kept, written again over a cut every tenth time, and acknowledged.
func BenchmarkLedger(b *testing.B) {
	l := session.NewLedger()
	b.ReportAllocs()
	for n := 1; b.Loop(); n++ {
		l.Send()
		if n%10 == 0 {
			l.Replay()
		}
		if n%16 == 0 {
			l.Ack()
		}
	}
}

// BenchmarkForward is one frame of a stream that a switch forwards by Put, from one session to another over loopback TCP.
// The ends are sockets and loops over bytes, so that what is measured is the switch. It allocates nothing.
func BenchmarkForward(b *testing.B) {
	for _, size := range []int{100, 16<<10 - 6} {
		b.Run(fmt.Sprintf("%d/plain", size), func(b *testing.B) { forward(b, size, "", "") })
		b.Run(fmt.Sprintf("%d/resumable", size), func(b *testing.B) { forward(b, size, "here", "there") })
	}
}

func forward(b *testing.B, size int, here, there string) {
	const ahead = 64 // frames under way
	room := make(chan struct{}, ahead)
	write, end := forwarding(b, size, here, there, func() { <-room })
	defer end()
	b.SetBytes(int64(size))
	b.ReportAllocs()
	for b.Loop() {
		room <- struct{}{}
		write()
	}
}

// forwarding lets two sockets with these tokens talk to the switch. write writes a frame, got is called when one arrives.
func forwarding(t testing.TB, size int, here, there string, got func()) (write, end func()) {
	sw := &patch{asked: make(chan struct{})}
	srv, err := session.NewServer(session.ServerConfig{
		Options: session.Options{Batch: 64 << 10, NotSent: 32 << 10},
		Accept:  func(*session.Conn) (session.Receiver, error) { return sw, nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var work sync.WaitGroup
	work.Go(func() { accept(&work, ln, func(nc net.Conn) { _ = srv.Serve(nc) }) })
	dial := func(token string, first []byte, got func()) net.Conn {
		nc, err := net.Dial("tcp", ln.Addr().String())
		if err == nil {
			_, err = nc.Write(append(setupBytes(token), first...))
		}
		if err != nil {
			t.Fatal(err)
		}
		work.Go(func() { take(nc, got) })
		return nc
	}
	to := dial(there, frameBytes(1, core.FrameTypeRequestStream, 0, "\x7f\xff\xff\xff"), got)
	<-sw.asked
	from := dial(here, frameBytes(1, core.FrameTypeRequestChannel, 0, "\x7f\xff\xff\xff"), func() {})
	frame := frameBytes(1, core.FrameTypePayload, core.FlagNext, string(make([]byte, size)))
	write = func() {
		if _, err := from.Write(frame); err != nil {
			t.Fatal(err)
		}
	}
	return write, func() {
		_, _, _ = from.Close(), to.Close(), ln.Close()
		srv.Close(context.Background(), core.ErrorCodeConnectionClose, "measured")
		work.Wait()
	}
}

// take reads frames, acknowledges them as a session does, and calls got for each PAYLOAD.
func take(nc net.Conn, got func()) {
	in := bufio.NewReaderSize(nc, 256<<10)
	ack := frameBytes(0, core.FrameTypeKeepalive, 0, position0)
	for pos, told := uint64(0), uint64(0); ; {
		head, err := in.Peek(9)
		if err != nil {
			return
		}
		n := int(head[0])<<16 | int(head[1])<<8 | int(head[2])
		stream, payload := binary.BigEndian.Uint32(head[3:]) != 0, head[7]>>2 == byte(core.FrameTypePayload)
		if _, err := in.Discard(3 + n); err != nil {
			return
		}
		if stream {
			pos += uint64(n)
		}
		if payload {
			got()
		}
		if pos-told >= 128<<10 {
			told = pos
			binary.BigEndian.PutUint64(ack[9:], pos)
			if _, err := nc.Write(ack); err != nil {
				return
			}
		}
	}
}

// patch forwards what comes on channels to who asked for a stream.
type patch struct {
	out   *session.Stream
	asked chan struct{}
}

func (p *patch) Request(s *session.Stream, f session.Frame) session.Owner {
	if f.Type() == core.FrameTypeRequestStream {
		p.out = s
		close(p.asked)
	}
	return p
}
func (p *patch) Frame(f session.Frame) { p.out.Put(f, true) }
func (p *patch) Settle()               { p.out.Session().Flush() }
func (p *patch) Push([]byte)           {}
func (p *patch) Linked(_, _ bool)      {}
func (p *patch) Left(int)              {}
func (p *patch) Writable()             {}
func (p *patch) Ended(error)           {}
