package camera

import (
	"context"
	"errors"
	"fmt"
)

// joinLine makes v a user of the line that makes want. The hub's mu is held.
func (v *Viewer) joinLine(want rendition) error {
	h := v.hub
	if v.line != nil && v.line.want == want {
		return nil
	}
	v.leaveLine()
	l := h.lines[want]
	if l == nil {
		if len(h.lines) >= maxLines {
			return fmt.Errorf("camera %s makes pictures of %d sizes or qualities already: %w", h.cfg.Name, maxLines, ErrTooMany)
		}
		l = &line{want: want}
		h.lines[want] = l
	}
	l.users++
	v.line = l
	return nil
}

// leaveLine undoes joinLine. The hub's mu is held.
func (v *Viewer) leaveLine() {
	l := v.line
	if l == nil {
		return
	}
	v.line = nil
	if l.users--; l.users == 0 {
		delete(v.hub.lines, l.want)
	}
}

// errAbandoned: the viewer that made the picture went away.
var errAbandoned = errors.New("abandoned")

// finish sees to it that j gets done: by v, if v began it, else by waiting.
func (v *Viewer) finish(ctx context.Context, j *job) error {
	if !j.begun.CompareAndSwap(false, true) {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-j.done:
			return j.err
		}
	}
	h := v.hub
	var b *bench
	select {
	case <-ctx.Done():
	case b = <-h.benches:
	}
	h.mu.Lock()
	if b != nil && !j.fixed && h.held != nil && h.held != j.shot && !h.held.passes(j.line.want) {
		// It waited; a newer frame is as much work and worth more.
		h.drop(j.shot)
		j.shot = h.held
		j.shot.refs++
	}
	h.mu.Unlock()
	if b == nil {
		j.err = errAbandoned
	} else {
		j.made, j.err = b.make(j.shot, j.line.want)
		h.benches <- b
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if !j.fixed {
		j.line.busy = nil
	}
	switch {
	case j.err == nil:
		h.stats.Encoded++
		j.line.last = j.made
	case !errors.Is(j.err, errAbandoned) && !errors.Is(j.err, ErrUnsupported):
		h.drops.add(DropTorn)
		if h.held == j.shot { // nobody else need try
			h.drop(h.held)
			h.held = nil
		}
	}
	h.drop(j.shot)
	close(j.done)
	return j.err
}
