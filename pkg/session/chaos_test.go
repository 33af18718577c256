package session_test

import (
	"context"
	"encoding/binary"
	"flag"
	"fmt"
	"hash/crc32"
	"io"
	"iter"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/perchcam/perch/internal/simlink"
	"github.com/perchcam/perch/pkg/api"
	"github.com/perchcam/perch/pkg/broker"
	"github.com/perchcam/perch/pkg/peer"
	"github.com/perchcam/perch/pkg/session"
	"github.com/perchcam/perch/pkg/wire"
)

var (
	chaosSeed = flag.Uint64("chaos.seed", 1, "the first seed of the random cuts; each conversation takes the next")
	chaosCuts = flag.Int("chaos.cuts", 500, "how many cuts at random bytes TestCutAtAnyByte makes")
)

// # The conversation
//
// A laptop asks a device, through a broker or directly, with all four models at once. Both note what they sent and
// what they received; check compares. It is what a stream promises that must hold: of responses, channels, keep=all
// streams and fire-and-forgets everything arrives once and in order; of a stream of the newest, everything sent
// arrives once and in order, and the skips it states are the elements that are missing.
type history struct {
	mu     sync.Mutex
	faults []string
	fnf    map[uint32]int
	sent   map[string]uint32 // elements of a stream that its responder gave away
	done   int
}

func (h *history) fault(format string, args ...any) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.faults = append(h.faults, fmt.Sprintf(format, args...))
}

func (h *history) finished() { h.mu.Lock(); h.done++; h.mu.Unlock() }

// sealed is n bytes that say which they are and whether they are whole.
func sealed(seq uint32, n int) []byte {
	b := make([]byte, max(n, 8))
	binary.BigEndian.PutUint32(b, seq)
	for i := 8; i < min(len(b), 8+256); i++ {
		b[i] = byte(uint32(i)*7 + seq*13)
	}
	for n := 8 + 256; n < len(b); n += n - 8 { // the pattern again and again
		copy(b[n:], b[8:n])
	}
	binary.BigEndian.PutUint32(b[4:], crc32.ChecksumIEEE(b[8:])^seq)
	return b
}

// unseal returns the number that a sealed b has, and false when it is not whole.
func unseal(b []byte) (uint32, bool) {
	if len(b) < 8 {
		return 0, false
	}
	seq := binary.BigEndian.Uint32(b)
	return seq, binary.BigEndian.Uint32(b[4:]) == crc32.ChecksumIEEE(b[8:])^seq
}

type talk struct {
	responses, elements, newest, echoes, forgets int
	snapshot                                     int // bytes of the largest response
}

var shortTalk = talk{responses: 6, elements: 12, newest: 12, echoes: 10, forgets: 10, snapshot: 60_000}

// device answers. Streams are asked for with their name as data.
func (h *history) device(tk talk) peer.Handler {
	return peer.Funcs{
		Response: func(_ context.Context, p peer.Payload) (peer.Payload, error) { return peer.Payload{Data: p.Data}, nil },
		Stream: func(ctx context.Context, p peer.Payload) iter.Seq2[peer.Payload, error] {
			if string(p.Data) == "all" {
				return func(yield func(peer.Payload, error) bool) {
					peer.Keep(ctx, 1<<20)
					for i := range uint32(tk.elements) {
						if !yield(peer.Payload{Data: sealed(i, int(i*2503)%20_000)}, nil) {
							h.fault("the stream of all was canceled after %d: %v", i, context.Cause(ctx))
							return
						}
						time.Sleep(20 * time.Millisecond) // the camera
					}
				}
			}
			// The newest: a clock that ticks each 20 ms is read when the element may leave.
			begin, n := time.Now(), 0
			return peer.Fresh(ctx, func(context.Context, bool) (peer.Payload, error) {
				if n++; n > tk.newest {
					return peer.Payload{}, io.EOF
				}
				if n > 1 {
					time.Sleep(20 * time.Millisecond)
				}
				return peer.Payload{Data: sealed(uint32(time.Since(begin)/(20*time.Millisecond)), 15_000)}, nil
			})
		},
		Channel: func(ctx context.Context, first peer.Payload, in iter.Seq2[peer.Payload, error]) iter.Seq2[peer.Payload, error] {
			return func(yield func(peer.Payload, error) bool) {
				for v, err := range in {
					if err != nil {
						h.fault("the channel's input failed: %v", err)
						return
					}
					if !yield(peer.Payload{Data: v.Data}, nil) {
						h.fault("the channel's output was canceled: %v", context.Cause(ctx))
						return
					}
				}
			}
		},
		Forget: func(_ context.Context, p peer.Payload) {
			seq, ok := unseal(p.Data)
			h.mu.Lock()
			defer h.mu.Unlock()
			if h.fnf[seq]++; !ok {
				h.faults = append(h.faults, "a fire-and-forget is corrupt")
			}
		},
	}
}

