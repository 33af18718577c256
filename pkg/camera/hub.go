package camera

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"runtime"
	"sync"
	"time"
)

// Limits of a Hub, fixed because each guards a Pi Zero against its viewers.
const (
	maxLines     = 4                      // distinct computed pictures at once
	maxSpare     = 2                      // raw buffers kept for the next copy
	stallPeriods = 3                      // frames missed before the camera counts as stalled
	stallFloor   = 500 * time.Millisecond // but never sooner than this
	startLimit   = 10 * time.Second       // until the first frame; a ribbon camera needs a second or more
	retrySoon    = 20 * time.Millisecond  // when the source has said that its camera is back, and it was not
	retryFirst   = 250 * time.Millisecond
	retryLast    = 5 * time.Second
	retryOnAsk   = time.Second     // a new viewer cuts a pause short that has lasted so long
	lasted       = 5 * time.Second // a capture that ran so long begins a new back-off
)

// Config says what a Hub needs. Only Source is required.
type Config struct {
	Name   string // in pictures, errors and logs
	Source Source
	Want   Want          // Dropped is set by the Hub
	Linger time.Duration // how long the sensor runs on after the last viewer; 0 means 5 s, negative not at all
	Hold   int           // bytes of frames held for viewers that want all; 0 means 8 MiB
	Log    *slog.Logger  // nil discards

	// Rested, if not nil, is called by Run when the camera was stopped because nobody looked any more.
	Rested func()
}

// Hub is one camera and all who look at it.
type Hub struct {
	cfg     Config
	journal journal // owned by whoever holds mu
	drops   drops
	wake    chan struct{} // capacity 1: viewers came, Run should look
	benches chan *bench   // as many as encoders may run at once

	mu sync.Mutex
	// mu guards the following.
	state    State
	turned   chan struct{} // closed at the next change of state; nil if nobody waits for it
	viewers  map[*Viewer]struct{}
	lines    map[rendition]*line
	held     *shot         // the newest copy; nil if none
	gop      gop           // of a camera that gives H.264
	ring     ring          // for viewers that want all; filled while there is one, and while the camera lingers after it
	alls     int           // viewers that want all
	spare    [][]byte      // memory for copies of raw frames
	newest   uint64        // Seq of the newest frame, copied or not; 0 before the first
	failed   uint64        // frames up to newest that the camera counted and did not give, or not whole
	period   time.Duration // between frames, as told or measured, whichever is longer; 0 if neither
	measured time.Duration // between frames, smoothed
	failures uint64        // captures that ended with an error
	pausedAt time.Time     // when the pause between attempts began; zero if there is none
	deadline time.Time     // by when the running capture yields a frame or is ended; zero if none runs
	stop     func(error)   // ends the running capture or pause; nil if there is none
	linger   *time.Timer   // runs while the camera does and nobody looks
	stats    Stats         // Dropped and Viewers are filled in by Stats
}

// errUnwanted is the cause with which a capture ends when nobody looks.
var errUnwanted = errors.New("nobody looks any more")

// NewHub checks the configuration. It opens nothing; Run does.
func NewHub(cfg Config) (*Hub, error) {
	if cfg.Source == nil {
		return nil, errors.New("a camera hub needs a source")
	}
	if w := cfg.Want; w.Width < 0 || w.Height < 0 || w.FPS < 0 {
		return nil, fmt.Errorf("camera %s: size and rate must not be negative", cfg.Name)
	}
	cfg.Linger = cmp.Or(cfg.Linger, 5*time.Second)
	cfg.Hold = cmp.Or(cfg.Hold, 8<<20)
	log := cmp.Or(cfg.Log, slog.New(slog.DiscardHandler))
	h := &Hub{
		cfg:     cfg,
		journal: journal{log: log.With("camera", cfg.Name)},
		wake:    make(chan struct{}, 1),
		benches: make(chan *bench, max(1, runtime.GOMAXPROCS(0)/2)),
		state:   State{Phase: Idle, Since: time.Now()},
		viewers: make(map[*Viewer]struct{}),
		lines:   make(map[rendition]*line),
		ring:    ring{limit: cfg.Hold},
	}
	for range cap(h.benches) {
		h.benches <- new(bench)
	}
	h.cfg.Want.Dropped = h.drops.add
	return h, nil
}

