package peer_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"io"
	"net"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rsocket/rsocket-go/core"
	"github.com/rsocket/rsocket-go/core/framing"

	"github.com/perchcam/perch/pkg/peer"
	"github.com/perchcam/perch/pkg/session"
)

// wire is a client made of bytes: what it writes need not make sense.
type wire struct {
	nc net.Conn
	c  *session.Conn // the server's end
}

// frame is one frame with its length before it.
func frame(id uint32, typ core.FrameType, flags core.FrameFlag, body string) []byte {
	n := core.FrameHeaderLen + len(body)
	h := core.NewFrameHeader(id, typ, flags)
	return append(append([]byte{byte(n >> 16), byte(n >> 8), byte(n)}, h.Bytes()...), body...)
}

// dialWire says SETUP to a server whose only session p sits on. over is closed when the link is done.
func dialWire(t testing.TB, p *peer.Peer) (w *wire, over <-chan struct{}) {
	t.Helper()
	accepted := make(chan *session.Conn, 1)
	srv, err := session.NewServer(session.ServerConfig{Accept: func(c *session.Conn) (session.Receiver, error) {
		accepted <- c
		return p, nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	a, b := net.Pipe()
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = srv.Serve(b)
	}()
	setup := framing.NewWriteableSetupFrame(core.DefaultVersion, time.Hour, 2*time.Hour, nil, []byte("a/b"), []byte("a/b"), nil, nil, false)
	body := new(bytes.Buffer)
	_, _ = setup.WriteTo(body)
	n := body.Len()
	if _, err := a.Write(append([]byte{byte(n >> 16), byte(n >> 8), byte(n)}, body.Bytes()...)); err != nil {
		t.Fatal(err)
	}
	return &wire{nc: a, c: <-accepted}, done
}

// read takes what the server sends, from here on, and returns it frame by frame. Until then the server is stuck in its
// first write.
func (w *wire) read() <-chan []byte {
	in := make(chan []byte, 1024)
	go func() {
		defer close(in)
		for {
			var l [3]byte
			if _, err := io.ReadFull(w.nc, l[:]); err != nil {
				return
			}
			f := make([]byte, int(l[0])<<16|int(l[1])<<8|int(l[2]))
			if _, err := io.ReadFull(w.nc, f); err != nil {
				return
			}
			select {
			case in <- f:
			default: // nobody looks
			}
		}
	}()
	return in
}

// empty reports whether p has nothing under way.
func empty(p *peer.Peer) bool {
	s := p.Stats()
	return s.Requests == 0 && s.Buffered == 0 && s.Held == 0
}

func u32(n uint32) string { return string(binary.BigEndian.AppendUint32(nil, n)) }

const (
	flagN = core.FlagNext
	flagC = core.FlagComplete
	flagF = core.FlagFollow
	flagM = core.FlagMetadata
)

// rsocket-go v0.8.16 sets C on the first fragment of an answer: the payload is whole with the last one all the same.
func TestCompleteOnTheFirstFragmentWaitsForTheLast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var heard []string
		p, err := peer.New(peer.Config{Handler: peer.Funcs{
			Channel: func(_ context.Context, first Payload, in seq) seq {
				return func(func(Payload, error) bool) {
					heard = append(heard, string(first.Metadata)+"/"+string(first.Data))
					for v := range in {
						heard = append(heard, string(v.Metadata)+"/"+string(v.Data))
					}
					heard = append(heard, "complete")
				}
			},
		}})
		if err != nil {
			t.Fatal(err)
		}
		w, over := dialWire(t, p)
		w.read()
		answers := make(chan string, 1)
		go func() {
			v, err := p.Requester(w.c).RequestResponse(t.Context(), data("x"))
			if err != nil {
				t.Error(err)
			}
			answers <- string(v.Metadata) + "/" + string(v.Data)
		}()
		synctest.Wait()
		for _, f := range [][]byte{
			frame(2, core.FrameTypePayload, flagN|flagC|flagF|flagM, "\x00\x00\x02mmab"),
			frame(2, core.FrameTypePayload, flagN|flagF, "cd"),
			frame(2, core.FrameTypePayload, flagN, "ef"),
			frame(1, core.FrameTypeRequestChannel, flagF|flagM, u32(1)+"\x00\x00\x01md"),
			frame(1, core.FrameTypePayload, flagN|flagF|flagM, "\x00\x00\x03oreq"),
			frame(1, core.FrameTypePayload, flagN|flagM, "\x00\x00\x00"),
		} {
			if _, err := w.nc.Write(f); err != nil {
				t.Fatal(err)
			}
		}
		synctest.Wait()
		for _, f := range [][]byte{
			frame(1, core.FrameTypePayload, flagN|flagC|flagF, "to"),
			frame(1, core.FrameTypePayload, flagN|flagF, "rn"),
			frame(1, core.FrameTypePayload, flagN, "!"),
		} {
			if _, err := w.nc.Write(f); err != nil {
				t.Fatal(err)
			}
		}
		if got := <-answers; got != "mm/abcdef" {
			t.Errorf("answer %q", got)
		}
		synctest.Wait()
		if got := strings.Join(heard, " "); got != "more/dq /torn! complete" {
			t.Errorf("the handler heard %q", got)
		}
		_ = w.nc.Close()
		<-over
		p.Wait()
	})
}

