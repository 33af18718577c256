package session_test

import (
	"bytes"
	"context"
	"errors"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rsocket/rsocket-go/core"

	"github.com/perchcam/perch/internal/simlink"
	"github.com/perchcam/perch/pkg/session"
)

func TestSilenceIsNoticed(t *testing.T) {
	for name, c := range map[string]struct {
		open   bool // a stream
		far    bool // look at the server's end
		silent func(*simlink.Link)
		within time.Duration
	}{
		"client, busy, black hole":  {true, false, (*simlink.Link).Silence, 3 * time.Second},
		"client, busy, one way out": {true, false, (*simlink.Link).SilenceAB, 3 * time.Second},
		"client, busy, one way in":  {true, false, (*simlink.Link).SilenceBA, 3 * time.Second},
		"server, busy, black hole":  {true, true, (*simlink.Link).Silence, 3 * time.Second},
		"client, idle":              {false, false, (*simlink.Link).Silence, 31 * time.Second},
		"server, idle":              {false, true, (*simlink.Link).Silence, 31 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, simlink.Path{Latency: 10 * time.Millisecond}, session.ServerConfig{})
				local := &end{}
				cl, _ := w.client(resumable, local)
				time.Sleep(time.Minute) // long idle
				if c.open {
					s := cl.Open(&half{local, nil})
					s.Send(request(core.FrameTypeRequestStream, 1, ""))
					cl.Flush()
					time.Sleep(20 * time.Second)
				}
				if n := cl.Stats().Links; n != 1 {
					t.Fatalf("%d links while all was well", n)
				}
				w.setDown(errDown)
				c.silent(w.link())
				who := cl.Conn
				if c.far {
					who = w.conn()
				}
				begin := time.Now()
				for who.Up() {
					if time.Sleep(10 * time.Millisecond); time.Since(begin) > time.Minute {
						t.Fatal("not noticed in a minute")
					}
				}
				if d := time.Since(begin); d > c.within {
					t.Errorf("noticed after %v", d)
				}
			})
		})
	}
}

// What closes each connection without a word is given up soon: it is something else. One that has answered before is not.
func TestMute(t *testing.T) {
	tried := 0
	deaf := func() (net.Conn, error) {
		tried++
		near, far := net.Pipe()
		go func() {
			_, _ = far.Read(make([]byte, 1))
			_ = far.Close()
		}()
		return near, nil
	}
	synctest.Test(t, func(t *testing.T) {
		c, err := session.NewClient(session.ClientConfig{Setup: session.Setup{Resume: true}, Dial: func(context.Context) (net.Conn, error) { return deaf() }}, &end{})
		if err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		err = c.Run(t.Context())
		if err == nil || !strings.Contains(err.Error(), "closes each connection without an answer") || tried != 4 || time.Since(began) > 2*time.Second {
			t.Errorf("%v after %d tries in %v", err, tried, time.Since(began))
		}
	})
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, simlink.Path{}, session.ServerConfig{})
		var mute atomic.Bool
		c, _ := w.client(session.ClientConfig{Setup: session.Setup{Resume: true}, Dial: func(ctx context.Context) (net.Conn, error) {
			if mute.Load() {
				return deaf()
			}
			return w.dial(ctx)
		}}, &end{})
		time.Sleep(time.Second)
		mute.Store(true)
		w.link().Reset()
		time.Sleep(30 * time.Second)
		mute.Store(false)
		time.Sleep(10 * time.Second)
		if !c.Up() {
			t.Errorf("it has not come back: %v", c.Err())
		}
	})
}

