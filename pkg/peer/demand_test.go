package peer_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rsocket/rsocket-go/core"

	"github.com/perchcam/perch/pkg/peer"
	"github.com/perchcam/perch/pkg/session"
	"github.com/perchcam/perch/pkg/session/sessiontest"
)

// against puts a peer made of cfg at the client, and frames without a peer at the server.
func against(t *testing.T, cfg peer.Config, opts session.Options) (*peer.Peer, peer.Requester, *rawEnd, *sessiontest.Net) {
	t.Helper()
	p, err := peer.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	end := newRawEnd()
	t.Cleanup(func() {
		p.Wait()
		if !empty(p) {
			t.Errorf("left over: %+v", p.Stats())
		}
	})
	c, _, n := sessiontest.Pair(t, session.ClientConfig{Options: opts, Setup: session.Setup{Resume: true}}, p, end)
	return p, p.Requester(c), end, n
}

// repeat is n times text.
func repeat(text string, n int) string { return strings.TrimSpace(strings.Repeat(text+" ", n)) }

func TestAnswersAsManyAsAsked(t *testing.T) {
	for _, size := range []int{10, 5000, 100_000} {
		for _, model := range []core.FrameType{core.FrameTypeRequestStream, core.FrameTypeRequestChannel} {
			synctest.Test(t, func(t *testing.T) {
				var yielded atomic.Int32
				elements := func(yield func(Payload, error) bool) {
					for yield(Payload{Data: make([]byte, size)}, nil) {
						yielded.Add(1)
					}
				}
				p := newPair(t, peer.Config{Handler: peer.Funcs{
					Stream:  func(context.Context, Payload) seq { return elements },
					Channel: func(context.Context, Payload, seq) seq { return elements },
				}}, session.Options{})
				o := request(p.toServer.Session(), session.Message{Type: model}, 1)
				total := 1
				for _, n := range []uint32{0, 1, 5, 1, 70} {
					if n > 0 {
						o.s.Request(n)
						o.s.Session().Flush()
					}
					total += int(n)
					synctest.Wait()
					time.Sleep(time.Minute)
					if want := repeat(fmt.Sprintf("N%d", size), total); o.got() != want || int(yielded.Load()) != total {
						t.Fatalf("%v of %d B: asked for %d, %d yields returned, got %s", model, size, total, yielded.Load(), o.got())
					}
				}
				o.s.Cancel()
				o.s.Session().Flush()
			})
		}
	}
}

func TestAsksForAWindow(t *testing.T) {
	for _, c := range []struct {
		window, limit uint32
		want          string // asked for, as elements are taken one by one
	}{
		{1, 0, "1 1 1 1 1 1 1 1 1 1"},
		{2, 0, "2 1 1 1 1 1 1 1 1 1"},
		{3, 0, "3 2 2 2 2"},
		{4, 0, "4 2 2 2 2"},
		{64, 0, "64"},
		{4, 9, "4 2 2 1"},
		{64, 9, "9"},
	} {
		synctest.Test(t, func(t *testing.T) {
			_, r, end, _ := against(t, peer.Config{}, session.Options{})
			next := make(chan struct{})
			over := make(chan int)
			go func() {
				n := 0
				for _, err := range r.RequestStream(t.Context(), data("x"), peer.Window(c.window), peer.Limit(c.limit)) {
					if err != nil {
						t.Error(err)
					}
					n++
					<-next
				}
				over <- n
			}()
			o := <-end.opened
			var asked []string
			given, credit := 0, 0
			for taken := range 10 {
				synctest.Wait()
				o.mu.Lock()
				if asked == nil {
					var n int
					if _, err := fmt.Sscanf(o.first, "REQUEST_STREAM n=%d", &n); err != nil {
						t.Error(o.first, err)
					}
					asked, credit = append(asked, fmt.Sprint(n)), n
				}
				for _, f := range o.seen {
					var n int
					if _, err := fmt.Sscanf(f, "RN%d", &n); err == nil {
						asked, credit = append(asked, fmt.Sprint(n)), credit+n
					}
				}
				o.seen = nil
				o.mu.Unlock()
				if credit-taken > int(c.window) {
					t.Errorf("%+v: %d asked for and not taken", c, credit-taken)
				}
				for ; given < credit && given < 10; given++ {
					o.say(core.FlagNext, "element")
				}
				synctest.Wait()
				if given > taken {
					next <- struct{}{}
				}
			}
			if got := strings.Join(asked, " "); got != c.want {
				t.Errorf("window %d, limit %d: asked for %s", c.window, c.limit, got)
			}
			o.say(core.FlagComplete, "")
			close(next)
			if n := <-over; n != given {
				t.Errorf("window %d, limit %d: %d given, %d taken", c.window, c.limit, given, n)
			}
		})
	}
}

