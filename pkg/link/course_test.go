package link

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/rsocket/rsocket-go/core"

	"github.com/perchcam/perch/pkg/session"
)

func said(code core.ErrorCode, text string) error {
	return fmt.Errorf("%w: %w", session.ErrClosed, session.Errorf(code, "%s", text))
}

func TestCourse(t *testing.T) {
	lost := errors.New("link lost")
	cases := []struct {
		name     string
		brokers  int
		mode     Resume
		o        outcome
		low, top time.Duration // of the wait
		broker   int           // afterwards
		resume   bool          // asked for afterwards
	}{
		{"the only broker is down", 1, ResumeAuto, outcome{err: lost}, 125 * time.Millisecond, 375 * time.Millisecond, 0, true},
		{"the first of two is down", 2, ResumeAuto, outcome{err: lost}, 0, 0, 1, true},
		{"RESUME was rejected", 2, ResumeAuto, outcome{time.Minute, true, said(core.ErrorCodeRejectedResume, "no"), time.Now()}, 0, 0, 0, true},
		{"rejected again and again", 1, ResumeAuto, outcome{time.Second, true, said(core.ErrorCodeRejectedResume, "no"), time.Now()}, 125 * time.Millisecond, 375 * time.Millisecond, 0, true},
		{"the broker drains", 2, ResumeAuto, outcome{time.Second, true, said(core.ErrorCodeConnectionError, "draining"), time.Now()}, 0, drainSpread, 1, true},
		{"the broker found an error", 1, ResumeAuto, outcome{time.Second, true, said(core.ErrorCodeConnectionError, "frame length"), time.Now()}, 125 * time.Millisecond, 375 * time.Millisecond, 0, true},
		{"the broker is going", 2, ResumeAuto, outcome{time.Minute, true, said(core.ErrorCodeConnectionClose, "draining"), time.Now()}, 0, drainSpread, 1, true},
		{"lost, never to be resumed", 1, ResumeOff, outcome{time.Minute, false, lost, time.Now()}, 125 * time.Millisecond, 375 * time.Millisecond, 0, false},
		{"resumption is refused, as rsocket-java does", 2, ResumeAuto, outcome{0, true, said(core.ErrorCodeUnsupportedSetup, "resume not supported"), time.Now()}, 0, 0, 0, false},
		{"resumption is refused, as rsocket-js does", 2, ResumeAuto, outcome{0, true, said(core.ErrorCodeRejectedSetup, "No resume support"), time.Now()}, 0, 0, 0, false},
		{"refused while it is required", 1, ResumeRequire, outcome{0, true, said(core.ErrorCodeUnsupportedSetup, "no"), time.Now()}, 125 * time.Millisecond, 375 * time.Millisecond, 0, true},
		{"another reason to reject", 1, ResumeAuto, outcome{0, true, said(core.ErrorCodeRejectedSetup, "unknown token"), time.Now()}, 125 * time.Millisecond, 375 * time.Millisecond, 0, true},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			k := newCourse(c.brokers, c.mode)
			wait := k.after(c.o)
			if wait < c.low || wait > c.top || k.broker != c.broker || k.resume(time.Now()) != c.resume {
				t.Errorf("waits %v (want %v to %v) for broker %d (want %d), resume %v", wait, c.low, c.top, k.broker, c.broker, k.resume(time.Now()))
			}
		})
	}
}

func TestBackoffDoublesPerRoundAndIsForgiven(t *testing.T) {
	k := newCourse(2, ResumeAuto)
	fail := outcome{err: errors.New("refused")}
	want := firstBackoff
	for round := range 12 {
		if d := k.after(fail); d != 0 || k.broker != 1 {
			t.Fatalf("round %d waits %v before the second broker", round, d)
		}
		if d := k.after(fail); d < want/2 || d > want*3/2 || k.broker != 0 {
			t.Fatalf("round %d waits %v, want %v ± 50 %%", round, d, want)
		}
		want = min(2*want, maxBackoff)
	}
	k.after(outcome{lasted: lasting - 1, err: errors.New("lost")})
	if k.fails == 0 {
		t.Error("a link that did not last forgave the failures")
	}
	k.after(outcome{lasted: lasting, err: errors.New("lost")})
	if k.fails != 0 {
		t.Error("a link that lasted did not forgive the failures")
	}
}

func TestRefusalIsForgottenAfterAnHour(t *testing.T) {
	k := newCourse(1, ResumeAuto)
	now := time.Now()
	k.after(outcome{0, true, said(core.ErrorCodeUnsupportedSetup, ""), now})
	if k.resume(now.Add(forgetAfter)) || !k.resume(now.Add(forgetAfter+1)) {
		t.Error("resumption is not tried again after an hour, or earlier")
	}
}
