package camera

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Picture is one picture for one viewer.
type Picture struct {
	Camera        string
	Seq           uint64        // rises by one for each frame of the camera
	At            time.Time     // wall clock when it was taken, by the clock as set when it was handed out
	Mono          time.Duration // CLOCK_MONOTONIC when it was taken
	Width, Height int
	Format        Format // MJPEG for every JPEG, or H264
	Skipped       uint64 // frames since this viewer's last picture that it did not get
	Failed        uint64 // of these, those that the camera counted and did not give, or not whole
	Settled       *bool  // Snapshot with Settled only: whether the brightness had come to rest
	Data          []byte // shared: must not be written
}

// ViewOptions says what a viewer wants. The zero value is every picture as
// the camera makes it.
type ViewOptions struct {
	// Width and Height are the box that the picture must fit in. It keeps its
	// proportions and is never enlarged.
	Width, Height int
	Quality       int     // of JPEG, 1 … 100, rounded to 5; 0 leaves it to the camera
	FPS           float64 // at most so many pictures a second; 0 is as many as there are; of H264, key pictures only
	Format        Format  // 0 or JPEG or MJPEG; or H264, if the camera is set to it
	// All asks for every picture, oldest first, instead of the newest: those
	// that wait are held by the Hub, up to [Config.Hold] bytes for all viewers
	// together. What is lost counts as skipped. Of H.264 nothing is held beyond
	// what every viewer gets.
	All bool
	// From is the Seq that the viewer wants to begin with, 0 for what comes.
	// If it is not held any more, the first picture tells by Skipped how many
	// are missing.
	From uint64
}

// Viewer is one who looks at a camera. One goroutine at a time calls Next.
type Viewer struct {
	hub  *Hub
	opt  ViewOptions
	want rendition
	step time.Duration // least time between pictures; 0 is none
	wake chan struct{} // capacity 1: a frame came, or the state changed

	// The hub's mu guards the following.
	seen     uint64        // Seq of the last picture, or of the last frame before this viewer came
	past     uint64        // of all, frames up to this number are done with, though they gave no picture
	got      bool          // has had a picture
	failed   uint64        // the hub's, as of seen
	failures uint64        // of the hub when this viewer came
	due      time.Duration // the next picture is wanted from then on; if step is set and it has had one
	after    time.Duration // snapshot only: likewise, without mercy
	snapshot bool
	line     *line // of computed pictures that this viewer uses; nil if none
	closed   bool
}