// Name is the camera's name.
func (h *Hub) Name() string { return h.cfg.Name }

// Source is the camera itself, for what goes past the pictures: Describe, controls.
func (h *Hub) Source() Source { return h.cfg.Source }

// Run drives the camera until ctx ends; then the sensor is stopped, every
// viewer gets ErrClosed, and Run returns nil. It is called once.
func (h *Hub) Run(ctx context.Context) error {
	defer h.shut()
	tries := 0  // in a row that failed
	echoes := 0 // times in a row that the source said its camera is back, and no frame came
	for h.demanded(ctx) {
		began := time.Now()
		n, err := h.capture(ctx)
		if err == nil || n > 0 {
			echoes = 0
		}
		if err == nil || time.Since(began) > lasted {
			tries = 0
		}
		switch {
		case err == nil: // nobody looks any more, or ctx ended
			if h.cfg.Rested != nil && ctx.Err() == nil {
				h.cfg.Rested()
			}
		case h.pause(ctx, tries, echoes):
			tries = 0
			echoes++
		default:
			tries++
		}
	}
	return nil
}

// Look asks the camera whether it is there, without starting it. Trouble is
// logged as that of a capture is, once for both, but changes no state: what
// cannot be asked may work when it is wanted.
func (h *Hub) Look(ctx context.Context) error {
	_, err := h.cfg.Source.Describe(ctx)
	if err == nil || ctx.Err() != nil {
		return err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.state.Phase == Idle && h.state.Err == nil {
		h.journal.turn(h.state, State{Phase: phaseOf(err), Since: time.Now(), Err: err})
	}
	return err
}

// demanded waits until somebody looks; false means that ctx ended.
func (h *Hub) demanded(ctx context.Context) bool {
	for {
		h.mu.Lock()
		n := len(h.viewers)
		h.mu.Unlock()
		if n > 0 {
			return ctx.Err() == nil
		}
		select {
		case <-ctx.Done():
			return false
		case <-h.wake:
		}
	}
}

// pause waits before the next attempt: a back-off with jitter, cut short by a
// new viewer after retryOnAsk, or when the source says that its camera is
// back, which pause then tells. A source that says so again and again, and
// fails, is given a growing rest; a short one first, because the kernel shows a
// node some moments before it lets it be opened.
func (h *Hub) pause(ctx context.Context, tries, echoes int) (back bool) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	wait := func(first time.Duration, n int) (context.Context, context.CancelFunc) {
		d := min(first<<min(n, 8), retryLast)
		return context.WithTimeout(ctx, d/2+rand.N(d))
	}
	h.mu.Lock()
	h.pausedAt = time.Now()
	h.stop = func(error) { cancel() }
	h.mu.Unlock()
	defer func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.pausedAt, h.stop = time.Time{}, nil
	}()
	over, release := wait(retryFirst, tries)
	defer release()
	a, ok := h.cfg.Source.(Awaiter)
	if !ok || a.Await(over) != nil {
		<-over.Done()
		return false
	}
	if echoes > 0 {
		rested, release := wait(retrySoon, echoes-1)
		defer release()
		<-rested.Done()
	}
	return true
}

