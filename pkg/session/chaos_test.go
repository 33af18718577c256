package session_test

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/perchcam/perch/internal/simlink"
	"github.com/perchcam/perch/pkg/session"
)

var (
	chaosSeed = flag.Uint64("chaos.seed", 1, "the first seed of the random cuts; each conversation takes the next")
	chaosCuts = flag.Int("chaos.cuts", 500, "how many cuts at random bytes TestCutAtAnyByte makes")
)

// cutter cuts a leg's links at random bytes, as often as it was told.
type cutter struct {
	rnd   *rand.Rand
	mu    sync.Mutex
	left  int
	every int // bytes between cuts, about
	made  []string
	fault func() // called after each cut
}

func (c *cutter) onNew(k *simlink.Link) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.left == 0 {
		return
	}
	c.left--
	at, name, back := 1+c.rnd.IntN(2*c.every), cutNames[c.rnd.IntN(len(cutNames))], c.rnd.IntN(2) == 0
	hit := sync.OnceFunc(func() {
		c.mu.Lock()
		c.made = append(c.made, fmt.Sprintf("%s at byte %d", name, at))
		c.mu.Unlock()
		cuts[name](k)
		if c.fault != nil {
			c.fault()
		}
	})
	if back {
		k.CutBackAt(at, hit)
	} else {
		k.CutAt(at, hit)
	}
}

// TestConversation is the conversation when nothing happens to it: whatever fails here fails without a cut.
func TestConversation(t *testing.T) {
	for _, direct := range []bool{true, false} {
		for _, f := range (stage{path: simlink.Path{Latency: 5 * time.Millisecond}, direct: direct, talk: shortTalk}).run(t) {
			t.Errorf("direct %v: %s", direct, f)
		}
	}
}

// variant is one of the circumstances under which the conversation is cut.
func variant(i int, seed uint64) (st stage, name string) {
	st = stage{seed: seed, talk: shortTalk, path: simlink.Path{Latency: 5 * time.Millisecond, Rate: 5_000_000}}
	name = []string{"direct", "laptop's leg", "device's leg", "both legs"}[i%4]
	st.direct = name == "direct"
	switch i / 4 % 3 {
	case 1:
		st.options.MTU, name = 1<<16, name+", whole" // 64 KiB: nearly all are whole frames
	case 2:
		st.options.MTU, st.options.Retain, name = 4<<10, 3*4<<10, name+", three frames retained"
	}
	return st, name
}

// TestCutAtAnyByte cuts conversations at random bytes. With -chaos.seed and -chaos.cuts it is the long run.
func TestCutAtAnyByte(t *testing.T) {
	t.Parallel()
	made, runs, kinds := 0, 0, map[string]int{}
	for i := 0; made < *chaosCuts; i++ {
		seed := *chaosSeed + uint64(i)
		rnd := rand.New(rand.NewPCG(seed, 0))
		st, name := variant(i, seed)
		var cutters []*cutter
		var starts []func() // once the sessions are up: a SETUP that is lost is the link's business
		st.arrange = func(laptop, device *leg) {
			for k, l := range []*leg{laptop, device} {
				if l == nil || k == 0 && strings.HasPrefix(name, "device's") || k == 1 && strings.HasPrefix(name, "laptop's") {
					continue
				}
				c := &cutter{rnd: rand.New(rand.NewPCG(seed, uint64(k)+1)), left: 4 + rnd.IntN(8), every: 60_000}
				cutters = append(cutters, c)
				starts = append(starts, func() { l.each(c.onNew) })
			}
		}
		st.meddle = func(_, _ *session.Conn) {
			for _, start := range starts {
				start()
			}
		}
		faults := st.run(t)
		for _, c := range cutters {
			made += len(c.made)
			for _, m := range c.made {
				kind, _, _ := strings.Cut(m, " at ")
				kinds[kind]++
			}
			if len(faults) > 0 {
				t.Logf("cuts: %q", c.made)
			}
		}
		for _, f := range faults {
			t.Errorf("%s: %s", name, f)
		}
		if len(faults) > 0 {
			t.Fatalf("replay with: go test ./pkg/session -run TestCutAtAnyByte -chaos.seed=%d -chaos.cuts=1", seed)
		}
		if runs++; runs > 100+*chaosCuts {
			t.Fatal("the conversations are over before they are cut")
		}
	}
	t.Logf("%d conversations, %d cuts %v: 0 lost, 0 doubled, 0 reordered, 0 corrupt, 0 hung", runs, made, kinds)
}