// View begins to look. The camera is started if it does not run. The viewer
// must be closed.
func (h *Hub) View(opt ViewOptions) *Viewer {
	v := &Viewer{
		hub:  h,
		opt:  opt,
		want: newRendition(opt.Width, opt.Height, opt.Quality),
		wake: make(chan struct{}, 1),
	}
	if opt.FPS > 0 {
		v.step = time.Duration(float64(time.Second) / opt.FPS)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.lingerOff()
	h.viewers[v] = struct{}{}
	v.failures = h.failures
	switch {
	case h.pausedAt.IsZero():
	case time.Since(h.pausedAt) < retryOnAsk:
		v.failures-- // the last error is news enough
	default:
		h.stop(nil) // let the next attempt begin now
	}
	v.seen, v.failed = h.newest, h.failed
	if h.held != nil && h.held.seq == h.newest {
		v.seen-- // there is one this viewer may have at once
	}
	if opt.From > 0 {
		v.seen = opt.From - 1
	}
	if opt.All {
		h.alls++
	}
	select {
	case h.wake <- struct{}{}:
	default:
	}
	return v
}

// Close ends the viewing, and a Next that waits.
func (v *Viewer) Close() {
	h := v.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	if v.closed {
		return
	}
	v.closed = true
	v.nudge()
	v.leaveLine()
	delete(h.viewers, v)
	if v.opt.All {
		h.alls--
	}
	if len(h.viewers) == 0 {
		h.lingerOn()
	}
}

// nudge makes Next look again.
func (v *Viewer) nudge() {
	select {
	case v.wake <- struct{}{}:
	default:
	}
}

// Next gives the newest picture that this viewer has not seen, as soon as
// there is one. It chooses as late as it can, so it should be called only
// when the picture can leave.
//
// Before the first picture an error of the camera is returned, as a sentence.
// After it, Next waits while the camera is away and goes on when it is back.
// ErrClosed means that the Hub or the viewer has ended.
//
// H.264 comes without a gap from a key picture on; a viewer that falls behind
// goes on with the next key picture.
func (v *Viewer) Next(ctx context.Context) (Picture, error) {
	h := v.hub
	for spoilt := 0; ; {
		h.mu.Lock()
		m, j, err := v.choose()
		var p Picture
		if m.data != nil {
			p = v.deliver(m)
		}
		h.mu.Unlock()
		switch {
		case err != nil:
			return Picture{}, err
		case p.Data != nil:
			return p, nil
		case j == nil:
			select {
			case <-ctx.Done():
				return Picture{}, context.Cause(ctx)
			case <-v.wake:
			}
			continue
		}
		err = v.finish(ctx, j)
		if ctx.Err() != nil {
			return Picture{}, context.Cause(ctx)
		}
		if errors.Is(err, errAbandoned) {
			continue
		}
		if err != nil {
			if j.fixed {
				h.mu.Lock()
				v.past = j.shot.seq
				h.mu.Unlock()
			}
			if spoilt++; spoilt > maxSpoilt || errors.Is(err, ErrUnsupported) {
				return Picture{}, fmt.Errorf("camera %s: %w", h.cfg.Name, err)
			}
			continue
		}
		h.mu.Lock()
		ok := v.serves(j.made.seq, j.made.mono)
		if ok {
			p = v.deliver(j.made)
		}
		h.mu.Unlock()
		if ok {
			return p, nil
		}
	}
}

// maxSpoilt is how many undecodable pictures in a row Next passes over.
const maxSpoilt = 30

// choose looks for v's next picture. It gives the picture; or a job that makes
// one; or neither, when there is nothing to do but wait. The hub's mu is held.
func (v *Viewer) choose() (made, *job, error) {
	h := v.hub
	if err := v.trouble(); err != nil {
		return made{}, nil, err
	}
	sh := h.held
	switch {
	case sh != nil && sh.format == H264:
		return v.chooseH264()
	case v.opt.All:
		if sh = h.ring.after(v); sh == nil {
			return made{}, nil, nil
		}
	case sh == nil || !v.serves(sh.seq, sh.mono) || !v.fresh(sh):
		return made{}, nil, nil
	case v.opt.Format == H264:
		return made{}, nil, fmt.Errorf("camera %s gives %s, not H264; set format=h264 for it: %w", h.cfg.Name, sh.format, ErrUnsupported)
	}
	want := v.want.of(sh.width, sh.height)
	if sh.passes(want) {
		v.leaveLine()
		return passed(sh), nil, nil
	}
	if err := v.joinLine(want); err != nil {
		return made{}, nil, err
	}
	l := v.line
	if l.last.seq == sh.seq && l.last.data != nil {
		return l.last, nil, nil
	}
	if v.opt.All { // this very frame; who else wants it finds it in the line
		sh.refs++
		return made{}, &job{line: l, shot: sh, fixed: true, done: make(chan struct{})}, nil
	}
	// One being made is taken though it is older by now: viewers that each
	// insisted on the newest would share nothing when the processor is slow.
	if l.busy == nil {
		l.busy = &job{line: l, shot: sh, done: make(chan struct{})}
		sh.refs++
		return made{}, l.busy, nil
	}
	return made{}, l.busy, nil
}

// trouble is why v will get no picture. The hub's mu is held.
func (v *Viewer) trouble() error {
	h := v.hub
	switch {
	case v.closed, h.state.Phase == Closed:
		return fmt.Errorf("camera %s: %w", h.cfg.Name, ErrClosed)
	case !v.got && h.state.Err != nil && h.failures != v.failures:
		return h.state.Err
	}
	return nil
}

// serves tells whether a picture is one that v has yet to see, and not too soon.
func (v *Viewer) serves(seq uint64, mono time.Duration) bool {
	if v.snapshot {
		return mono > v.after
	}
	return seq > v.seen && v.isDue(mono)
}

// isDue tells whether a picture taken at mono keeps to v's rate, to the
// nearest frame.
func (v *Viewer) isDue(mono time.Duration) bool {
	return v.step == 0 || !v.got || mono >= v.due-v.hub.period/2
}

// fresh tells whether the copy is the newest there is. Where newer frames were
// not copied, because nobody wanted them, waiting for the next one is better.
func (v *Viewer) fresh(sh *shot) bool {
	return v.snapshot || sh.seq == v.hub.newest || Mono()-sh.arrived <= v.hub.period*5/4
}

// deliver makes a finished picture v's own. The hub's mu is held.
func (v *Viewer) deliver(m made) Picture {
	p := Picture{
		Camera: v.hub.cfg.Name, Seq: m.seq, At: WallTime(m.mono), Mono: m.mono,
		Width: m.width, Height: m.height, Format: m.format,
		Skipped: m.seq - v.seen - 1, Data: m.data,
	}
	if m.failed > v.failed { // a frame that was held already when this viewer came is no news
		p.Failed = min(m.failed-v.failed, p.Skipped)
	}
	// The beat is kept over small delays, but a viewer that was held up does
	// not catch up with a burst.
	if v.due += v.step; !v.got || v.due < m.mono {
		v.due = m.mono + v.step
	}
	v.seen, v.got, v.failed = m.seq, true, m.failed
	return p
}
