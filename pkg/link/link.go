// Package link is the agent's one connection: it keeps a session with a broker, whatever happens to broker and network.
//
//	Dialer   makes links: tcp://, tls://, ws:// and wss:// addresses become connections of frames
//	Link     keeps one session on them: SETUP, RESUME as long as the session lives, then a fresh SETUP
//
// Order of events: New, Run, and within it
//
//	offline ──SETUP answered──▶ online ──link lost──▶ away ──RESUME_OK──▶ online
//	   ▲                          │                    │
//	   └──── the session is over ─┴────────────────────┘
//
// Promises:
//   - Each session has a SETUP of its own, made when it is about to be said: brokers drop the newer of two connections that say
//     the same route id, and tokens are not used twice.
//   - A try that fails is followed by another one for as long as Run's context lives: with the next broker of the list at once,
//     with the first again after a back-off that doubles to 30 s, ± 50 %. It is forgiven only after a link has lasted 10 s.
//   - A session that lasted and cannot be resumed is followed by a SETUP at once. After a broker's goodbye a link waits up to 5 s,
//     so that a fleet does not come back in one moment.
//   - An event of the kernel (a network interface, address or route came) ends any waiting.
//   - State changes are logged once, with from and to; in a lasting outage there are at most 16 lines an hour.
//
// Run owns every goroutine. What sits on the sessions is the Receiver's business.
package link

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/perchcam/perch/pkg/session"
)

// Config is what a Link needs.
type Config struct {
	Brokers []URL // in the order to try them
	// Dial makes a link before ctx ends, as Dialer.Dial does.
	Dial func(ctx context.Context, u URL) (net.Conn, error)
	// Setup returns what the next session says in SETUP. Whether it may be resumed is decided here.
	Setup func() (session.Setup, error)
	// Receiver sits on one session after the other.
	Receiver session.Receiver
	// Events calls kick for what makes waiting pointless, until ctx ends; KernelEvents does. nil: nothing does.
	Events func(ctx context.Context, kick func()) error
	// Changed is told each change of State, one after the other. It must neither block nor ask the Link. May be nil.
	Changed func(State)
	// Advice returns what to do about a try that failed, for the log; "" is nothing. May be nil.
	Advice func(u URL, err error) string

	Resume      Resume
	SessionTime time.Duration   // how long a session may be without a link; 2 min
	Options     session.Options // Log is set from Log
	Log         *slog.Logger    // nil discards
}

// Phase is what a Link is doing.
type Phase string

// The phases of a Link.
const (
	Offline Phase = "offline" // there is no session: connecting, or waiting to
	Online  Phase = "online"
	Away    Phase = "away" // the session has lost its link and may be resumed
)

// State is a Link's phase and why.
type State struct {
	Phase   Phase
	Since   time.Time
	Broker  URL    // of the session, or of the last try
	Err     error  // why it is not online
	Resumes uint64 // of the session
}

// Link keeps one session.
type Link struct {
	cfg  Config
	log  *slog.Logger
	kick chan struct{} // holds one event

	course course // owned by Run
	lines  sparse // guarded by mu

	mu    sync.Mutex // guards the following
	state State
	conn  *session.Conn // of the present session; nil between two
	began time.Time     // when conn began to dial
	born  time.Time     // when the broker had answered its SETUP; zero: not yet
	until time.Time     // when the present waiting ends; zero: none
	wrong time.Time     // since when Alive has found session and state to differ
}

