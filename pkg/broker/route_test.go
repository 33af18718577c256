package broker

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rsocket/rsocket-go/core"

	"github.com/perchcam/perch/pkg/peer"
	"github.com/perchcam/perch/pkg/session"
)

const (
	flagN = core.FlagNext
	flagC = core.FlagComplete
)

// What the device is granted follows what has left for the laptop, and never what the laptop granted.
func TestCreditIsMetered(t *testing.T) {
	open(t, Config{}, func(h *house) {
		_, cam := h.rawCamera("cam")
		l := h.rawLaptop()
		got := l.request(session.Message{Type: core.FrameTypeRequestStream, N: 1000, Metadata: to("cam", "x")})
		st := cam.stream(0)
		if n := st.granted(); n != 2 {
			t.Fatalf("%d granted at first", n)
		}

		// One of 100 KB: from here on ten may be ahead.
		st.say(flagN, make([]byte, 100_000))
		if n := st.granted(); n != 11 {
			t.Errorf("%d granted after one of 100 KB has left", n)
		}

		// The laptop is not there: what comes is kept, and nothing more is granted.
		l.cut(true)
		synctest.Wait()
		for range 10 {
			st.say(flagN, make([]byte, 100_000))
		}
		if n := st.granted(); n != 11 {
			t.Errorf("%d granted while the laptop is away", n)
		}
		l.back()
		time.Sleep(10 * time.Second)
		if n := st.granted(); n <= 11 || n > 21 {
			t.Errorf("%d granted after the laptop is back", n)
		}
		if got.data != 11*100_000 {
			t.Errorf("the laptop has %d bytes", got.data)
		}

		// What is left of the laptop's 1000 is granted in the end, exactly.
		for i := uint64(11); i < 1000; i++ {
			if st.granted() <= i {
				t.Fatalf("element %d was never asked for", i)
			}
			st.say(flagN, []byte("small"))
		}
		if n := st.granted(); n != 1000 {
			t.Errorf("%d granted of 1000", n)
		}
		st.s.Request(5) // of a stream: means nothing
		st.say(flagC, nil)
		if log := got.log(); log[len(log)-1] != "PAYLOAD C" {
			t.Errorf("it ends with %q", log[len(log)-1])
		}
		h.wantCalm()
	})
}

func TestDeviceThatIgnoresCredit(t *testing.T) {
	open(t, Config{}, func(h *house) {
		_, cam := h.rawCamera("cam")
		l := h.rawLaptop()
		got := l.request(session.Message{Type: core.FrameTypeRequestStream, N: 2, Metadata: to("cam", "x")})
		st := cam.stream(0)
		for range 3 {
			st.say(flagN, []byte("picture"))
			synctest.Wait()
		}
		want := []string{"PAYLOAD N", "PAYLOAD N", "ERROR CANCELED the device sent more than it was asked for"}
		if log := got.log(); !slices.Equal(log, want) {
			t.Errorf("the laptop got %q", log)
		}
		if log := st.log(); log[len(log)-1] != "CANCEL" {
			t.Errorf("the device got %q", log)
		}
		if h.counters[endedCredit].Load() != 1 {
			t.Error("it was not counted")
		}
		h.wantCalm()
	})
}

