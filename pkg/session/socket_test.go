package session_test

import (
	"context"
	"flag"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
)

var socketCuts = flag.Int("chaos.sockets", 100, "how many cuts of real connections TestCutRealSockets makes")

// road is a way over real TCP connections: a relay on loopback that cuts each of them after a number of bytes.
type road struct {
	t     *testing.T
	serve net.Listener
	relay net.Listener
	work  sync.WaitGroup

	mu   sync.Mutex // guards the following
	rnd  *rand.Rand
	left int // cuts to make
	made map[string]int
	open map[net.Conn]bool
}

func newRoad(t *testing.T, seed uint64, cuts int) *road {
	listen := func() net.Listener {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		return ln
	}
	return &road{
		t: t, serve: listen(), relay: listen(),
		rnd: rand.New(rand.NewPCG(seed, 7)), left: cuts, made: map[string]int{}, open: map[net.Conn]bool{},
	}
}

func (r *road) dial(ctx context.Context) (net.Conn, error) {
	return new(net.Dialer).DialContext(ctx, "tcp", r.relay.Addr().String())
}

func (r *road) lead(serve func(net.Conn)) {
	r.work.Go(func() { accept(&r.work, r.serve, serve) })
	r.work.Go(func() { accept(&r.work, r.relay, r.carry) })
}

func accept(work *sync.WaitGroup, ln net.Listener, f func(net.Conn)) {
	for {
		nc, err := ln.Accept()
		if err != nil {
			return
		}
		work.Go(func() { f(nc) })
	}
}

func (r *road) down() {
	_ = r.serve.Close()
	_ = r.relay.Close()
	r.mu.Lock()
	for nc := range r.open {
		_ = nc.Close()
	}
	r.mu.Unlock()
	r.work.Wait()
}

// carry relays one connection, and cuts it when its turn has come.
func (r *road) carry(near net.Conn) {
	far, err := net.Dial("tcp", r.serve.Addr().String())
	if err != nil {
		_ = near.Close()
		return
	}
	r.mu.Lock()
	at, kind, back := 1<<40, "", false
	if r.left > 0 {
		r.left--
		// Not before the session is up: its SETUP and first KEEPALIVE are less than 1,500 bytes.
		at, kind, back = 1500+r.rnd.IntN(60_000), []string{"RST", "FIN", "black hole"}[r.rnd.IntN(3)], r.rnd.IntN(2) == 0
	}
	r.open[near], r.open[far] = true, true
	r.mu.Unlock()
	hit := make(chan struct{})
	copyTo := func(dst, src net.Conn, limited bool) {
		n := int64(1 << 40)
		if limited {
			n = int64(at)
		}
		_, err := io.CopyN(dst, src, n)
		if err == nil {
			r.mu.Lock()
			r.made[kind]++
			r.mu.Unlock()
			close(hit)
			return
		}
		if limited {
			r.mu.Lock()
			r.left++ // the connection was over before its cut
			r.mu.Unlock()
		}
		select {
		case <-hit: // the way of the cut decides what becomes of the connections
		default:
			_ = dst.Close()
			_ = src.Close()
		}
	}
	var both sync.WaitGroup
	both.Go(func() { copyTo(far, near, at < 1<<40 && !back) })
	both.Go(func() { copyTo(near, far, at < 1<<40 && back) })
	over := make(chan struct{})
	go func() { both.Wait(); close(over) }()
	select {
	case <-over:
	case <-hit:
		switch kind {
		case "RST":
			_ = near.(*net.TCPConn).SetLinger(0)
			_ = far.(*net.TCPConn).SetLinger(0)
			fallthrough
		case "FIN":
			_ = near.Close()
			_ = far.Close()
		case "black hole": // the ends find out by themselves; the other direction goes on until they do
		}
		<-over
	}
}

// TestCutRealSockets has conversations over loopback TCP, through a broker, and cuts both legs.
func TestCutRealSockets(t *testing.T) {
	const many = 16 // conversations at once
	var mu sync.Mutex
	made, runs := map[string]int{}, 0
	total := func() (n int) {
		for _, m := range made {
			n += m
		}
		return n
	}
	var work sync.WaitGroup
	for k := range many {
		work.Go(func() {
			for i := 0; ; i++ {
				mu.Lock()
				enough := total() >= *socketCuts || runs > 10**socketCuts
				runs++
				mu.Unlock()
				if enough {
					return
				}
				seed := *chaosSeed + uint64(k+many*i)
				laptop, device := newRoad(t, seed, 3), newRoad(t, seed+1<<32, 3)
				st, name := variant(1+4*(k%3), seed)
				faults := st.play(t, laptop, device, func() {})
				mu.Lock()
				for _, r := range []*road{laptop, device} {
					for kind, n := range r.made {
						made[kind] += n
					}
				}
				mu.Unlock()
				for _, f := range faults {
					t.Errorf("seed %d%s: %s", seed, name[len("laptop's leg"):], f)
				}
				if len(faults) > 0 {
					return
				}
			}
		})
	}
	work.Wait()
	t.Logf("%d conversations, %d cuts %v", runs-many, total(), made)
}
