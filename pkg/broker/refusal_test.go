package broker

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rsocket/rsocket-go/core"

	"github.com/perchcam/perch/pkg/api"
	"github.com/perchcam/perch/pkg/session"
)

// Every refusal has a code of the protocol, a sentence, and a counter of its own.
func TestEveryRefusal(t *testing.T) {
	store, tokens := lock(t)
	stuck := func(h *house, e *end) { // a request that is not answered
		go func() { _, _ = e.ask(to("cam", "x")) }()
		synctest.Wait()
	}
	asked := func(e *end, md []byte) error {
		_, err := e.ask(md)
		return err
	}
	said := func(st *rawStream) error {
		st.log()
		return st.last
	}
	cases := map[count]struct {
		cfg  Config
		code core.ErrorCode
		text string
		do   func(h *house) error
	}{
		sessionsRefused: {Config{Sessions: 1}, core.ErrorCodeRejectedSetup, "the broker has 1 sessions, which is its limit", func(h *house) error {
			h.laptop()
			return h.laptop().ended()
		}},
		sessionsReplaced: {Config{}, core.ErrorCodeConnectionError, "the same device has connected anew", func(h *house) error {
			old := h.camera("cam", nil)
			h.camera("cam", nil)
			return old.ended()
		}},
		sessionsExpelled: {Config{Access: store}, core.ErrorCodeConnectionError, "the credentials were revoked", func(h *house) error {
			guest := h.holder(tokens["guest"])
			if _, err := store.Revoke("guest", false); err != nil {
				return err
			}
			h.expel()
			return guest.ended()
		}},
		linksRefused: {Config{Connections: 1}, core.ErrorCodeRejectedSetup, "the broker has 1 links, which is its limit", func(h *house) error {
			h.laptop()
			return h.laptop().ended()
		}},
		refusedMalformed: {Config{}, core.ErrorCodeInvalid, `the broker itself has no route "", and the request names no device`, func(h *house) error {
			return asked(h.laptop(), nil)
		}},
		refusedUnknown: {Config{}, core.ErrorCodeRejected, `there is no device "cam"`, func(h *house) error {
			return asked(h.laptop(), to("cam", "x"))
		}},
		refusedAway: {Config{}, core.ErrorCodeRejected, `device "cam" is away: its link is lost, and it has not come back in time`, func(h *house) error {
			h.camera("cam", nil).cut(true)
			return asked(h.laptop(), to("cam", "x"))
		}},
		refusedRole: {Config{Access: store}, core.ErrorCodeRejected, `not permitted: the role operator may not ask for "agent.logs", which is for admin`, func(h *house) error {
			return asked(h.holder(tokens["owner"]), to("cam", api.RouteLogs))
		}},
		refusedLimit: {Config{Streams: 1}, core.ErrorCodeRejected, "1 requests are open, which is the limit", func(h *house) error {
			h.rawCamera("cam")
			l := h.laptop()
			stuck(h, l)
			defer l.leave()
			return asked(l, to("cam", "x"))
		}},
		refusedDraining: {Config{}, core.ErrorCodeRejected, "the broker is stopping: ask again in a moment", func(h *house) error {
			l := h.laptop()
			h.draining.Store(true)
			defer h.draining.Store(false)
			return asked(l, to("cam", "x"))
		}},
		endedDeviceLeft: {Config{}, core.ErrorCodeCanceled, `device "cam" is gone: session over: closed by the other end: goodbye`, func(h *house) error {
			cam, _ := h.rawCamera("cam")
			time.AfterFunc(time.Second, func() { _ = cam.leave() })
			return asked(h.laptop(), to("cam", "x"))
		}},
		endedBudget: {Config{Budget: 1 << 20}, core.ErrorCodeCanceled, "too much is waiting for the other side to be read", func(h *house) error {
			setup := deviceSetup("cam", "id", 1)
			h.deaf().setup(&setup)
			return said(h.rawLaptop().request(session.Message{Type: core.FrameTypeRequestResponse, Metadata: to("cam", "x"), Data: make([]byte, 8<<20)}))
		}},
		endedCredit: {Config{}, core.ErrorCodeCanceled, "the device sent more than it was asked for", func(h *house) error {
			_, cam := h.rawCamera("cam")
			st := h.rawLaptop().request(session.Message{Type: core.FrameTypeRequestStream, N: 1, Metadata: to("cam", "x")})
			for range 3 {
				cam.stream(0).say(flagN, nil)
			}
			return said(st)
		}},
		endedIdle: {Config{}, core.ErrorCodeCanceled, "the channel was canceled and then said nothing", func(h *house) error {
			_, cam := h.rawCamera("cam")
			st := h.rawLaptop().request(session.Message{Type: core.FrameTypeRequestChannel, N: 1, Metadata: to("cam", "x")})
			cam.stream(0)
			st.s.Refuse()
			st.s.Session().Flush()
			time.Sleep(2 * halfDead)
			return said(st)
		}},
	}
	for why, c := range cases {
		t.Run(countInfo[why].name, func(t *testing.T) {
			open(t, c.cfg, func(h *house) {
				err := c.do(h)
				e, ok := errors.AsType[*session.Error](err)
				if !ok || e.Code != c.code || e.Text != c.text {
					t.Errorf("%v %v, not %v %s", ok, err, c.code, c.text)
				}
				if n := h.counters[why].Load(); n != 1 {
					t.Errorf("it was counted %d times", n)
				}
			})
		})
	}
	// These refuse nothing, or there is no one, or no way, to say it.
	others := map[count]string{
		sessionsAccepted: "no refusal", requests: "no refusal", requestsParked: "no refusal", eventsMissed: "a gap says it",
		websRefused: "HTTP", opsRefused: "HTTP", advertsRefused: "a push has no answer", pushesRefused: "a push has no answer",
		endedLaptopLeft: "the requester is gone",
	}
	for why := range counts {
		if _, ok := cases[why]; ok == (others[why] != "") {
			t.Errorf("%s has a case: %v", countInfo[why].name, ok)
		}
	}
}
