package session_test

import (
	"context"
	"iter"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/perchcam/perch/internal/simlink"
	"github.com/perchcam/perch/pkg/peer"
	"github.com/perchcam/perch/pkg/session"
)

// A camera gives 30 pictures of 50 KB a second.
const (
	period  = time.Second / 30
	picture = 50_000
)

// far plays a device's peer over a leg that can be cut, and a laptop that asks it directly.
func far(t *testing.T, path simlink.Path, o session.Options, stream func(ctx context.Context) iter.Seq2[peer.Payload, error]) (l *leg, ask peer.Requester, device *session.Conn) {
	t.Helper()
	p, err := peer.New(peer.Config{Handler: peer.Funcs{
		Stream:   func(ctx context.Context, _ peer.Payload) iter.Seq2[peer.Payload, error] { return stream(ctx) },
		Response: func(_ context.Context, q peer.Payload) (peer.Payload, error) { return peer.Payload{Data: q.Data}, nil },
	}, MaxHeld: 64 << 20})
	if err != nil {
		t.Fatal(err)
	}
	accepted := make(chan *session.Conn, 1)
	srv, err := session.NewServer(session.ServerConfig{Options: o, SessionTime: time.Hour, Accept: func(c *session.Conn) (session.Receiver, error) {
		accepted <- c
		return p, nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	l = &leg{net: simlink.New(path, 1), serve: func(nc net.Conn) { _ = srv.Serve(nc) }}
	mine, err := peer.New(peer.Config{})
	if err != nil {
		t.Fatal(err)
	}
	c, err := session.NewClient(session.ClientConfig{Options: o, Dial: l.dial, Setup: session.Setup{Resume: true}, SessionTime: time.Hour}, mine)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ran := make(chan struct{})
	go func() { _ = c.Run(ctx); mine.Wait(); close(ran) }()
	device = <-accepted
	t.Cleanup(func() {
		cancel()
		<-ran
		srv.Close(context.Background(), 0x102, "test is over")
		l.down()
		p.Wait()
	})
	return l, mine.Requester(c.Conn), device
}

// TestSnapshotCutInTheMiddle: 5 MB arrive once, and what crosses twice is less than a fragment.
func TestSnapshotCutInTheMiddle(t *testing.T) {
	t.Parallel()
	for _, kind := range cutNames {
		if kind == "one way out" {
			continue // the answer comes the other way, and is here before anybody misses anything
		}
		synctest.Test(t, func(t *testing.T) {
			const size = 5 << 20
			l, ask, _ := far(t, simlink.Path{Latency: 10 * time.Millisecond, Rate: 10_000_000}, session.Options{}, nil)
			for !ask.Session().Up() {
				time.Sleep(time.Millisecond)
			}
			l.newest().CutBackAt(size/2, func() { cuts[kind](l.newest()) })
			v, err := ask.RequestResponse(t.Context(), peer.Payload{Data: sealed(7, size)})
			if err != nil {
				t.Fatalf("%s: %v", kind, err)
			}
			if seq, ok := unseal(v.Data); seq != 7 || !ok || len(v.Data) != size {
				t.Errorf("%s: the answer is not what was sent", kind)
			}
			if len(l.all) < 2 {
				t.Fatalf("%s: not cut", kind)
			}
			carried := 0
			for _, k := range l.all {
				a, _ := k.Carried()
				carried += a
			}
			received := int(ask.Session().Stats().BytesReceived)
			extra := carried - received - 3*(received/(16<<10))
			t.Logf("%-18s %d bytes of frames, %d of links: %d more, with KEEPALIVEs and lengths", kind, received, carried, extra)
			if extra > 16<<10+4<<10 {
				t.Errorf("%s: %d bytes crossed twice", kind, extra)
			}
		})
	}
}

// shown is one picture: when it was taken, and when it was seen.
type shown struct{ taken, seen time.Duration }

// watch looks at a camera for 48 s, of which the link is away from the third second on for 30 s. The last redial before
// that is over may put the next one off by 7.5 s, and 8 pictures to a round trip catch up with 1,125 in 2.8 s. It returns the
// pictures, and how many bytes the device's session held at most in the outage.
func watch(t *testing.T, kind string, keep bool) (pictures []shown, held int) {
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		taken := func() peer.Payload {
			time.Sleep(period - time.Since(begin)%period) // the next one
			return peer.Payload{Data: sealed(uint32((time.Since(begin)+period/2)/period), picture)}
		}
		path := simlink.Path{Latency: 10 * time.Millisecond}
		if keep {
			path.Buffer = 1 << 20 // so that it catches up while we watch
		}
		l, ask, device := far(t, path, session.Options{Retain: 64 << 20}, func(ctx context.Context) iter.Seq2[peer.Payload, error] {
			if !keep {
				return peer.Fresh(ctx, func(context.Context, bool) (peer.Payload, error) { return taken(), nil })
			}
			return func(yield func(peer.Payload, error) bool) {
				for peer.Keep(ctx, 60<<20); yield(taken(), nil); {
				}
			}
		})
		ctx, stop := context.WithTimeout(t.Context(), 48*time.Second)
		defer stop()
		time.AfterFunc(3*time.Second+7*time.Millisecond, func() {
			refuse := func(nc net.Conn) net.Conn { _ = nc.Close(); return nc }
			l.rewire(refuse)
			cuts[kind](l.newest())
			for range 300 {
				time.Sleep(100 * time.Millisecond)
				st := device.Stats()
				held = max(held, st.Retained+st.Queued)
			}
			l.rewire(nil)
		})
		for v, err := range ask.RequestStream(ctx, peer.Payload{}, peer.Window(8)) {
			if err != nil {
				break
			}
			seq, ok := unseal(v.Data)
			if !ok {
				t.Error("a torn picture")
			}
			pictures = append(pictures, shown{time.Duration(seq) * period, time.Since(begin)})
		}
	})
	return pictures, held
}

// TestOutage takes the link away for 30 s, from a stream that keeps all and from one of the newest.
func TestOutage(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{"RST", "FIN", "black hole"} {
		t.Run(kind, func(t *testing.T) {
			all, _ := watch(t, kind, true)
			for i := 1; i < len(all); i++ {
				if d := all[i].taken - all[i-1].taken; d != period {
					t.Errorf("picture %d was taken %v after the one before: one is lost or doubled", i, d)
				}
			}
			if n := int(47 * time.Second / period); len(all) < n {
				t.Errorf("%d pictures, want %d", len(all), n)
			}
			newest, held := watch(t, kind, false)
			i := 1
			for ; i < len(newest) && newest[i].seen-newest[i-1].seen < 20*time.Second; i++ {
				if newest[i].taken <= newest[i-1].taken {
					t.Errorf("picture %d is not newer than the one before", i)
				}
			}
			// What was on its way when the link was lost comes first: it was sent. Then comes the present.
			old := 0
			for ; i < len(newest) && newest[i].seen-newest[i].taken > 20*time.Second; i++ {
				old++
			}
			if i >= len(newest) {
				t.Fatal("there is no picture after the outage")
			}
			age := newest[i].seen - newest[i].taken
			t.Logf("keep=all: %d pictures, none lost; newest: %d bytes held, %d on their way, then one %v old", len(all), held, old, age)
			if held > 2*(picture+200) {
				t.Errorf("%d bytes are held in the outage: more than two pictures", held)
			}
			if age > period+20*time.Millisecond { // one way is 10 ms, its RESUME_OK another
				t.Errorf("the first new picture after the outage is %v old", age)
			}
		})
	}
}
