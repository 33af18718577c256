package peertest

import (
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/rsocket/rsocket-go/core"
)

// Counts is what one end has said.
type Counts struct {
	Requests  int
	N         int // elements asked for: initial and further
	Elements  int // whole ones; a channel's first is a request
	Fragments int // frames that another must follow
	Completes int
	Cancels   int
	Errors    int
}

// tap hands on a TCP connection and counts its frames.
type tap struct {
	addr string

	mu       sync.Mutex // guards the following
	change   *sync.Cond
	asked    Counts
	answered Counts
	last     time.Time // of the last frame
	up       [2]net.Conn
}

// newTap listens for one connection and takes it on to addr.
func newTap(t testing.TB, addr string, clientAsks bool) *tap {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &tap{addr: l.Addr().String()}
	p.change = sync.NewCond(&p.mu)
	var work sync.WaitGroup
	work.Go(func() {
		in, err := l.Accept()
		_ = l.Close()
		if err != nil {
			return
		}
		out, err := net.Dial("tcp", addr)
		if err != nil {
			_ = in.Close()
			return
		}
		p.mu.Lock()
		p.up = [2]net.Conn{in, out}
		p.mu.Unlock()
		fromClient, fromServer := &p.asked, &p.answered
		if !clientAsks {
			fromClient, fromServer = fromServer, fromClient
		}
		work.Go(func() { p.copy(out, in, fromClient) })
		p.copy(in, out, fromServer)
	})
	t.Cleanup(func() {
		_ = l.Close()
		p.mu.Lock()
		for _, nc := range p.up {
			if nc != nil {
				_ = nc.Close()
			}
		}
		p.mu.Unlock()
		work.Wait()
	})
	return p
}

// copy hands on whole frames.
func (p *tap) copy(to, from net.Conn, n *Counts) {
	defer to.Close()
	var b []byte
	for {
		if b = append(b[:0], 0, 0, 0); !full(from, b) {
			return
		}
		size := int(b[0])<<16 | int(b[1])<<8 | int(b[2])
		b = append(b, make([]byte, size)...)
		if !full(from, b[3:]) {
			return
		}
		p.mu.Lock()
		n.add(b[3:])
		p.last = time.Now()
		p.change.Broadcast()
		p.mu.Unlock()
		if _, err := to.Write(b); err != nil {
			return
		}
	}
}

func full(r io.Reader, b []byte) bool {
	_, err := io.ReadFull(r, b)
	return err == nil
}

func (n *Counts) add(f []byte) {
	if len(f) < core.FrameHeaderLen {
		return
	}
	h := core.ParseFrameHeader(f)
	num := func() int {
		b := f[core.FrameHeaderLen:]
		if len(b) < 4 {
			return 0
		}
		return int(b[0])<<24 | int(b[1])<<16 | int(b[2])<<8 | int(b[3])
	}
	if h.StreamID() == 0 {
		return
	}
	switch h.Type() {
	case core.FrameTypeRequestResponse, core.FrameTypeRequestFNF:
		n.Requests++
	case core.FrameTypeRequestStream, core.FrameTypeRequestChannel:
		n.Requests++
		n.N += num()
	case core.FrameTypeRequestN:
		n.N += num()
	case core.FrameTypeCancel:
		n.Cancels++
	case core.FrameTypeError:
		n.Errors++
	case core.FrameTypePayload:
		switch {
		case h.Flag().Check(core.FlagFollow):
			n.Fragments++
			return
		case h.Flag().Check(core.FlagNext):
			n.Elements++
		}
		if h.Flag().Check(core.FlagComplete) {
			n.Completes++
		}
	}
}

func (p *tap) counts() (asked, answered Counts) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.asked, p.answered
}

// wait waits until ok, or ends the test after three seconds.
func (p *tap) wait(t *testing.T, what string, ok func(asked, answered Counts) bool) {
	t.Helper()
	timeout := time.AfterFunc(3*time.Second, func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.change.Broadcast()
	})
	defer timeout.Stop()
	start := time.Now()
	p.mu.Lock()
	defer p.mu.Unlock()
	for !ok(p.asked, p.answered) {
		if time.Since(start) >= 3*time.Second {
			t.Fatalf("on the wire there was not %s: asked %+v, answered %+v", what, p.asked, p.answered)
		}
		p.change.Wait()
	}
}

// quiet waits until nothing was on the wire for 50 ms. This is the one place where real time has to pass: what must not
// come can only be waited for.
func (p *tap) quiet() {
	for {
		p.mu.Lock()
		left := 50*time.Millisecond - time.Since(p.last)
		p.mu.Unlock()
		if left <= 0 {
			return
		}
		time.Sleep(left)
	}
}