// laptop asks, and returns when it has all its answers.
func (h *history) laptop(ctx context.Context, r peer.Requester, md []byte, tk talk) {
	var work sync.WaitGroup
	ask := func(b []byte) peer.Payload { return peer.Payload{Metadata: md, Data: b} }
	work.Go(func() {
		for i := range uint32(tk.responses) {
			size := int(i*9973) % 40_000
			if int(i) == tk.responses/2 {
				size = tk.snapshot
			}
			v, err := r.RequestResponse(ctx, ask(sealed(i, size)))
			if err != nil {
				h.fault("response %d: %v", i, err)
				return
			}
			if seq, ok := unseal(v.Data); !ok || seq != i || len(v.Data) != max(size, 8) {
				h.fault("response %d is %d, %d of %d bytes, whole %v", i, seq, len(v.Data), size, ok)
			}
		}
		h.finished()
	})
	work.Go(func() {
		want := uint32(0)
		for v, err := range r.RequestStream(ctx, ask([]byte("all")), peer.Window(3)) {
			if err != nil {
				h.fault("the stream of all, after %d: %v", want, err)
				return
			}
			if seq, ok := unseal(v.Data); !ok || seq != want {
				h.fault("element %d of all is %d, whole %v", want, seq, ok)
			}
			want++
		}
		if want != uint32(tk.elements) {
			h.fault("the stream of all completed after %d of %d", want, tk.elements)
		}
		h.finished()
	})
	work.Go(func() {
		last, n := -1, 0
		for v, err := range r.RequestStream(ctx, ask([]byte("newest")), peer.Window(2)) {
			if err != nil {
				h.fault("the stream of the newest, after %d: %v", n, err)
				return
			}
			seq, ok := unseal(v.Data)
			if !ok || int(seq) <= last {
				h.fault("the newest after %d is %d, whole %v", last, seq, ok)
			}
			last = int(seq)
			n++
		}
		h.finished()
	})
	work.Go(func() {
		out := func(yield func(peer.Payload, error) bool) {
			for i := range uint32(tk.echoes) {
				if !yield(peer.Payload{Data: sealed(i, int(i*3331)%30_000)}, nil) {
					h.fault("the channel's sending half was canceled after %d", i)
					return
				}
			}
		}
		want := uint32(0)
		for v, err := range r.RequestChannel(ctx, ask(nil), out, peer.Window(2)) {
			if err != nil {
				h.fault("the channel, after %d: %v", want, err)
				return
			}
			if seq, ok := unseal(v.Data); !ok || seq != want {
				h.fault("echo %d is %d, whole %v", want, seq, ok)
			}
			want++
		}
		if want != uint32(tk.echoes) {
			h.fault("the channel completed after %d of %d", want, tk.echoes)
		}
		h.finished()
	})
	work.Go(func() {
		for i := range uint32(tk.forgets) {
			if err := r.FireAndForget(ctx, ask(sealed(i, int(i*1009)%5000))); err != nil {
				h.fault("fire-and-forget %d: %v", i, err)
			}
			time.Sleep(15 * time.Millisecond)
		}
		h.finished()
	})
	work.Wait()
}

func (h *history) check(tk talk) (faults []string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	faults = h.faults
	for i := range uint32(tk.forgets) {
		if n := h.fnf[i]; n != 1 {
			faults = append(faults, fmt.Sprintf("fire-and-forget %d arrived %d times", i, n))
		}
	}
	if len(h.fnf) > tk.forgets {
		faults = append(faults, "fire-and-forgets nobody sent")
	}
	if h.done != 5 {
		faults = append(faults, fmt.Sprintf("%d of 5 models came to their end", h.done))
	}
	return faults
}

// # The network

