package broker

import (
	"bytes"
	"cmp"
	"context"
	"flag"
	"fmt"
	"iter"
	"math/rand/v2"
	"net"
	"os"
	"runtime"
	"runtime/metrics"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/perchcam/perch/pkg/api"
	"github.com/perchcam/perch/pkg/peer"
	"github.com/perchcam/perch/pkg/session"
	"github.com/perchcam/perch/pkg/wire"
)

var soak = flag.Duration("soak", 3*time.Second, "how long TestSoak goes on")

// TestSoak has devices and laptops come, ask, lose their links, resume, and go, over real sockets. Of goroutines, descriptors and
// live memory the last quarter of the time must not need more than the second; once all have gone the broker must have as many
// goroutines and descriptors as before. One device streams as fast as it is asked, the others 50 pictures a second.
func TestSoak(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("%v, seed %d", *soak, seed)
	s := newShop(t, Config{Listen: []string{"tcp://127.0.0.1:0"}, SessionTime: time.Second, Budget: 8 << 20})
	time.Sleep(50 * time.Millisecond)
	goroutines, files := runtime.NumGoroutine(), descriptors(t)

	var answers, pictures, cuts atomic.Int64
	ctx, cancel := context.WithTimeout(t.Context(), *soak)
	defer cancel()
	var work sync.WaitGroup
	for i := range 6 {
		work.Go(func() {
			name, pace := fmt.Sprintf("cam-%d", i), 20*time.Millisecond
			if i == 0 {
				pace = 0
			}
			r := rand.New(rand.NewPCG(seed, uint64(i)))
			for ctx.Err() == nil {
				s.live(ctx, r, &cuts, deviceSetup(name, "id-"+name, 1), soakDevice(pace), nil)
			}
		})
	}
	for i := range 12 {
		work.Go(func() {
			r := rand.New(rand.NewPCG(seed, uint64(100+i)))
			for ctx.Err() == nil {
				s.live(ctx, r, &cuts, laptopSetup(), nil, func(ctx context.Context, q peer.Requester) {
					name := fmt.Sprintf("cam-%d", r.IntN(7)) // one of them is never there
					ctx, cancel := context.WithTimeout(ctx, time.Duration(r.IntN(500))*time.Millisecond)
					defer cancel()
					switch r.IntN(4) {
					case 0:
						if v, err := q.RequestResponse(ctx, peer.Payload{Metadata: to(name, "x")}); err == nil && len(v.Data) == 100_000 {
							answers.Add(1)
						}
					case 1:
						_ = q.FireAndForget(ctx, peer.Payload{Metadata: to(name, "x"), Data: make([]byte, 50_000)})
					default:
						var share []wire.Tag
						if r.IntN(2) == 0 {
							share = []wire.Tag{{Key: wire.ParamShare, Value: "1"}}
						}
						for _, err := range q.RequestStream(ctx, peer.Payload{Metadata: to(name, api.RouteStream, share...)}) {
							if err != nil {
								break
							}
							pictures.Add(1)
						}
					}
				})
			}
		})
	}
	const samples = 200
	var course []need
	tick := time.NewTicker(*soak / samples)
	for ctx.Err() == nil {
		select {
		case <-tick.C:
			course = append(course, needs(t))
		case <-ctx.Done():
		}
	}
	tick.Stop()
	work.Wait()
	t.Logf("%d answers, %d pictures, %d cuts", answers.Load(), pictures.Load(), cuts.Load())
	if answers.Load()+pictures.Load() == 0 || cuts.Load() == 0 {
		t.Error("nothing came, or nothing was cut")
	}

	settled := func() bool {
		_, sessions, retained := s.server.Stats()
		return sessions == 0 && retained == 0 && runtime.NumGoroutine() <= goroutines && descriptors(t) <= files
	}
	for deadline := time.Now().Add(10 * time.Second); !settled() && time.Now().Before(deadline); {
		time.Sleep(50 * time.Millisecond)
	}
	if !settled() {
		_, sessions, retained := s.server.Stats()
		buf := make([]byte, 1<<20)
		t.Errorf("%d sessions, %d bytes retained, %d goroutines (%d), %d descriptors (%d)\n%s", sessions, retained,
			runtime.NumGoroutine(), goroutines, descriptors(t), files, buf[:runtime.Stack(buf, true)])
	}
	if n := s.routes.Load(); n != 0 || len(s.legs) != 0 || len(s.links) != 0 || s.registry.waiting != 0 || len(s.registry.devices) != 0 || len(s.registry.terms) != 0 {
		t.Errorf("%d routes, %d legs, %d links, %d parked, %d devices are left", n, len(s.legs), len(s.links), s.registry.waiting, len(s.registry.devices))
	}
	quarter := len(course) / 4
	before, after := median(course[quarter:2*quarter]), median(course[3*quarter:])
	t.Logf("medians of the second and the last quarter: %+v, %+v", before, after)
	if after.memory > before.memory*5/4+8<<20 || after.goroutines > before.goroutines*5/4+20 || after.files > before.files*5/4+20 {
		t.Errorf("it grew from %+v to %+v", before, after)
	}
}