// TestServingAgain measures how long after the link is back a session is up again, for outages of every length.
func TestServingAgain(t *testing.T) {
	t.Parallel()
	for _, outage := range []time.Duration{time.Second, time.Minute, time.Hour, 24 * time.Hour} {
		for _, kicked := range []bool{true, false} {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, simlink.Path{Latency: 10 * time.Millisecond}, session.ServerConfig{SessionTime: 48 * time.Hour})
				kick := make(chan struct{}, 1)
				cfg := session.ClientConfig{Setup: session.Setup{Resume: true}, SessionTime: 48 * time.Hour, Kick: kick}
				var took []time.Duration
				c, _ := w.client(cfg, &end{})
				rounds := 20
				if outage >= time.Hour {
					rounds = 3 // each is thousands of dials
				}
				for range rounds {
					w.setDown(errDown)
					w.link().Reset()
					time.Sleep(outage)
					w.setDown(nil)
					back := time.Now()
					if kicked {
						kick <- struct{}{}
					}
					for !c.Up() {
						time.Sleep(time.Millisecond)
					}
					took = append(took, time.Since(back))
					time.Sleep(time.Minute)
				}
				slices.Sort(took)
				p50, worst := took[len(took)/2], took[len(took)-1]
				t.Logf("outage %v, kernel event %v: serving again after p50 %v, worst %v", outage, kicked, p50, worst)
				if kicked && (p50 > 150*time.Millisecond || worst > 500*time.Millisecond) {
					t.Errorf("p50 %v, worst %v", p50, worst)
				}
				if worst > 7500*time.Millisecond+500*time.Millisecond { // one interval at its longest
					t.Errorf("worst %v", worst)
				}
			})
		}
	}
}

func TestResumeRejectedEndsSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, simlink.Path{}, session.ServerConfig{SessionTime: time.Second})
		local := &end{}
		_, stop := w.client(resumable, local)
		w.setDown(errDown)
		w.link().Reset()
		time.Sleep(20 * time.Second)
		w.setDown(nil)
		time.Sleep(10 * time.Second)
		if e, ok := errors.AsType[*session.Error](local.ended()); !ok || e.Code != core.ErrorCodeRejectedResume {
			t.Error("ended with", local.ended())
		}
		if err := stop(); !errors.Is(err, session.ErrClosed) {
			t.Error("Run says", err)
		}
	})
}

func TestClientGivesUpAfterSessionTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, simlink.Path{}, session.ServerConfig{})
		local := &end{}
		cfg := resumable
		cfg.SessionTime = time.Minute
		_, stop := w.client(cfg, local)
		w.setDown(errDown)
		w.link().Reset()
		begin := time.Now()
		for local.ended() == nil {
			time.Sleep(100 * time.Millisecond)
		}
		if d := time.Since(begin); d < 59*time.Second || d > 61*time.Second {
			t.Errorf("given up after %v", d)
		}
		if err := stop(); err == nil || !strings.Contains(err.Error(), "no link within the session time of 1m0s") {
			t.Error("Run says", err)
		}
	})
}

func TestDialFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, simlink.Path{}, session.ServerConfig{})
		w.setDown(errDown)
		local := &end{}
		_, stop := w.client(resumable, local)
		if err := stop(); !errors.Is(err, errDown) {
			t.Error("Run says", err)
		}
		if local.ended() == nil {
			t.Error("the receiver was not told")
		}
	})
}

func TestSetupIsNotAnswered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, simlink.Path{}, session.ServerConfig{})
		cfg := session.ClientConfig{Dial: func(context.Context) (net.Conn, error) {
			l := w.net.Link()
			l.Silence()
			return l.A, nil
		}}
		local := &end{}
		_, stop := w.client(cfg, local)
		time.Sleep(11 * time.Second)
		if local.ended() == nil {
			t.Fatal("a SETUP that is not answered is waited for")
		}
		if err := stop(); err == nil || !strings.Contains(err.Error(), "nothing heard") && !strings.Contains(err.Error(), "link lost") {
			t.Error("Run says", err)
		}
	})
}

func TestGoodbye(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, simlink.Path{Latency: time.Millisecond}, session.ServerConfig{})
		local := &end{}
		c, stop := w.client(resumable, local)
		s := c.Open(&half{local, nil})
		s.Send(request(core.FrameTypeRequestStream, 1, ""))
		c.Flush()
		time.Sleep(time.Second)
		if err := stop(); err != nil {
			t.Error("our own goodbye is an error:", err)
		}
		time.Sleep(10 * time.Millisecond)
		if err := w.conn().Err(); err == nil || !strings.Contains(err.Error(), "closed by the other end: goodbye") {
			t.Error("the server's end says", err)
		}
		if _, n, _ := w.server.Stats(); n != 0 {
			t.Error("the session outlived its goodbye")
		}
	})
}