// New checks the configuration.
func New(cfg Config) (*Link, error) {
	if len(cfg.Brokers) == 0 || cfg.Dial == nil || cfg.Setup == nil || cfg.Receiver == nil {
		return nil, errors.New("link: brokers, Dial, Setup and Receiver are needed")
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.SessionTime <= 0 {
		cfg.SessionTime = 2 * time.Minute
	}
	cfg.Options.Log = cfg.Log
	return &Link{
		cfg: cfg, log: cfg.Log, kick: make(chan struct{}, 1),
		course: newCourse(len(cfg.Brokers), cfg.Resume), lines: newSparse(),
		state: State{Phase: Offline, Since: time.Now(), Broker: cfg.Brokers[0]},
	}, nil
}

// Run keeps the session until ctx ends, then says goodbye and returns nil after its last goroutine. An error says that a
// SETUP cannot be made, which trying again would not change.
func (l *Link) Run(ctx context.Context) error {
	var events sync.WaitGroup
	defer events.Wait()
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	if l.cfg.Events != nil {
		events.Go(func() {
			if err := l.cfg.Events(ctx, l.kicked); err != nil && ctx.Err() == nil {
				l.log.Info("the kernel's network events cannot be had; a lost link is found again by trying alone", "err", err)
			}
		})
	}
	for ctx.Err() == nil {
		broker := l.cfg.Brokers[l.course.broker]
		resume := l.course.resume(time.Now())
		lasted, err := l.session(ctx, broker, resume)
		if ctx.Err() != nil {
			return nil
		}
		if e, ok := errors.AsType[*setupError](err); ok {
			return e.err
		}
		delay := l.course.after(outcome{lasted: lasted, resumable: resume, err: err, at: time.Now()})
		l.failed(broker, err, delay)
		l.pause(ctx, delay)
	}
	return nil
}

type setupError struct{ err error }

func (e *setupError) Error() string { return e.err.Error() }

// session runs one session to its end and returns how long it had lasted since its first link was there.
func (l *Link) session(ctx context.Context, broker URL, resume bool) (lasted time.Duration, err error) {
	setup, err := l.cfg.Setup()
	if err != nil {
		return 0, &setupError{err}
	}
	setup.Resume = resume
	c, err := session.NewClient(session.ClientConfig{
		Options: l.cfg.Options, Setup: setup, SessionTime: l.cfg.SessionTime, DialTimeout: dialTimeout, Kick: l.kick,
		Dial: func(ctx context.Context) (net.Conn, error) { return l.cfg.Dial(ctx, broker) },
	}, &receiver{l.cfg.Receiver, l, broker})
	if err != nil {
		return 0, &setupError{err}
	}
	l.mu.Lock()
	l.conn, l.began, l.born = c.Conn, time.Now(), time.Time{}
	l.mu.Unlock()

	err = c.Run(ctx)

	l.mu.Lock()
	defer l.mu.Unlock()
	l.conn = nil
	if !l.born.IsZero() {
		lasted = max(time.Since(l.born), 1)
	}
	if err == nil {
		err = errors.New("the session was closed here")
	}
	return lasted, reason(err, lasted > 0)
}

// reason is why a session ended, in words for a log. begun: the broker had taken it.
func reason(err error, begun bool) error {
	if e, ok := errors.AsType[*session.Error](err); ok && begun {
		return fmt.Errorf("the broker ended the session: %w", e)
	} else if ok {
		return fmt.Errorf("the broker refuses: %w", e)
	}
	if all, ok := err.(interface{ Unwrap() []error }); ok {
		for _, e := range all.Unwrap() {
			if e != session.ErrClosed {
				return e
			}
		}
	}
	return err
}

// receiver tells the Link of links, and passes all on.
type receiver struct {
	session.Receiver
	l      *Link
	broker URL
}

func (r *receiver) Linked(up, resumed bool) {
	r.l.linked(r.broker, up, resumed)
	r.Receiver.Linked(up, resumed)
}

func (l *Link) linked(broker URL, up, resumed bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	next := State{Phase: Online, Broker: broker}
	switch {
	case resumed:
		next.Resumes = l.state.Resumes + 1
	case up:
		l.born = time.Now()
	default:
		select { // what happened before the loss is no reason to hurry after it
		case <-l.kick:
		default:
		}
		if l.conn == nil || !l.conn.Setup().Resume {
			return // the session ends now, and says why
		}
		next.Phase, next.Resumes, next.Err = Away, l.state.Resumes, errors.New("the link was lost")
	}
	l.enter(next)
}

// failed notes that a try or a session ended.
func (l *Link) failed(broker URL, err error, delay time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.state.Phase != Offline {
		l.enter(State{Phase: Offline, Broker: broker, Err: err})
		return
	}
	l.state.Broker, l.state.Err = broker, err
	if l.cfg.Changed != nil {
		l.cfg.Changed(l.state)
	}
	args := []any{"broker", broker.String(), "err", err, "retry_in", delay.Round(time.Millisecond)}
	if l.cfg.Advice != nil {
		if next := l.cfg.Advice(broker, err); next != "" {
			args = append(args, "next", next)
		}
	}
	l.lines.log(l.log, slog.LevelWarn, broker.String()+err.Error(), "cannot connect", args...)
}

// enter changes the state. mu is held.
func (l *Link) enter(next State) {
	from := l.state
	next.Since = time.Now()
	l.state = next
	if l.cfg.Changed != nil {
		l.cfg.Changed(next)
	}
	args := []any{"from", string(from.Phase), "to", string(next.Phase), "broker", next.Broker.String(), "after", next.Since.Sub(from.Since).Round(time.Millisecond)}
	if next.Err != nil {
		args = append(args, "err", next.Err)
	}
	l.lines.log(l.log, slog.LevelInfo, string(next.Phase), "link", args...)
}

// pause waits, until a kick at most.
func (l *Link) pause(ctx context.Context, d time.Duration) {
	if d <= 0 {
		return
	}
	l.waiting(time.Now().Add(d))
	defer l.waiting(time.Time{})
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-l.kick:
	case <-ctx.Done():
	}
}

func (l *Link) waiting(until time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.until = until
}

func (l *Link) kicked() {
	select {
	case l.kick <- struct{}{}:
	default:
	}
}

// State returns what the Link is doing.
func (l *Link) State() State {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.state
}

// Conn returns the present session, nil if there is none.
func (l *Link) Conn() *session.Conn {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.conn
}