// A viewer that does not read costs its budget, then the stream with most bytes; the others go on.
func TestViewerThatNeverReads(t *testing.T) {
	open(t, Config{Budget: 1 << 20}, func(h *house) {
		_, cam := h.rawCamera("cam")
		l, healthy := h.rawLaptop(), h.rawLaptop()
		fat := l.request(session.Message{Type: core.FrameTypeRequestResponse, Metadata: to("cam", "x")})
		synctest.Wait()
		thin := l.request(session.Message{Type: core.FrameTypeRequestResponse, Metadata: to("cam", "x")})
		synctest.Wait()
		other := healthy.request(session.Message{Type: core.FrameTypeRequestResponse, Metadata: to("cam", "x")})
		synctest.Wait()
		l.cut(true)
		synctest.Wait()
		first := cam.stream(0)
		first.say(flagN|flagC, make([]byte, 600<<10))
		synctest.Wait()
		cam.stream(1).say(flagN|flagC, make([]byte, 500<<10))
		cam.stream(2).say(flagN|flagC, make([]byte, 800<<10))
		other.log()
		if other.data != 800<<10 {
			t.Errorf("the healthy laptop has %d bytes", other.data)
		}
		l.back()
		time.Sleep(10 * time.Second)
		want := "ERROR CANCELED too much is waiting for you: read faster, or ask for less at once"
		if log := fat.log(); log[len(log)-1] != want {
			t.Errorf("the fat stream ended with %q", log[len(log)-1])
		}
		thin.log()
		if thin.data != 500<<10 {
			t.Errorf("the thin stream has %d bytes", thin.data)
		}
		if n := h.counters[endedBudget].Load(); n != 1 {
			t.Errorf("%d streams were counted", n)
		}
		h.wantCalm()
	})
}

// When one side's session ends, the other side's stream does, in whatever state it is.
func TestOneSideEnds(t *testing.T) {
	kinds := []core.FrameType{core.FrameTypeRequestResponse, core.FrameTypeRequestStream, core.FrameTypeRequestChannel, core.FrameTypeRequestFNF}
	states := []string{"asked", "in a fragment of the request", "in a fragment of the answer", "answered once"}
	for _, kind := range kinds {
		for _, state := range states {
			answers := state == "in a fragment of the answer" || state == "answered once"
			if answers && kind == core.FrameTypeRequestFNF || state == "answered once" && kind == core.FrameTypeRequestResponse {
				continue
			}
			for _, who := range []string{"device", "laptop"} {
				t.Run(fmt.Sprintf("%v/%s/%s", kind, state, who), func(t *testing.T) {
					open(t, Config{}, func(h *house) { oneSideEnds(t, h, kind, state, who) })
				})
			}
		}
	}
}

func oneSideEnds(t *testing.T, h *house, kind core.FrameType, state, who string) {
	device, cam := h.rawCamera("cam")
	l := h.rawLaptop()
	m := session.Message{Type: kind, N: 10, Metadata: to("cam", "x")}
	big := make([]byte, 4<<20)
	if state == "in a fragment of the request" {
		m.Data = big
		l.stall(1 << 20)
	}
	got := l.request(m)
	st := cam.stream(0)
	switch state {
	case "in a fragment of the answer":
		device.stall(1 << 20)
		st.say(flagN, big)
	case "answered once":
		st.say(flagN, []byte("one"))
	}
	synctest.Wait()
	if who == "device" {
		device.leave()
	} else {
		l.leave()
	}
	time.Sleep(3 * time.Minute) // a stalled end cannot say goodbye: its session expires
	synctest.Wait()
	switch {
	case kind == core.FrameTypeRequestFNF:
	case who == "laptop":
		log := st.log()
		last := log[len(log)-1]
		wantsError := kind == core.FrameTypeRequestChannel && state != "in a fragment of the request"
		if wantsError && !strings.HasPrefix(last, "ERROR CANCELED the requester is gone") || !wantsError && last != "CANCEL" {
			t.Errorf("the device got %q", log[max(0, len(log)-3):])
		}
	default:
		log := got.log()
		if !strings.HasPrefix(log[len(log)-1], `ERROR CANCELED device "cam" is gone`) {
			t.Errorf("the laptop got %q", log[max(0, len(log)-3):])
		}
	}
	h.wantCalm()
}