// leg is one client's way to what it dials.
type leg struct {
	net   *simlink.Net
	serve func(net.Conn)
	work  sync.WaitGroup

	mu    sync.Mutex
	wrap  func(net.Conn) net.Conn // what the client gets of a link; nil: the link
	onNew func(*simlink.Link)     // called with each new link
	link  *simlink.Link           // the newest
	all   []*simlink.Link
}

// each makes cut look at the newest link and all that follow.
func (l *leg) each(cut func(*simlink.Link)) {
	l.mu.Lock()
	l.onNew = cut
	k := l.link
	l.mu.Unlock()
	cut(k)
}

func (l *leg) dial(context.Context) (net.Conn, error) {
	k := l.net.Link()
	l.mu.Lock()
	l.link = k
	l.all = append(l.all, k)
	onNew, wrap := l.onNew, l.wrap
	l.mu.Unlock()
	if onNew != nil {
		onNew(k)
	}
	l.work.Go(func() { l.serve(k.B) })
	if wrap != nil {
		return wrap(k.A), nil
	}
	return k.A, nil
}

func (l *leg) rewire(wrap func(net.Conn) net.Conn) { l.mu.Lock(); l.wrap = wrap; l.mu.Unlock() }

func (l *leg) newest() *simlink.Link {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.link
}

func (l *leg) down() {
	for _, k := range l.all {
		k.Reset()
	}
	l.work.Wait()
}

// cuts are the ways a link is lost.
var cuts = map[string]func(*simlink.Link){
	"RST":                (*simlink.Link).Reset,
	"FIN":                (*simlink.Link).Finish,
	"black hole":         (*simlink.Link).Silence,
	"one way out":        (*simlink.Link).SilenceAB,
	"one way in":         (*simlink.Link).SilenceBA,
	"late old link":      func(l *simlink.Link) { _ = l.A.Close() }, // the far end hears of it only when it writes
	"far end goes first": func(l *simlink.Link) { _ = l.B.Close() },
}

var cutNames = []string{"RST", "FIN", "black hole", "one way out", "one way in", "late old link", "far end goes first"}

// stage is who talks to whom.
type stage struct {
	path    simlink.Path
	options session.Options
	direct  bool // no broker between
	talk    talk
	seed    uint64
	// arrange gets the two legs, the laptop's and the device's (nil when direct), before anything is said.
	arrange func(laptop, device *leg)
	// meddle gets the sessions before anything is asked.
	meddle func(laptop, device *session.Conn)
}