// TestFullSession fills what may be kept: no new element leaves, but CANCEL, REQUEST_N and other streams' do, and
// nothing is lost when room comes back.
func TestFullSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, simlink.Path{Buffer: 1 << 20}, session.ServerConfig{})
		local := &end{}
		cfg := session.ClientConfig{Options: session.Options{Retain: 30_000}, Setup: session.Setup{Resume: true, KeepAlive: 10 * time.Minute, Lifetime: time.Hour}}
		c, _ := w.client(cfg, local)
		big, small := c.Open(&half{local, nil}), c.Open(&half{local, nil})
		big.Send(request(core.FrameTypeRequestChannel, 5, "big"))
		small.Send(request(core.FrameTypeRequestStream, 5, "small"))
		c.Flush()
		synctest.Wait()
		w.setDown(errDown)
		w.link().SilenceBA() // acknowledgements do not come
		const n = 20
		for range n {
			big.Send(next(string(make([]byte, 10_000))))
		}
		c.Flush()
		synctest.Wait()
		if st := c.Stats(); st.Retained < 30_000 || st.Retained > 50_000 || st.Queued < 100_000 {
			t.Errorf("%+v", st)
		}
		if big.Await() || small.Await() {
			t.Error("a full session says that a value may leave")
		}
		small.Request(7)
		small.Cancel()
		c.Flush()
		synctest.Wait()
		var types []core.FrameType
		for _, f := range w.remote.seen() {
			if f.t != core.FrameTypePayload {
				types = append(types, f.t)
			}
		}
		if !slices.Equal(types, []core.FrameType{core.FrameTypeRequestChannel, core.FrameTypeRequestStream, core.FrameTypeCancel}) {
			t.Errorf("the other end saw %v", types)
		}
		w.setDown(nil)
		time.Sleep(10 * time.Second) // the silence is noticed, the session resumes, probes empty it
		synctest.Wait()
		got := 0
		for _, f := range w.remote.seen() {
			if f.t == core.FrameTypePayload && len(f.data) == 10_000 {
				got++
			}
		}
		st := c.Stats()
		if got != n || st.Queued != 0 || st.Retained >= 30_000 || st.Probes == 0 {
			t.Errorf("%d of %d arrived, %+v", got, n, st)
		}
		if n, _ := local.told(); n == 0 {
			t.Error("nobody was told that there is room")
		}
	})
}

// TestSmallAnswerBesideLarge shows the order on the way out: a small frame waits for a batch, not for 5 MB.
func TestSmallAnswerBesideLarge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, simlink.Path{Rate: 14_000_000, Buffer: 16 << 10}, session.ServerConfig{})
		local := &end{}
		c, _ := w.client(resumable, local)
		big, small := c.Open(&half{local, nil}), c.Open(&half{local, nil})
		big.Send(request(core.FrameTypeRequestChannel, 5, ""))
		small.Send(request(core.FrameTypeRequestChannel, 5, ""))
		c.Flush()
		big.Send(next(string(make([]byte, 5<<20))))
		c.Flush()
		time.Sleep(50 * time.Millisecond)
		var took []time.Duration
		for range 20 {
			begin := time.Now()
			small.Send(next("ping"))
			c.Flush()
			before := len(w.remote.seen())
			var at time.Time
			for at.IsZero() {
				time.Sleep(100 * time.Microsecond)
				for _, f := range w.remote.seen()[before:] {
					if f.data == "ping" {
						at = f.at
					}
				}
			}
			took = append(took, at.Sub(begin))
		}
		slices.Sort(took)
		t.Logf("p50 %v, worst %v", took[10], took[19])
		if took[19] > 6*time.Millisecond {
			t.Errorf("a ping waited %v", took[19])
		}
	})
}