// A channel ends when both of its directions have, each by COMPLETE of its sender or CANCEL of its receiver.
func TestChannelHalves(t *testing.T) {
	type step struct {
		who string
		do  func(s *rawStream)
	}
	complete := func(s *rawStream) { s.say(flagC, nil) }
	refuse := func(s *rawStream) { s.s.Refuse(); s.s.Session().Flush() }
	cancel := func(s *rawStream) { s.s.Refuse(); s.s.Session().Flush() } // CANCEL, and the stream lives on
	for name, c := range map[string]struct {
		steps          []step
		device, laptop []string // what each got
	}{
		"laptop completes, device completes": {
			[]step{{"laptop", complete}, {"device", complete}}, []string{"PAYLOAD C"}, []string{"PAYLOAD C"},
		},
		"device completes, laptop completes": {
			[]step{{"device", complete}, {"laptop", complete}}, []string{"PAYLOAD C"}, []string{"PAYLOAD C"},
		},
		"device refuses, device completes": {
			[]step{{"device", refuse}, {"device", complete}}, nil, []string{"CANCEL", "PAYLOAD C"},
		},
		"laptop cancels, laptop completes": {
			[]step{{"laptop", cancel}, {"laptop", complete}}, []string{"CANCEL", "PAYLOAD C"}, nil,
		},
		"laptop cancels, device refuses": {
			[]step{{"laptop", cancel}, {"device", refuse}}, []string{"CANCEL"}, []string{"CANCEL"},
		},
		"laptop cancels and is silent": {
			[]step{{"laptop", cancel}, {"", func(*rawStream) { time.Sleep(2 * halfDead) }}},
			[]string{"CANCEL", "ERROR CANCELED the channel was canceled and then said nothing"},
			[]string{"ERROR CANCELED the channel was canceled and then said nothing"},
		},
		"laptop fails": {
			[]step{{"laptop", func(s *rawStream) { s.s.Fail(core.ErrorCodeApplicationError, "no"); s.s.Session().Flush() }}},
			[]string{"ERROR APPLICATION_ERROR no"},
			nil,
		},
		"device fails": {
			[]step{{"device", func(s *rawStream) { s.s.Fail(core.ErrorCodeApplicationError, "no"); s.s.Session().Flush() }}},
			nil,
			[]string{"ERROR APPLICATION_ERROR no"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			open(t, Config{}, func(h *house) {
				_, cam := h.rawCamera("cam")
				l := h.rawLaptop()
				got := l.request(session.Message{Type: core.FrameTypeRequestChannel, N: 10, Metadata: to("cam", "x")})
				st := cam.stream(0)
				for i, s := range c.steps {
					if s.do(map[string]*rawStream{"laptop": got, "device": st}[s.who]); i < len(c.steps)-1 {
						synctest.Wait()
						if n := h.routes.Load(); n != 1 {
							t.Fatalf("%d routes after step %d", n, i)
						}
					}
				}
				if d := cmp.Diff(c.device, st.log()[1:]); d != "" && len(c.device)+len(st.log()) > 1 {
					t.Errorf("the device got (-want +got):\n%s", d)
				}
				if d := cmp.Diff(c.laptop, got.log()); d != "" && len(c.laptop)+len(got.log()) > 0 {
					t.Errorf("the laptop got (-want +got):\n%s", d)
				}
				// The ends in this test never forget streams by themselves, the broker must.
				synctest.Wait()
				if n := h.routes.Load(); n != 0 {
					t.Errorf("%d routes are left", n)
				}
			})
		})
	}
}

// Uploads are metered like answers.
func TestChannelUploadIsMetered(t *testing.T) {
	open(t, Config{}, func(h *house) {
		device, cam := h.rawCamera("cam")
		l := h.rawLaptop()
		got := l.request(session.Message{Type: core.FrameTypeRequestChannel, N: 1, Metadata: to("cam", "x")})
		st := cam.stream(0)
		if n := got.granted(); n != 0 {
			t.Fatalf("the laptop was granted %d before the device asked", n)
		}
		st.s.Request(500)
		st.s.Session().Flush()
		if n := got.granted(); n != 2 {
			t.Errorf("the laptop was granted %d at first", n)
		}
		got.say(flagN, make([]byte, 600<<10))
		if n := got.granted(); n != 3 {
			t.Errorf("the laptop was granted %d after one has left", n)
		}
		device.cut(true) // nothing leaves any more, so nothing more is granted
		synctest.Wait()
		for range 3 {
			got.say(flagN, []byte("too many"))
		}
		got.say(flagN, []byte("too many"))
		log := got.log()
		if last := log[len(log)-1]; !strings.HasPrefix(last, "ERROR INVALID") {
			t.Errorf("the laptop that sent too much got %q", last)
		}
		device.back()
		time.Sleep(10 * time.Second)
		h.wantCalm()
	})
}