// FuzzInbound feeds any frames to a peer that has a request of each kind open, and to its handlers. Whatever comes,
// everything ends with the link and nothing is left.
func FuzzInbound(f *testing.F) {
	add := func(frames ...[]byte) { f.Add(bytes.Join(frames, nil)) }
	for typ := range core.FrameType(0x10) {
		for id := range uint32(4) {
			add(frame(id, typ, flagM, "\x00\x00\x01\x00\x00\x02xx"), frame(id, typ, flagN|flagF, u32(1)), frame(id, typ, flagN|flagC, ""))
		}
	}
	add(frame(1, 7, flagF, u32(5)+"abc"), frame(1, 10, flagN|flagF, "def"), frame(1, 10, flagN, "ghi"), frame(1, 8, 0, u32(1<<31-1)),
		frame(1, 8, 0, u32(1<<31-1)), frame(1, 10, flagC, ""), frame(1, 9, 0, ""))
	add(frame(2, 10, flagN|flagF, "ab"), frame(2, 10, flagC, ""), frame(4, 10, flagN|flagM, "\x00\x00\x02mm"), frame(4, 10, flagN, ""),
		frame(6, 10, flagN, ""), frame(6, 9, 0, ""), frame(6, 8, 0, u32(1)), frame(6, 11, 0, u32(0x201)+"no"))
	add(frame(6, 8, 0, u32(2)), frame(6, 10, flagC, ""), frame(0, 12, flagM, "advert"), frame(1, 5, 0, "x"), frame(3, 4, 0, "x"), frame(5, 6, 0, u32(0)+"x"))
	h := echo()
	h.Stream = func(ctx context.Context, req Payload) seq {
		peer.Keep(ctx, len(req.Data)*8)
		return count(3, req)
	}
	h.Forget = func(context.Context, Payload) {}
	h.Push = func(context.Context, []byte) {}
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := peer.New(peer.Config{Handler: h, MaxPayload: 4 << 10, MaxBuffered: 8 << 10, MaxHandlers: 8, MaxHeld: 4 << 10})
		if err != nil {
			t.Fatal(err)
		}
		w, over := dialWire(t, p)
		frames := w.read()
		r := p.Requester(w.c)
		var asking sync.WaitGroup
		for _, ask := range []func(){
			func() { _, _ = r.RequestResponse(context.Background(), data("a")) },
			func() {
				for range r.RequestStream(context.Background(), data("b"), peer.Window(2)) {
				}
			},
			func() {
				for range r.RequestChannel(context.Background(), data("c"), count(2, data("d")), peer.Window(2)) {
				}
			},
		} {
			asking.Go(ask)
			<-frames // one after the other, so that they have the ids 2, 4, 6
		}
		_, _ = w.nc.Write(b) // fails when the server has hung up
		_ = w.nc.Close()
		<-over
		<-w.c.Done()
		asking.Wait()
		p.Wait()
		// A sender of the session may still be telling of its last batch.
		for late := time.Now().Add(10 * time.Second); !empty(p) && time.Now().Before(late); {
			runtime.Gosched()
		}
		if !empty(p) {
			t.Fatalf("left over: %+v", p.Stats())
		}
		if s := w.c.Stats(); s.Streams != 0 || s.Queued != 0 {
			t.Fatalf("left over in the session: %+v", s)
		}
	})
}