// TestRequestNAtElementBorders: rsocket-js takes a REQUEST_N between two fragments of its stream for an error.
func TestRequestNAtElementBorders(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, simlink.Path{Rate: 1_000_000, Buffer: 8 << 10}, session.ServerConfig{})
		local := &end{}
		c, _ := w.client(resumable, local)
		s := c.Open(&half{local, nil})
		s.Send(request(core.FrameTypeRequestChannel, 5, ""))
		// The last fragment of 6 × 16,378 bytes is a whole turn: the border comes when the stream's turn is over.
		for _, size := range []int{100_000, 6 * 16_378} {
			before := len(w.remote.seen())
			for i := range 5 {
				s.Send(next(string(bytes.Repeat([]byte{byte('a' + i)}, size))))
				c.Flush()
				time.Sleep(30 * time.Millisecond)
				s.Request(1)
				s.Request(2)
				c.Flush()
			}
			time.Sleep(10 * time.Second)
			element, asked := "", uint32(0)
			for _, f := range w.remote.seen()[before:] {
				if f.t == core.FrameTypeRequestN {
					if asked += f.n; len(element)%size != 0 {
						t.Errorf("REQUEST_N after %d bytes of an element", len(element)%size)
					}
				} else if f.t == core.FrameTypePayload {
					element += f.data
				}
			}
			if asked != 15 || len(element) != 5*size {
				t.Errorf("elements of %d bytes: asked for %d, %d bytes", size, asked, len(element))
			}
		}
	})
}

// TestCanceledBeforeItLeft: a request that is canceled before its first frame left never existed.
func TestCanceledBeforeItLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, simlink.Path{}, session.ServerConfig{})
		local := &end{}
		c, _ := w.client(resumable, local)
		a, b := c.Open(&half{local, nil}), c.Open(&half{local, nil})
		a.Send(request(core.FrameTypeRequestResponse, 0, "a"))
		b.Send(request(core.FrameTypeRequestResponse, 0, "b"))
		a.Cancel()
		c.Flush()
		synctest.Wait()
		if got := w.remote.seen(); len(got) != 1 || got[0].data != "b" || b.ID() != 1 || a.ID() != 0 {
			t.Errorf("seen %v, ids %d and %d", got, a.ID(), b.ID())
		}
	})
}

func TestAwait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, simlink.Path{Rate: 100_000, Buffer: 1000}, session.ServerConfig{})
		local := &end{}
		c, _ := w.client(resumable, local)
		s := c.Open(&half{local, nil})
		s.Send(request(core.FrameTypeRequestChannel, 5, ""))
		c.Flush()
		synctest.Wait()
		if !s.Await() {
			t.Fatal("nothing is under way, and a value may not leave")
		}
		s.Send(next(string(make([]byte, 10_000)))) // 100 ms
		c.Flush()
		if s.Await() {
			t.Fatal("a value may leave while another has not")
		}
		time.Sleep(50 * time.Millisecond)
		if n, _ := local.told(); n != 0 {
			t.Error("Writable came while the value had not left")
		}
		time.Sleep(60 * time.Millisecond)
		if n, left := local.told(); n != 1 || left != 1 || !s.Await() {
			t.Errorf("Writable came %d times, %d left", n, left)
		}
		w.setDown(errDown)
		w.link().Reset()
		synctest.Wait()
		if s.Await() {
			t.Error("a value may leave without a link")
		}
		time.Sleep(10 * time.Second)
		w.setDown(nil)
		time.Sleep(10 * time.Second)
		if n, _ := local.told(); n != 2 {
			t.Errorf("Writable came %d times", n)
		}
	})
}

func TestPush(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, simlink.Path{}, session.ServerConfig{})
		c, _ := w.client(resumable, &end{})
		c.Push([]byte("news"))
		synctest.Wait()
		if !slices.Equal(w.remote.pushes, []string{"news"}) {
			t.Errorf("pushes %q", w.remote.pushes)
		}
		if n := c.Stats().BytesSent; n != 0 {
			t.Errorf("a METADATA_PUSH counts %d", n)
		}
	})
}