// run plays the conversation in a bubble and returns what is wrong with its history.
func (st stage) run(t *testing.T) (faults []string) {
	synctest.Test(t, func(t *testing.T) {
		h := &history{fnf: map[uint32]int{}}
		n := simlink.New(st.path, st.seed)
		ctx, cancel := context.WithCancel(t.Context())
		var work sync.WaitGroup
		client := func(l *leg, setup session.Setup, handler peer.Handler) (peer.Requester, *session.Conn) {
			p, err := peer.New(peer.Config{Handler: handler})
			if err != nil {
				t.Fatal(err)
			}
			c, err := session.NewClient(session.ClientConfig{Options: st.options, Dial: l.dial, Setup: setup, SessionTime: time.Hour}, p)
			if err != nil {
				t.Fatal(err)
			}
			work.Go(func() {
				if err := c.Run(ctx); err != nil {
					h.fault("a session ended: %v", err)
				}
				p.Wait()
			})
			return p.Requester(c.Conn), c.Conn
		}
		setup := func(s wire.Setup) session.Setup {
			md, err := s.Append(nil)
			if err != nil {
				t.Fatal(err)
			}
			return session.Setup{Resume: true, MetadataMIME: wire.MIMEComposite, DataMIME: wire.MIMEJSON, Metadata: md}
		}
		laptopLeg, deviceLeg := &leg{net: n}, &leg{net: n}
		var finish func()
		var farPeer *peer.Peer
		if st.direct {
			deviceLeg = nil
			var err error
			if farPeer, err = peer.New(peer.Config{Handler: h.device(st.talk)}); err != nil {
				t.Fatal(err)
			}
			far := make(chan *session.Conn, 1)
			srv, err := session.NewServer(session.ServerConfig{Options: st.options, SessionTime: time.Hour, Accept: func(c *session.Conn) (session.Receiver, error) {
				far <- c
				return farPeer, nil
			}})
			if err != nil {
				t.Fatal(err)
			}
			laptopLeg.serve = func(nc net.Conn) { _ = srv.Serve(nc) }
			finish = func() { srv.Close(t.Context(), 0x102, "test is over"); farPeer.Wait() }
		} else {
			b, err := broker.New(broker.Config{Session: st.options, SessionTime: time.Hour, Wait: 10 * time.Second})
			if err != nil {
				t.Fatal(err)
			}
			brokerCtx, stop := context.WithCancel(t.Context())
			ran := make(chan struct{})
			go func() { _ = b.Run(brokerCtx, brokerCtx); close(ran) }()
			laptopLeg.serve, deviceLeg.serve = b.Serve, b.Serve
			finish = func() { stop(); <-ran }
		}
		if st.arrange != nil {
			st.arrange(laptopLeg, deviceLeg)
		}
		var md []byte
		var device *session.Conn
		if !st.direct {
			advert, err := api.Advert{Device: "pi", ID: "id-pi", Boot: "boot", Rev: 1, Routes: []string{"chaos"}}.Encode()
			if err != nil {
				t.Fatal(err)
			}
			_, device = client(deviceLeg, setup(wire.Setup{
				Dialect: wire.RSocketBroker, ID: wire.NewUUID().String(), Service: api.Service, Advert: advert,
				Tags: []wire.Tag{{Key: wire.KeyInstanceName, Value: "pi"}, {Key: wire.KeyDevice, Value: "pi"}},
			}), h.device(st.talk))
			md, err = wire.Request{Service: api.Service, Device: "pi", Route: "chaos", Params: []wire.Tag{{Key: wire.ParamWait, Value: "60s"}}}.Append(nil, wire.RSocketBroker)
			if err != nil {
				t.Fatal(err)
			}
		}
		r, c := client(laptopLeg, setup(wire.Setup{Dialect: wire.RSocketBroker, ID: wire.NewUUID().String(), Service: "laptop"}), nil)
		for !c.Up() || device != nil && !device.Up() {
			time.Sleep(10 * time.Millisecond)
		}
		if st.meddle != nil {
			st.meddle(c, device)
		}
		asked, giveUp := context.WithTimeout(ctx, 10*time.Minute) // of fake time: then it hangs
		h.laptop(asked, r, md, st.talk)
		if asked.Err() != nil {
			h.fault("hung: the laptop's session %+v", c.Stats())
			if device != nil {
				h.fault("hung: the device's session %+v", device.Stats())
			}
		}
		giveUp()
		time.Sleep(30 * time.Second) // what was not asked for an answer arrives too
		cancel()
		work.Wait()
		finish()
		laptopLeg.down()
		if deviceLeg != nil {
			deviceLeg.down()
		}
		if farPeer != nil {
			farPeer.Wait()
		}
		faults = h.check(st.talk)
	})
	return faults
}

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
	tk := talk{responses: 2, elements: 4, newest: 3, echoes: 3, forgets: 3, snapshot: 40_000}
	for _, back := range []bool{false, true} {
		n, cut := 1, true
		for ; cut; n++ {
			cut = false
			var armed atomic.Bool // once the session is up: before, nothing has been asked
			st := stage{seed: uint64(n), talk: tk, direct: true, path: simlink.Path{Latency: 5 * time.Millisecond}}
			st.meddle = func(_, _ *session.Conn) { armed.Store(true) }
			st.arrange = func(laptop, _ *leg) {
				hit := sync.OnceFunc(func() { cut = true; laptop.newest().Reset() })
				wrap := func(nc net.Conn) net.Conn { return &tap{Conn: nc, armed: &armed, left: n, hit: hit} }
				if serve := laptop.serve; back {
					laptop.serve = func(nc net.Conn) { serve(wrap(nc)) }
				} else {
					laptop.wrap = wrap
				}
			}
			for _, f := range st.run(t) {
				t.Fatalf("cut after frame %d, back %v: %s", n, back, f)
			}
		}
		t.Logf("back %v: cut after each of %d frames", back, n-2)
		if n < 20 {
			t.Errorf("only %d frames", n)
		}
	}
}

// TestBrokenSessionIsCaught shows that the checker above can fail: a session with a fault is not let through.
func TestBrokenSessionIsCaught(t *testing.T) {
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
