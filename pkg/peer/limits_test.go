package peer_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rsocket/rsocket-go/core"

	"github.com/perchcam/perch/pkg/peer"
	"github.com/perchcam/perch/pkg/session"
)

// code returns the code of what the other end said, 0 for any other error.
func code(err error) peer.Code {
	if e, ok := errors.AsType[*peer.Error](err); ok {
		return e.Code
	}
	return 0
}

func TestPayloadTooLarge(t *testing.T) {
	for _, size := range []int{10_001, 1 << 20} { // in one frame, and in fragments
		synctest.Test(t, func(t *testing.T) {
			h := echo()
			forgot := false
			h.Forget = func(context.Context, Payload) { forgot = true }
			p := newPair(t, peer.Config{Handler: h, MaxPayload: 10_000}, session.Options{})
			if _, err := p.toServer.RequestResponse(t.Context(), Payload{Data: make([]byte, 10_000)}); err != nil {
				t.Error("just small enough:", err)
			}
			if _, err := p.toServer.RequestResponse(t.Context(), Payload{Data: make([]byte, size)}); code(err) != peer.CodeRejected {
				t.Error("request:", err)
			}
			if err := p.toServer.FireAndForget(t.Context(), Payload{Metadata: make([]byte, size)}); err != nil {
				t.Error("fire-and-forget:", err)
			}
			synctest.Wait()
			if n := p.server.Stats().TooLarge; n != 2 || forgot {
				t.Errorf("%d too large; fire-and-forget handled: %v", n, forgot)
			}
		})
		synctest.Test(t, func(t *testing.T) {
			p, r, end, _ := against(t, peer.Config{MaxPayload: 10_000}, session.Options{})
			failed := make(chan error, 1)
			go func() {
				_, err := r.RequestResponse(t.Context(), data("x"))
				failed <- err
			}()
			o := <-end.opened
			o.say(core.FlagNext|core.FlagComplete, strings.Repeat("x", size))
			if err := <-failed; !errors.Is(err, peer.ErrFlood) {
				t.Error("answer:", err)
			}
			synctest.Wait()
			if o.got() != "CANCEL" || p.Stats().TooLarge != 1 {
				t.Errorf("told %s, %+v", o.got(), p.Stats())
			}
		})
	}
}

// What is received and not taken is bounded over all streams.
func TestBufferedIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, r, end, _ := against(t, peer.Config{MaxBuffered: 100_000}, session.Options{})
		results := make(chan error, 20)
		for range 20 {
			go func() {
				n := 0
				for _, err := range r.RequestStream(t.Context(), data("x"), peer.Window(10)) {
					if n++; err != nil {
						results <- err
						return
					}
					time.Sleep(time.Minute)
				}
				results <- nil
			}()
			o := <-end.opened
			o.say(core.FlagNext, repeat("y", 2000), repeat("y", 2000), repeat("y", 2000)) // 3 × 3999 bytes, the first is taken
			o.say(core.FlagComplete, "")
			synctest.Wait()
			if b := p.Stats().Buffered; b > 100_000 {
				t.Fatalf("%d bytes buffered", b)
			}
		}
		ok := 0
		for range 20 {
			if err := <-results; err == nil {
				ok++
			} else if !errors.Is(err, peer.ErrFlood) {
				t.Error(err)
			}
		}
		if ok != 12 || p.Stats().TooLarge != 8 {
			t.Errorf("%d streams of 20 arrived, %+v", ok, p.Stats())
		}
	})
}

func TestHandlersAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var running, forgot atomic.Int32
		h := peer.Funcs{
			Response: func(ctx context.Context, _ Payload) (Payload, error) {
				running.Add(1)
				time.Sleep(time.Second)
				return data("done"), nil
			},
			Forget: func(context.Context, Payload) { forgot.Add(1) },
		}
		p := newPair(t, peer.Config{Handler: h, MaxHandlers: 3}, session.Options{})
		results := make(chan error, 10)
		for range 10 {
			go func() {
				_, err := p.toServer.RequestResponse(t.Context(), data("x"))
				results <- err
			}()
		}
		synctest.Wait()
		if err := p.toServer.FireAndForget(t.Context(), data("x")); err != nil {
			t.Error(err)
		}
		synctest.Wait()
		s := p.server.Stats()
		if running.Load() != 3 || forgot.Load() != 0 || s.Refused != 7 || s.Dropped != 1 || s.Requests != 3 {
			t.Errorf("%d running, %d forgotten, %+v", running.Load(), forgot.Load(), s)
		}
		ok := 0
		for range 10 {
			switch err := <-results; {
			case err == nil:
				ok++
			case code(err) != peer.CodeRejected:
				t.Error(err)
			}
		}
		if ok != 3 {
			t.Errorf("%d answered", ok)
		}
		if _, err := p.toServer.RequestResponse(t.Context(), data("x")); err != nil {
			t.Error("there is room again:", err)
		}
	})
}