// rsocket-go says COMPLETE in the first fragment of an answer only.
func TestCompleteInTheFirstFragment(t *testing.T) {
	open(t, Config{}, func(h *house) {
		setup := deviceSetup("cam", "id", 1)
		cam := h.tap()
		cam.setup(&setup)
		l := h.laptop()
		done := make(chan error, 1)
		go func() {
			v, err := l.RequestResponse(h.ctx, peer.Payload{Metadata: to("cam", "x")})
			if err == nil && !bytes.Equal(v.Data, []byte("onetwo")) {
				err = fmt.Errorf("the answer is %q", v.Data)
			}
			done <- err
		}()
		synctest.Wait()
		cam.send(2, core.FrameTypePayload, core.FlagFollow|flagC|flagN, []byte("one")...)
		cam.send(2, core.FrameTypePayload, flagN, []byte("two")...)
		if err := <-done; err != nil {
			t.Error(err)
		}
		synctest.Wait()
		h.wantCalm()
	})
}

// What nobody should say is ignored, and hurts nobody.
func TestSenselessFrames(t *testing.T) {
	open(t, Config{}, func(h *house) {
		_, cam := h.rawCamera("cam")
		l := h.rawLaptop()
		got := l.request(session.Message{Type: core.FrameTypeRequestResponse, Metadata: to("cam", "x")})
		st := cam.stream(0)
		got.say(flagN, []byte("a payload for a response"))
		got.s.Request(7)
		l.Flush()
		st.s.Request(7)
		st.s.Refuse()
		st.s.Session().Flush()
		synctest.Wait()
		st.say(flagN|flagC, []byte("answer"))
		st.say(flagN|flagC, []byte("another"))
		if log := got.log(); !slices.Equal(log, []string{"PAYLOAD C N"}) {
			t.Errorf("the laptop got %q", log)
		}
		if log := st.log(); !slices.Equal(log, []string{"REQUEST_RESPONSE"}) {
			t.Errorf("the device got %q", log)
		}
		h.wantCalm()
	})
}

// The device's session may end at the very moment a request is connected to it.
func TestRequestsAgainstLeaving(t *testing.T) {
	open(t, Config{}, func(h *house) {
		l := h.laptop()
		for range 200 {
			cam := h.camera("cam", echo)
			answered := make(chan error, 10)
			for range cap(answered) {
				go func() {
					_, err := l.ask(to("cam", "x"))
					answered <- err
				}()
			}
			go cam.leave()
			for range cap(answered) {
				if err := <-answered; err != nil {
					if e, ok := errors.AsType[*session.Error](err); !ok || e.Code != core.ErrorCodeCanceled && e.Code != core.ErrorCodeRejected {
						t.Fatal(err)
					}
				}
			}
			synctest.Wait()
		}
		h.wantCalm()
	})
}

// A laptop that leaves while it asks leaves nothing behind.
func TestLeavingAgainstRequests(t *testing.T) {
	open(t, Config{}, func(h *house) {
		h.camera("cam", echo)
		for range 200 {
			l := h.laptop()
			for range 10 {
				go func() {
					for v, err := range l.RequestStream(context.WithoutCancel(h.ctx), peer.Payload{Metadata: to("cam", "x")}) {
						if _ = v; err != nil {
							return
						}
					}
				}()
			}
			go l.leave()
		}
		time.Sleep(time.Second)
		synctest.Wait()
		h.wantCalm()
	})
}
