package broker

import (
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rsocket/rsocket-go/core"

	"github.com/perchcam/perch/pkg/api"
	"github.com/perchcam/perch/pkg/broker/access"
	"github.com/perchcam/perch/pkg/session"
	"github.com/perchcam/perch/pkg/wire"
)

// look asks for a shared stream.
func (e *end) look(n uint32, options string) *rawStream {
	md := to("cam", api.RouteStream, wire.Tag{Key: wire.ParamShare, Value: "1"})
	st := e.request(session.Message{Type: core.FrameTypeRequestStream, N: n, Metadata: md, Data: []byte(options)})
	synctest.Wait()
	return st
}

// picture sends the i-th element, of 40 KB.
func (st *rawStream) picture(i int) {
	st.say(flagN, fmt.Appendf(make([]byte, 40_000), " %d", i))
	synctest.Wait()
}

func TestShare(t *testing.T) {
	open(t, Config{}, func(h *house) {
		_, cam := h.rawCamera("cam")
		a, b, c := h.rawLaptop(), h.rawLaptop(), h.rawLaptop()
		fast := a.look(1000, "{}")
		up := cam.stream(0)
		if up.granted() != sharedAhead {
			t.Errorf("%d were asked for at first", up.granted())
		}
		slow := b.look(1, "{}")
		for i := range 10 {
			up.picture(i)
		}
		if len(cam.streams) != 1 {
			t.Fatalf("the device has %d streams", len(cam.streams))
		}
		if n := len(fast.log()); fast.data != 10*40_002 {
			t.Errorf("the fast one got %d bytes in %d frames", fast.data, n)
		}
		if slow.log(); slow.data != 40_002 {
			t.Errorf("the slow one got %d bytes", slow.data)
		}

		// It asks again and gets the newest at once; a newcomer waits for the next one.
		slow.s.Request(1)
		b.Flush()
		late := c.look(1, "{}")
		if slow.log(); slow.data != 2*40_002 {
			t.Errorf("the slow one has %d bytes", slow.data)
		}
		if late.log(); late.data != 0 {
			t.Errorf("the newcomer got an old picture of %d bytes", late.data)
		}
		up.picture(10)
		if late.log(); late.data != 40_003 {
			t.Errorf("the newcomer got %d bytes", late.data)
		}

		// Other options are another stream.
		other := c.look(1, `{"width":320}`)
		if len(cam.streams) != 2 {
			t.Errorf("the device has %d streams", len(cam.streams))
		}
		other.s.Cancel()
		c.Flush()
		if log := cam.stream(1).log(); log[len(log)-1] != "CANCEL" {
			t.Errorf("the device got %q", log)
		}

		// The device's stream ends with the last one.
		for i, l := range []struct {
			e  *end
			st *rawStream
		}{{a, fast}, {b, slow}, {c, late}} {
			if log := up.log(); slices.Contains(log, "CANCEL") {
				t.Errorf("the device got CANCEL before laptop %d left", i)
			}
			l.st.s.Cancel()
			l.e.Flush()
		}
		if log := up.log(); log[len(log)-1] != "CANCEL" {
			t.Errorf("the device got %q", log)
		}
		h.wantCalm()
	})
}

// A device's session may end between the moment a shared stream of it is entered and the one it is asked for.
func TestShareOfADeviceThatLeaves(t *testing.T) {
	open(t, Config{}, func(h *house) {
		h.rawCamera("cam")
		l, _ := h.registry.find(&wire.Target{Device: []byte("cam")}, &access.All)
		g := &shared{b: h.Broker, key: "k", to: l, viewers: map[*route]*viewer{}}
		l.shares = map[string]*shared{g.key: g}
		l.serving.Add(1)
		g.Ended(session.ErrClosed)
		if !g.over || len(l.shares) != 0 || l.serving.Load() != 0 {
			t.Errorf("it goes on: over is %v, %d are left, %d are served", g.over, len(l.shares), l.serving.Load())
		}
	})
}

// Nobody is asked for pictures that nobody has asked for.
func TestSharePace(t *testing.T) {
	open(t, Config{}, func(h *house) {
		_, cam := h.rawCamera("cam")
		a, b := h.rawLaptop(), h.rawLaptop()
		one, two := a.look(3, "{}"), b.look(1, "{}")
		up := cam.stream(0)
		sent := 0
		send := func() {
			for uint64(sent) < up.granted() {
				up.picture(sent)
				sent++
			}
		}
		send()
		if sent < 3 || sent > 3+sharedAhead {
			t.Errorf("%d were sent for who asked for 3", sent)
		}
		if one.log(); len(one.frames) != 9 {
			t.Errorf("it got %q", one.frames)
		}
		before := sent
		two.s.Request(2)
		b.Flush()
		send()
		if two.log(); len(two.frames) != 9 || sent > before+sharedAhead+1 {
			t.Errorf("%q, %d sent", two.frames, sent-before)
		}

		// A laptop that is away takes none, and gets the newest when it is back.
		one.s.Request(100)
		a.Flush()
		send0 := func(n int) {
			for range n {
				if uint64(sent) < up.granted() {
					up.picture(sent)
					sent++
				}
			}
		}
		send0(3)
		a.cut(true)
		synctest.Wait()
		two.s.Request(50)
		b.Flush()
		send0(20)
		had := one.data
		a.back()
		time.Sleep(10 * time.Second)
		if one.log(); one.data-had > 4*40_010 || one.data == had {
			t.Errorf("%d bytes came after the laptop was back", one.data-had)
		}
	})
}