// capture runs the sensor until nobody looks or ctx ends (nil), or it fails. It
// gives the number of frames.
func (h *Hub) capture(parent context.Context) (n uint64, err error) {
	ctx, cancel := context.WithCancelCause(parent)
	defer cancel(nil)
	h.mu.Lock()
	h.stop = cancel
	h.stats.Starts++
	h.enter(Starting, nil)
	if len(h.viewers) == 0 { // the one who looked has gone already
		h.lingerOn()
	}
	base := h.newest
	h.mu.Unlock()

	guard := time.AfterFunc(startLimit, func() { cancel(ErrStalled) })
	defer guard.Stop()
	h.expect(startLimit)
	var last Frame
	for f, e := range h.cfg.Source.Frames(ctx, h.cfg.Want) {
		if err = e; err != nil {
			break
		}
		if n == 0 {
			base -= f.Seq // the first frame becomes base + 1
			last = f
		}
		period := h.take(f, base+f.Seq+1, n, last)
		limit := max(stallPeriods*period, stallFloor)
		if period == 0 {
			limit = startLimit // the second frame will tell
		}
		guard.Reset(limit)
		h.expect(limit)
		last = f
		n++
	}
	cause := context.Cause(ctx)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.stopped()
	switch {
	case parent.Err() != nil:
		return n, nil
	case errors.Is(cause, errUnwanted):
		h.enter(Idle, nil)
		return n, nil
	case errors.Is(cause, ErrStalled) && n == 0:
		err = fmt.Errorf("%w: none within %v of the start", ErrStalled, startLimit)
	case errors.Is(cause, ErrStalled):
		err = fmt.Errorf("%w after %d", ErrStalled, n)
	case err == nil:
		err = errors.New("the source ended without saying why")
	}
	err = fmt.Errorf("camera %s: %w", h.cfg.Name, err)
	h.failures++
	h.stats.Failures++
	h.enter(phaseOf(err), err)
	h.notify()
	return n, err
}

// expect notes by when the capture must show that it lives.
func (h *Hub) expect(limit time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.deadline = time.Now().Add(limit)
}

// Overdue tells for how long the camera's loop has been stuck: the time since
// its capture should have yielded a frame or been ended, 0 if all is well. A
// camera that is off, away or being retried is well. More than a second or two
// means that a driver or a child process does not let go.
func (h *Hub) Overdue() time.Duration {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.deadline.IsZero() {
		return 0
	}
	return max(time.Since(h.deadline), 0)
}

// stopped frees what only a running camera needs. Callers hold mu.
func (h *Hub) stopped() {
	h.stop, h.deadline = nil, time.Time{}
	h.lingerOff()
	h.drop(h.held)
	h.ring.clear(h)
	h.held, h.spare, h.gop = nil, nil, gop{}
	h.period, h.measured = 0, 0
	for _, l := range h.lines {
		l.last = made{}
	}
	for range cap(h.benches) { // scratch of encoders at work stays until the next stop
		select {
		case <-h.benches:
			h.benches <- new(bench)
		default:
		}
	}
}

// take takes one frame of the source and copies it if somebody wants it. It
// gives the time between frames as known now, 0 if it is not.
func (h *Hub) take(f Frame, seq, nth uint64, last Frame) time.Duration {
	now := Mono()
	h.mu.Lock()
	h.stats.Frames++
	if gap := f.Seq - last.Seq; gap > 1 && gap < 1<<63 {
		h.stats.Lost += gap - 1
		h.failed += gap - 1
	}
	h.measure(f, last)
	h.newest = seq
	period := h.period
	if h.state.Phase == Streaming && !h.wantedBy(f) {
		h.gop.clear()
		h.mu.Unlock()
		return period
	}
	if !f.Format.Compressed() { // its memory will do for the new one, if nobody is at work on it
		h.drop(h.held)
		h.held = nil
	}
	buf := h.takeSpare(f.Format)
	h.mu.Unlock()

	sh, reason := copyFrame(f, buf)

	h.mu.Lock()
	defer h.mu.Unlock()
	if reason == "" {
		sh.seq, sh.nth, sh.arrived, sh.refs, sh.failed = seq, nth, now, 1, h.failed
		if f.Format == H264 {
			reason = h.gop.add(sh)
		}
	}
	if reason != "" {
		h.failed++
		h.drops.add(reason)
		h.putSpare(f.Format, buf)
		return period
	}
	if h.state.Phase != Streaming {
		h.state.Mode = Mode{Format: f.Format, Width: sh.width, Height: sh.height}
		if f.Period > 0 {
			h.state.Mode.FPS = float64(time.Second) / float64(f.Period)
		}
		h.enter(Streaming, nil)
	}
	h.stats.Copied++
	h.drop(h.held)
	h.held = sh
	if h.holds() {
		h.ring.add(h, sh)
	} else {
		h.ring.clear(h)
	}
	for v := range h.viewers {
		if v.mayWant(f) {
			v.nudge()
		}
	}
	return period
}

