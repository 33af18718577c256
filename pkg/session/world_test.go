package session_test

import (
	"context"
	"errors"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rsocket/rsocket-go/core"

	"github.com/perchcam/perch/internal/simlink"
	"github.com/perchcam/perch/pkg/session"
)

// end is a Receiver and Owner that notes what happens to it. Requests it takes belong to itself.
type end struct {
	mu       sync.Mutex
	streams  []*session.Stream
	frames   []seen
	linked   []string
	pushes   []string
	over     error
	writable int
	left     int
	onFrame  func(*session.Stream, session.Frame)
}

type seen struct {
	t    core.FrameType
	data string
	n    uint32
	at   time.Time
}

func (e *end) Request(s *session.Stream, f session.Frame) session.Owner {
	e.mu.Lock()
	e.streams = append(e.streams, s)
	e.mu.Unlock()
	o := &half{e, s}
	o.Frame(f)
	return o
}
func (e *end) Push(b []byte) { e.mu.Lock(); e.pushes = append(e.pushes, string(b)); e.mu.Unlock() }
func (e *end) Settle()       {}
func (e *end) Linked(up, resumed bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	switch {
	case !up:
		e.linked = append(e.linked, "lost")
	case resumed:
		e.linked = append(e.linked, "resumed")
	default:
		e.linked = append(e.linked, "up")
	}
}
func (e *end) Ended(err error) { e.mu.Lock(); e.over = err; e.mu.Unlock() }

// half is one stream at one end.
type half struct {
	e *end
	s *session.Stream
}

func (h *half) Frame(f session.Frame) {
	h.e.mu.Lock()
	h.e.frames = append(h.e.frames, seen{f.Type(), string(f.Data()), f.N(), time.Now()})
	h.e.mu.Unlock()
	if h.e.onFrame != nil {
		h.e.onFrame(h.s, f)
	}
}
func (h *half) Left(n int)    { h.e.mu.Lock(); h.e.left += n; h.e.mu.Unlock() }
func (h *half) Writable()     { h.e.mu.Lock(); h.e.writable++; h.e.mu.Unlock() }
func (h *half) Ended(e error) { h.e.Ended(e) }

// stream is the i-th that the other end opened.
func (e *end) stream(i int) *session.Stream { e.mu.Lock(); defer e.mu.Unlock(); return e.streams[i] }

func (e *end) ended() error { e.mu.Lock(); defer e.mu.Unlock(); return e.over }

func (e *end) told() (writable, left int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.writable, e.left
}

func (e *end) seen() []seen {
	e.mu.Lock()
	defer e.mu.Unlock()
	return append([]seen(nil), e.frames...)
}

// world is a server and what a client needs to reach it over a simulated network.
type world struct {
	t      *testing.T
	net    *simlink.Net
	server *session.Server
	remote *end // what sits on the server's sessions

	mu    sync.Mutex
	links []*simlink.Link
	conns []*session.Conn // at the server
	down  error
	work  sync.WaitGroup
}

func newWorld(t *testing.T, path simlink.Path, cfg session.ServerConfig) *world {
	w := &world{t: t, net: simlink.New(path, 1), remote: &end{}}
	if cfg.Accept == nil {
		cfg.Accept = func(c *session.Conn) (session.Receiver, error) {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.conns = append(w.conns, c)
			return w.remote, nil
		}
	}
	var err error
	if w.server, err = session.NewServer(cfg); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		w.server.Close(context.Background(), core.ErrorCodeConnectionClose, "test is over")
		for _, l := range w.links {
			l.Reset()
		}
		w.work.Wait()
	})
	return w
}

func (w *world) dial(context.Context) (net.Conn, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.down != nil {
		return nil, w.down
	}
	l := w.net.Link()
	w.links = append(w.links, l)
	w.work.Go(func() { _ = w.server.Serve(l.B) })
	return l.A, nil
}

func (w *world) link() *simlink.Link {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.links[len(w.links)-1]
}

func (w *world) setDown(err error) { w.mu.Lock(); w.down = err; w.mu.Unlock() }

func (w *world) conn() *session.Conn {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.conns[len(w.conns)-1]
}

// client starts a client and returns it with a function that ends it and returns what Run did.
func (w *world) client(cfg session.ClientConfig, recv session.Receiver) (*session.Client, func() error) {
	w.t.Helper()
	if cfg.Dial == nil {
		cfg.Dial = w.dial
	}
	c, err := session.NewClient(cfg, recv)
	if err != nil {
		w.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ran := make(chan error, 1)
	go func() { ran <- c.Run(ctx) }()
	stop := sync.OnceValue(func() error { cancel(); return <-ran })
	w.t.Cleanup(func() { _ = stop() })
	synctest.Wait()
	return c, stop
}

var resumable = session.ClientConfig{Setup: session.Setup{Resume: true}}

func next(data string) session.Message {
	return session.Message{Type: core.FrameTypePayload, Flags: core.FlagNext, Data: []byte(data), Mark: true}
}

func request(t core.FrameType, n uint32, data string) session.Message {
	return session.Message{Type: t, N: n, Data: []byte(data)}
}

var errDown = errors.New("no route")