// A requester that does not read its answers cannot make us hold any number of them.
func TestHeldAnswersAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, err := peer.New(peer.Config{MaxHeld: 3 << 20, Handler: peer.Funcs{
			Response: func(context.Context, Payload) (Payload, error) { return Payload{Data: make([]byte, 1<<20)}, nil },
		}})
		if err != nil {
			t.Fatal(err)
		}
		w, over := dialWire(t, p)
		for i := range uint32(10) {
			if _, err := w.nc.Write(frame(2*i+1, core.FrameTypeRequestResponse, 0, "x")); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
		}
		if s := p.Stats(); s.Held != 4<<20 || s.Requests != 4 || s.Refused != 6 {
			t.Errorf("of ten answers of 1 MiB: %+v", s)
		}
		w.read()
		synctest.Wait()
		if s := p.Stats(); s.Held != 0 || s.Requests != 0 {
			t.Errorf("when all were read: %+v", s)
		}
		_ = w.nc.Close()
		<-over
		p.Wait()
	})
}

func TestPushesAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var n atomic.Int32
		p := newPair(t, peer.Config{Handler: peer.Funcs{Push: func(context.Context, []byte) {
			n.Add(1)
			time.Sleep(time.Second)
		}}}, session.Options{})
		synctest.Wait()
		for range 100 {
			if err := p.toServer.MetadataPush(t.Context(), []byte("x")); err != nil {
				t.Error(err)
			}
		}
		synctest.Wait()
		if d := p.server.Stats().Dropped; d != 36 {
			t.Errorf("%d dropped", d)
		}
		time.Sleep(time.Hour)
		if n.Load() != 64 {
			t.Errorf("%d handled", n.Load())
		}
	})
}

func TestPanicEndsItsRequestOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		h := peer.Funcs{
			Response: func(_ context.Context, req Payload) (Payload, error) {
				switch string(req.Data) {
				case "panic":
					panic("film torn")
				case "goexit":
					runtime.Goexit()
				}
				return req, nil
			},
			Stream: func(context.Context, Payload) seq {
				return func(yield func(Payload, error) bool) {
					yield(data("1"), nil)
					panic("film torn")
				}
			},
			Forget: func(context.Context, Payload) { panic("film torn") },
			Push:   func(context.Context, []byte) { panic("film torn") },
		}
		p := newPair(t, peer.Config{Handler: h, Log: slog.New(slog.NewTextHandler(&log, nil))}, session.Options{})
		internal := func(err error) {
			t.Helper()
			if code(err) != peer.CodeApplicationError || err.Error() != "internal error" {
				t.Errorf("the requester was told %v", err)
			}
		}
		_, err := p.toServer.RequestResponse(t.Context(), data("panic"))
		internal(err)
		_, err = p.toServer.RequestResponse(t.Context(), data("goexit"))
		internal(err)
		n := 0
		for _, err = range p.toServer.RequestStream(t.Context(), data("x")) {
			n++
		}
		if internal(err); n != 2 {
			t.Errorf("%d elements and errors", n)
		}
		_ = p.toServer.FireAndForget(t.Context(), data("x"))
		_ = p.toServer.MetadataPush(t.Context(), []byte("x"))
		if _, err := p.toServer.RequestResponse(t.Context(), data("fine")); err != nil {
			t.Error(err)
		}
		synctest.Wait()
		if n := p.server.Stats().Panics; n != 4 || strings.Count(log.String(), "film torn") != 4 || !strings.Contains(log.String(), "limits_test.go") {
			t.Errorf("%d panics counted, logged:\n%s", n, log.String())
		}
	})
}

func TestNobodyServes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPair(t, peer.Config{}, session.Options{})
		_, err := p.toServer.RequestResponse(t.Context(), data("x"))
		if code(err) != peer.CodeInvalid {
			t.Error(err)
		}
		for _, err := range p.toServer.RequestStream(t.Context(), data("x")) {
			if code(err) != peer.CodeInvalid {
				t.Error(err)
			}
		}
		for _, err := range p.toServer.RequestChannel(t.Context(), data("x"), count(3, data("x"))) {
			if code(err) != peer.CodeInvalid {
				t.Error(err)
			}
		}
		if err := p.toServer.FireAndForget(t.Context(), data("x")); err != nil {
			t.Error(err)
		}
		if err := p.toServer.MetadataPush(t.Context(), []byte("x")); err != nil {
			t.Error(err)
		}
		synctest.Wait()
	})
}

func TestConfigIsChecked(t *testing.T) {
	for _, cfg := range []peer.Config{{Window: 1 << 31}, {MaxPayload: -1}, {MaxBuffered: -1}, {MaxHandlers: -1}, {MaxHeld: -1}} {
		if _, err := peer.New(cfg); err == nil {
			t.Errorf("%+v was accepted", cfg)
		}
	}
}