// Alive returns nil if the loop turns: waiting, dialing and being away all do, if none takes grace longer than it may. Where a
// lock is held for ever it does not return.
func (l *Link) Alive(grace time.Duration) error {
	l.mu.Lock()
	state, conn, until, began, born := l.state, l.conn, l.until, l.began, l.born
	l.mu.Unlock()
	if !until.IsZero() && time.Since(until) > grace {
		return fmt.Errorf("the link should have been tried again %v ago", time.Since(until).Round(time.Second))
	}
	if conn == nil {
		return nil
	}
	if setup := time.Since(began) - dialTimeout - setupTimeout; born.IsZero() && setup > grace {
		return fmt.Errorf("connecting should have ended %v ago", setup.Round(time.Second))
	}
	up := conn.Up() // takes the session's lock
	l.mu.Lock()
	defer l.mu.Unlock()
	if agree := up == (state.Phase == Online) && conn.Err() == nil; agree || conn != l.conn {
		l.wrong = time.Time{}
		if state.Phase == Away && time.Since(state.Since) > l.cfg.SessionTime+grace {
			return fmt.Errorf("the session should have ended %v ago", (time.Since(state.Since) - l.cfg.SessionTime).Round(time.Second))
		}
		return nil
	}
	if l.wrong.IsZero() {
		l.wrong = time.Now()
	}
	if stuck := time.Since(l.wrong); stuck > grace {
		return fmt.Errorf("the link is %s, but its session has said otherwise for %v", state.Phase, stuck.Round(time.Second))
	}
	return nil
}

// Resume says what to do about resumption. The zero value is ResumeAuto.
type Resume uint8

// How a session wants to be resumed.
const (
	ResumeAuto    Resume = iota // it does, and connects without where a broker refuses that
	ResumeRequire               // it does, and a broker that refuses it is a failure
	ResumeOff                   // it does not
)

var resumeNames = [...]string{"auto", "require", "off"}

func (r Resume) String() string { return resumeNames[r] }

// MarshalText writes the setting.
func (r Resume) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// UnmarshalText reads a setting.
func (r *Resume) UnmarshalText(text []byte) error {
	for i, name := range resumeNames {
		if name == string(text) {
			*r = Resume(i)
			return nil
		}
	}
	return fmt.Errorf("%q is not one of auto, require, off", text)
}

const (
	dialTimeout  = 10 * time.Second
	setupTimeout = 10 * time.Second // after which the session gives a SETUP up that is not answered

	firstBackoff = 250 * time.Millisecond // and doubles
	maxBackoff   = 30 * time.Second
	lasting      = 10 * time.Second // a session that lasted so long forgives the failures before it
	drainSpread  = 5 * time.Second
	forgetAfter  = time.Hour // a broker that refused resumption may have learned it
)

// course decides what follows a session that ended.
type course struct {
	mode   Resume
	broker int         // to try next
	fails  int         // in a row
	plain  []time.Time // by broker: when it refused resumption
}

func newCourse(brokers int, mode Resume) course {
	return course{mode: mode, plain: make([]time.Time, brokers)}
}

// outcome is how a session ended.
type outcome struct {
	lasted    time.Duration // 0: it never began
	resumable bool
	err       error
	at        time.Time
}

// resume reports whether the next session asks to be resumable.
func (c *course) resume(now time.Time) bool {
	refused := c.plain[c.broker]
	return c.mode == ResumeRequire || c.mode == ResumeAuto && (refused.IsZero() || now.Sub(refused) > forgetAfter)
}

// after chooses the next broker and returns how long to wait for it.
func (c *course) after(o outcome) time.Duration {
	said, told := errors.AsType[*session.Error](o.err)
	if o.lasted == 0 && o.resumable && told && RefusesResume(said) && c.mode == ResumeAuto {
		c.plain[c.broker] = o.at
		return 0
	}
	if o.lasted > 0 && told && draining(said) || o.lasted >= lasting && told && said.Code == session.CodeConnectionClose {
		c.fails = 0
		c.broker = (c.broker + 1) % len(c.plain) // this one is about to be gone
		return rand.N(drainSpread)
	}
	if o.lasted >= lasting {
		c.fails = 0
		if o.resumable {
			return 0
		}
		return jitter(firstBackoff)
	}
	c.fails++
	c.broker = (c.broker + 1) % len(c.plain)
	if c.fails%len(c.plain) != 0 {
		return 0 // there are others, which have not been tried yet
	}
	rounds := c.fails / len(c.plain)
	return jitter(min(firstBackoff<<min(rounds-1, 10), maxBackoff))
}

// RefusesResume reports whether an answer to SETUP is about its R flag. The protocol wants REJECTED_SETUP, whose reason is
// only in its text ("No resume support" from rsocket-js 1.0.0-alpha.3); rsocket-java 1.1.5 says UNSUPPORTED_SETUP.
func RefusesResume(e *session.Error) bool {
	return e.Code == session.CodeUnsupportedSetup ||
		e.Code == session.CodeRejectedSetup && strings.Contains(strings.ToLower(e.Text), "resum")
}

// draining reports whether a broker says that it is about to stop, as Perch's does: the protocol has no code for it.
func draining(e *session.Error) bool {
	return e.Code == session.CodeConnectionError && strings.Contains(e.Text, "draining")
}

// jitter returns d ± 50 %.
func jitter(d time.Duration) time.Duration { return d/2 + rand.N(d) }