// need is what the process takes.
type need struct {
	memory            uint64 // bytes that the last collection found alive
	goroutines, files int
}

func needs(t *testing.T) need {
	live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	metrics.Read(live)
	return need{live[0].Value.Uint64(), runtime.NumGoroutine(), descriptors(t)}
}

// median is of each by itself.
func median(all []need) (m need) {
	slices.SortFunc(all, func(a, b need) int { return cmp.Compare(a.memory, b.memory) })
	m.memory = all[len(all)/2].memory
	slices.SortFunc(all, func(a, b need) int { return cmp.Compare(a.goroutines, b.goroutines) })
	m.goroutines = all[len(all)/2].goroutines
	slices.SortFunc(all, func(a, b need) int { return cmp.Compare(a.files, b.files) })
	m.files = all[len(all)/2].files
	return m
}

// live is the life of one client: it does something again and again, and its links are cut, until it goes.
func (s *shop) live(ctx context.Context, r *rand.Rand, cuts *atomic.Int64, setup wire.Setup, h peer.Handler, do func(context.Context, peer.Requester)) {
	ctx, cancel := context.WithTimeout(ctx, time.Duration(500+r.IntN(3000))*time.Millisecond)
	defer cancel()
	p, err := peer.New(peer.Config{Handler: h})
	if err != nil {
		s.t.Error(err)
		return
	}
	var mu sync.Mutex
	var newest net.Conn
	c, err := session.NewClient(session.ClientConfig{Setup: composed(setup, r.IntN(4) > 0), Dial: func(ctx context.Context) (net.Conn, error) {
		nc, err := new(net.Dialer).DialContext(ctx, "tcp", s.listeners[0].Addr().String())
		mu.Lock()
		defer mu.Unlock()
		newest = nc
		return nc, err
	}}, p)
	if err != nil {
		s.t.Error(err)
		return
	}
	running, stop := context.WithCancel(context.Background())
	defer stop()
	var work sync.WaitGroup
	work.Go(func() { _ = c.Run(running) })
	cut := make(chan time.Duration, 1)
	cut <- time.Duration(200+r.IntN(1500)) * time.Millisecond
	work.Go(func() {
		for {
			select {
			case d := <-cut:
				cut <- d
				select {
				case <-time.After(d):
				case <-c.Done():
					return
				}
			case <-c.Done():
				return
			}
			mu.Lock()
			if tc, ok := newest.(*net.TCPConn); ok {
				_ = tc.SetLinger(0) // RST: what is on its way is lost
				_ = tc.Close()
				cuts.Add(1)
			}
			mu.Unlock()
		}
	})
	if do == nil {
		select {
		case <-ctx.Done():
		case <-c.Done():
		}
	}
	for do != nil && ctx.Err() == nil && c.Err() == nil {
		do(ctx, p.Requester(c.Conn))
	}
	if r.IntN(3) > 0 {
		stop()
	} else { // gone without a word
		mu.Lock()
		if newest != nil {
			_ = newest.Close()
		}
		mu.Unlock()
		stop()
	}
	work.Wait()
	p.Wait()
}

// soakDevice answers with 100 KB, and streams one of it at each pace at most.
func soakDevice(pace time.Duration) peer.Handler {
	picture := peer.Payload{Data: bytes.Repeat([]byte("0123456789"), 10_000)}
	return peer.Funcs{
		Response: func(context.Context, peer.Payload) (peer.Payload, error) { return picture, nil },
		Stream: func(ctx context.Context, _ peer.Payload) iter.Seq2[peer.Payload, error] {
			return func(yield func(peer.Payload, error) bool) {
				for yield(picture, nil) {
					if pace == 0 {
						continue
					}
					select {
					case <-time.After(pace):
					case <-ctx.Done():
						return
					}
				}
			}
		},
	}
}

// descriptors returns how many files are open; 0 where that cannot be known.
func descriptors(t *testing.T) int {
	t.Helper()
	list, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return 0
	}
	return len(list)
}