func TestCreditSaturates(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPair(t, peer.Config{Handler: peer.Funcs{
			Stream: func(context.Context, Payload) seq { return count(1000, data("x")) },
		}}, session.Options{})
		o := request(p.toServer.Session(), session.Message{Type: core.FrameTypeRequestStream}, 1<<31-1)
		for _, n := range []uint32{1<<31 - 1, 2, 1<<31 - 1} { // 2³² after the second, were it not for the limit
			o.s.Request(n)
			o.s.Session().Flush()
			synctest.Wait()
		}
		synctest.Wait()
		if o.got() != repeat("N1", 1000)+" C" {
			t.Errorf("%d frames came", o.frames)
		}
	})
}

func TestInitialNIsNotZero(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPair(t, peer.Config{Handler: echo()}, session.Options{})
		for _, model := range []core.FrameType{core.FrameTypeRequestStream, core.FrameTypeRequestChannel} {
			o := request(p.toServer.Session(), session.Message{Type: model}, 0)
			synctest.Wait()
			if o.got() != "ERR204" {
				t.Errorf("%v with n = 0 got %q", model, o.got())
			}
		}
	})
}

func TestWhoIgnoresCreditLosesTheStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, r, end, _ := against(t, peer.Config{Handler: echo()}, session.Options{})
		failed := make(chan error)
		go func() {
			n := 0
			for _, err := range r.RequestStream(t.Context(), data("x"), peer.Window(3)) {
				if n++; err != nil {
					failed <- err
				} else {
					time.Sleep(time.Second)
				}
			}
			if n != 4 { // what came before the flood is handed out
				t.Errorf("%d elements", n)
			}
		}()
		o := <-end.opened
		o.say(core.FlagNext, "1", "2", "3", "4")
		if err := <-failed; !errors.Is(err, peer.ErrFlood) {
			t.Errorf("the loop met %v", err)
		}
		synctest.Wait()
		if o.got() != "CANCEL" || p.Stats().Flooded != 1 {
			t.Errorf("the sender was told %q, stats %+v", o.got(), p.Stats())
		}
	})
}

func TestRequesterThatIgnoresCreditLosesTheChannel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		met := make(chan error, 1)
		p := newPair(t, peer.Config{Window: 2, Handler: peer.Funcs{
			Channel: func(ctx context.Context, _ Payload, in seq) seq {
				return func(func(Payload, error) bool) {
					for range in {
						time.Sleep(time.Second)
					}
					met <- context.Cause(ctx)
				}
			},
		}}, session.Options{})
		o := request(p.toServer.Session(), session.Message{Type: core.FrameTypeRequestChannel}, 1)
		synctest.Wait()
		o.say(core.FlagNext, "1", "2", "3", "4")
		if err := <-met; !errors.Is(err, peer.ErrFlood) {
			t.Errorf("the handler met %v", err)
		}
		synctest.Wait()
		if o.got() != "RN2 ERR204" || p.server.Stats().Flooded != 1 {
			t.Errorf("the requester was told %q", o.got())
		}
	})
}

// A request that is given up before it left never existed.
func TestRequestThatNeverLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, r, end, n := against(t, peer.Config{}, session.Options{})
		synctest.Wait()
		n.Down(true)
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := r.RequestResponse(ctx, data("never")); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("response: %v", err)
		}
		if err := r.FireAndForget(ctx, data("never")); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("fire-and-forget: %v", err)
		}
		answered := make(chan error, 1)
		go func() {
			_, err := r.RequestResponse(t.Context(), data("patient"))
			answered <- err
		}()
		time.Sleep(time.Second)
		n.Down(false)
		o := <-end.opened
		if o.first != "REQUEST_RESPONSE n=0 7" {
			t.Errorf("first came %s", o.first)
		}
		o.say(core.FlagNext|core.FlagComplete, "answer")
		if err := <-answered; err != nil {
			t.Error(err)
		}
		if len(end.opened) != 0 {
			t.Errorf("%d requests more", len(end.opened))
		}
	})
}