// measure keeps the time between frames. What the driver told is not enough:
// in the dark many webcams take fewer frames than they agreed to.
func (h *Hub) measure(f, last Frame) {
	if f.Seq > last.Seq && f.Mono > last.Mono {
		p := (f.Mono - last.Mono) / time.Duration(f.Seq-last.Seq)
		if h.measured == 0 {
			h.measured = p
		}
		h.measured += (p - h.measured) / 4
	}
	h.period = max(f.Period, h.measured)
}

// holds tells whether frames are kept for who wants all: while somebody does,
// and after that, for who comes back and names the frame to go on with, until
// the camera stops or others look.
func (h *Hub) holds() bool {
	return h.alls > 0 || len(h.viewers) == 0 && len(h.ring.shots) > 0
}

// wantedBy tells whether a viewer may ask for a picture made of f.
func (h *Hub) wantedBy(f Frame) bool {
	if h.holds() {
		return true
	}
	for v := range h.viewers {
		if v.mayWant(f) {
			return true
		}
	}
	return false
}

// mayWant tells whether v may ask for a picture made of f. Of H.264 every
// frame is needed for the next.
func (v *Viewer) mayWant(f Frame) bool { return f.Format == H264 || v.isDue(f.Mono) }

// notify wakes whoever waits in Next.
func (h *Hub) notify() {
	for v := range h.viewers {
		v.nudge()
	}
}

// drop gives up one use of a shot.
func (h *Hub) drop(s *shot) {
	if s == nil {
		return
	}
	if s.refs--; s.refs == 0 {
		h.putSpare(s.format, s.data)
	}
}

// takeSpare gives memory for a copy, nil if there is none. Pictures of
// compressed cameras go out as they are and belong to their viewers, so
// their memory never comes back.
func (h *Hub) takeSpare(f Format) []byte {
	if n := len(h.spare); n > 0 && !f.Compressed() {
		b := h.spare[n-1]
		h.spare = h.spare[:n-1]
		return b
	}
	return nil
}

func (h *Hub) putSpare(f Format, b []byte) {
	if b != nil && !f.Compressed() && len(h.spare) < maxSpare {
		h.spare = append(h.spare, b)
	}
}

// enter changes the phase. A camera in trouble stays so until frames come:
// neither another attempt nor the lack of viewers mends it. Callers hold mu.
func (h *Hub) enter(p Phase, err error) {
	was := h.state
	switch {
	case was.Err != nil && (p == Starting || p == Idle):
		return
	case was.Phase == p:
		h.state.Err = err
		return
	}
	h.state.Phase, h.state.Since, h.state.Err = p, time.Now(), err
	h.journal.turn(was, h.state)
	if h.turned != nil {
		close(h.turned)
		h.turned = nil
	}
}

// lingerOn begins the time after which an unwatched camera is stopped.
func (h *Hub) lingerOn() {
	stop := h.stop
	if stop == nil || !h.pausedAt.IsZero() {
		return
	}
	if h.cfg.Linger < 0 {
		stop(errUnwanted)
		return
	}
	h.lingerOff()
	h.linger = time.AfterFunc(h.cfg.Linger, func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		if len(h.viewers) == 0 {
			stop(errUnwanted)
		}
	})
}

func (h *Hub) lingerOff() {
	if h.linger != nil {
		h.linger.Stop()
		h.linger = nil
	}
}

// shut ends every viewer.
func (h *Hub) shut() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.enter(Closed, nil)
	h.notify()
}

// State is what the camera is doing now.
func (h *Hub) State() State {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.state
}

// Turned gives the state now and a channel that is closed when it changes.
func (h *Hub) Turned() (State, <-chan struct{}) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.turned == nil {
		h.turned = make(chan struct{})
	}
	return h.state, h.turned
}

// Stats are the counters now.
func (h *Hub) Stats() Stats {
	h.mu.Lock()
	s := h.stats
	s.Viewers = len(h.viewers)
	h.mu.Unlock()
	s.Dropped = h.drops.snapshot()
	return s
}