// tap calls hit right after the n-th whole frame that is written through it once it is armed.
type tap struct {
	net.Conn
	armed *atomic.Bool
	left  int
	hit   func()
	head  []byte
	need  int
}

func (p *tap) Write(b []byte) (int, error) {
	for i := range b {
		if p.need > 0 {
			p.need--
		} else if p.head = append(p.head, b[i]); len(p.head) == 3 {
			p.need = int(p.head[0])<<16 | int(p.head[1])<<8 | int(p.head[2])
			p.head = p.head[:0]
		}
		if p.need > 0 || len(p.head) > 0 || !p.armed.Load() {
			continue
		}
		if p.left--; p.left == 0 {
			n, err := p.Conn.Write(b[:i+1])
			if p.hit(); err != nil {
				return n, err
			}
			m, err := p.Conn.Write(b[i+1:])
			return n + m, err
		}
	}
	return p.Conn.Write(b)
}

// TestCutAtEveryFrame cuts the link right after the n-th frame of the conversation, for every n and in both
// directions, until the conversation is over before the cut.
func TestCutAtEveryFrame(t *testing.T) {
	t.Parallel()
	tk := talk{responses: 2, elements: 4, newest: 3, echoes: 3, forgets: 3, snapshot: 40_000}
	for i := range 12 { // every leg, each in frames of every size
		for _, back := range []bool{false, true} {
			st, on := variant(i, 1)
			st.talk, st.path = tk, simlink.Path{Latency: 5 * time.Millisecond}
			n, cut := 1, true
			for ; cut; n++ {
				cut = false
				var armed atomic.Bool // once the session is up: before, nothing has been asked
				var mu sync.Mutex     // two legs may be cut at once
				st.seed = uint64(n)
				st.meddle = func(_, _ *session.Conn) { armed.Store(true) }
				st.arrange = func(laptop, device *leg) {
					for _, l := range []*leg{laptop, device} {
						if l == nil || l == laptop && strings.HasPrefix(on, "device's") || l == device && strings.HasPrefix(on, "laptop's") {
							continue
						}
						hit := sync.OnceFunc(func() {
							mu.Lock()
							cut = true
							mu.Unlock()
							l.newest().Reset()
						})
						wrap := func(nc net.Conn) net.Conn { return &tap{Conn: nc, armed: &armed, left: n, hit: hit} }
						if serve := l.serve; back {
							l.serve = func(nc net.Conn) { serve(wrap(nc)) }
						} else {
							l.wrap = wrap
						}
					}
				}
				for _, f := range st.run(t) {
					t.Fatalf("%s, back %v, cut after frame %d: %s", on, back, n, f)
				}
			}
			t.Logf("%s, back %v: cut after each of %d frames", on, back, n-2)
			if n < 15 {
				t.Errorf("%s: only %d frames", on, n)
			}
		}
	}
}

// TestBrokenSessionIsCaught shows that the checker above can fail: a session with a fault is not let through.
func TestBrokenSessionIsCaught(t *testing.T) {
	t.Parallel()
	for name, fault := range map[string]func(*session.Conn){
		"drops one retained frame": session.DropRetained,
		"counts before the write":  session.CountEarly,
	} {
		t.Run(name, func(t *testing.T) {
			for seed := range uint64(200) {
				var laptop, device *session.Conn
				var starts []func()
				st, _ := variant(1+int(seed)%3, seed)
				st.arrange = func(l, d *leg) {
					for k, g := range []*leg{l, d} {
						c := &cutter{rnd: rand.New(rand.NewPCG(seed, uint64(k))), left: 4, every: 60_000}
						c.fault = func() {
							fault(laptop)
							fault(device)
						}
						starts = append(starts, func() { g.each(c.onNew) })
					}
				}
				st.meddle = func(l, d *session.Conn) {
					laptop, device = l, d
					for _, start := range starts {
						start()
					}
				}
				if faults := st.run(t); len(faults) > 0 {
					t.Logf("caught with seed %d: %s", seed, faults[0])
					return
				}
			}
			t.Error("a broken session was let through")
		})
	}
}