// Who looks alone and slowly gets pictures that are newer than its wish, and costs the device no others.
func TestShareSlowly(t *testing.T) {
	open(t, Config{}, func(h *house) {
		_, cam := h.rawCamera("cam")
		l := h.rawLaptop()
		slow := l.look(1, "{}")
		up := cam.stream(0)
		sent := 0
		send := func() {
			for uint64(sent) < up.granted() {
				up.picture(100 + sent)
				sent++
			}
		}
		send()
		for i := range 10 {
			time.Sleep(500 * time.Millisecond)
			send()
			before, had := sent, slow.data
			slow.s.Request(1)
			l.Flush()
			synctest.Wait()
			if slow.data != had {
				t.Errorf("round %d: it got a picture of half a second ago", i)
			}
			send()
			if slow.data != had+40_004 || sent != before+1 {
				t.Errorf("round %d: it got %d bytes, and the device sent %d pictures", i, slow.data-had, sent-before)
			}
		}
		h.stopWaiting(l)
	})
}

func TestShareEnds(t *testing.T) {
	for name, c := range map[string]struct {
		do   func(h *house, device *end, up *rawStream)
		want string
	}{
		"complete": {func(_ *house, _ *end, up *rawStream) { up.say(flagC, nil) }, "PAYLOAD C"},
		"error": {func(_ *house, e *end, up *rawStream) {
			up.s.Fail(core.ErrorCodeApplicationError, "no camera")
			e.Flush()
		}, "ERROR APPLICATION_ERROR no camera"},
		"goodbye": {func(_ *house, e *end, _ *rawStream) { e.leave() }, `ERROR CANCELED device "cam" is gone: session over: closed by the other end: goodbye`},
		"flood": {func(_ *house, _ *end, up *rawStream) {
			for i := range 10 {
				up.say(flagN, fmt.Append(nil, i))
			}
		}, "ERROR CANCELED the device sent more than it was asked for"},
	} {
		t.Run(name, func(t *testing.T) {
			open(t, Config{}, func(h *house) {
				device, cam := h.rawCamera("cam")
				l := h.rawLaptop()
				looks := []*rawStream{l.look(1, "{}"), h.rawLaptop().look(2, "{}")}
				up := cam.stream(0)
				c.do(h, device, up)
				for i, st := range looks {
					if log := st.log(); log[len(log)-1] != c.want {
						t.Errorf("laptop %d got %q", i, log)
					}
				}
				h.wantCalm()
				if name == "goodbye" {
					return
				}
				again := l.look(1, "{}")
				cam.stream(1).picture(1)
				if again.log(); again.data != 40_002 {
					t.Errorf("a new one got %d bytes", again.data)
				}
				h.stopWaiting(l)
			})
		})
	}
}

// Laptops that come and go leave nothing behind.
func TestShareChurn(t *testing.T) {
	open(t, Config{}, func(h *house) {
		h.camera("cam", echo)
		for range 100 {
			l := h.rawLaptop()
			go l.look2()
			go l.leave()
		}
		time.Sleep(3 * time.Minute)
		h.wantCalm()
		for _, l := range h.legs {
			if len(l.shares) != 0 {
				t.Errorf("%d shared streams are left", len(l.shares))
			}
		}
	})
}

// look2 asks without waiting.
func (e *end) look2() {
	md := to("cam", api.RouteStream, wire.Tag{Key: wire.ParamShare, Value: "1"})
	e.request(session.Message{Type: core.FrameTypeRequestStream, N: 1000, Metadata: md})
}

func TestWhatIsNotShared(t *testing.T) {
	open(t, Config{}, func(h *house) {
		_, cam := h.rawCamera("cam")
		l := h.rawLaptop()
		for _, options := range []string{`{"keep":"all"}`, `{"format":"h264"}`, `{"from":{"boot":"b","seq":7}}`, `nonsense`} {
			l.look(1, options)
			l.look(1, options)
		}
		if len(cam.streams) != 8 {
			t.Errorf("the device has %d streams", len(cam.streams))
		}
	})
}
