package gpio

import (
	"context"
	"slices"
)

// WatchOptions is what to watch.
type WatchOptions struct {
	Sensors []string  // none means all
	After   *Position // where an earlier watcher stood: what it has missed follows, if it is still there
	Latest  bool      // only the newest of each sensor: changes conflate as readings do, and there are no gaps
}

// Watcher is a position in the ring of a board. It holds nothing of the board and need not be closed. One goroutine uses it.
type Watcher struct {
	b      *Board
	latest bool
	which  []int // sensors, in the order of the configuration

	pos     uint64   // the last entry of the ring that is behind us
	changes []uint64 // per sensor of the board: how many of its changes are behind us
	seen    []uint64 // per sensor of the board: the version of the last reading handed over
	states  []Item   // as of pos, to be told before what follows it; one per sensor at most
	gap     *Item    // to be told before the states
}

// Watch returns a watcher whose first items are the states of the sensors; after a Position of this boot, what came since.
func (b *Board) Watch(o WatchOptions) (*Watcher, error) {
	which, err := b.pick(o.Sensors)
	if err != nil {
		return nil, err
	}
	n := len(b.sensors)
	w := &Watcher{b: b, latest: o.Latest, which: which, changes: make([]uint64, n), seen: make([]uint64, n)}

	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case o.After == nil:
		w.startAfresh()
	case o.After.Boot != b.boot || o.After.Seq > b.ring.head:
		w.startAfresh()
		w.gap = &Item{Type: TypeGap, Reason: "restart"}
	default:
		w.resume(o.After.Seq)
	}
	return w, nil
}

func (w *Watcher) startAfresh() {
	w.pos = w.b.ring.head
	for _, s := range w.b.sensors {
		w.changes[s.index] = s.changes
	}
	for _, i := range w.which {
		w.tell(w.b.sensors[i])
	}
}

// tell takes down the state of a sensor as it is now, in place of an earlier one.
func (w *Watcher) tell(s *sensor) {
	w.seen[s.index] = s.version
	item := w.b.stateItem(s)
	if i := slices.IndexFunc(w.states, func(it Item) bool { return it.Sensor == s.spec.Name }); i >= 0 {
		w.states[i] = item
		return
	}
	w.states = append(w.states, item)
}

// resume goes on behind a number. Called with the board locked, as everything below.
func (w *Watcher) resume(seq uint64) {
	r := &w.b.ring
	here := r.count(seq+1, len(w.b.sensors))
	for _, s := range w.b.sensors {
		w.changes[s.index] = s.changes - here[s.index]
	}
	w.pos = seq
	oldest := r.oldest()
	if seq+1 >= oldest {
		return
	}
	// Some are gone, and whose they were with them. Only who watches everything can be told how many.
	gap := Item{Type: TypeGap, Reason: "ring", From: seq + 1, To: oldest - 1}
	if len(w.which) == len(w.b.sensors) {
		gap.Missed = oldest - seq - 1
		w.b.stats.MissedRing += gap.Missed
	}
	w.gap, w.pos = &gap, oldest-1
	for _, i := range w.which {
		if here[i] == 0 { // nothing that follows says how it is
			w.tell(w.b.sensors[i])
		}
	}
}

// Next waits for the next item. Its error is that of ctx, or ErrStopped when the board has stopped and everything was handed over.
func (w *Watcher) Next(ctx context.Context) (Item, error) {
	for {
		if err := ctx.Err(); err != nil {
			return Item{}, err
		}
		item, ok, wait := w.take()
		if ok {
			return item, nil
		}
		if wait == nil {
			return Item{}, ErrStopped
		}
		select {
		case <-ctx.Done():
		case <-wait:
		}
	}
}

// take returns the next item, or what to wait for.
func (w *Watcher) take() (Item, bool, <-chan struct{}) {
	b := w.b
	b.mu.Lock()
	defer b.mu.Unlock()
	if !w.latest {
		w.notice()
	}
	if item, ok := w.owed(); ok {
		return item, true, nil
	}
	if w.latest {
		if item, ok := w.newest(); ok {
			return item, true, nil
		}
	} else {
		for w.pos < b.ring.head {
			w.pos++
			c := b.ring.at(w.pos)
			w.changes[c.sensor]++
			if slices.Contains(w.which, c.sensor) {
				return b.changeItem(c), true, nil
			}
		}
		for _, i := range w.which {
			if s := b.sensors[i]; s.version > w.seen[i] {
				w.seen[i] = s.version
				if s.fault == nil { // else the error, which is newer, was handed over
					return b.readingItem(s), true, nil
				}
			}
		}
	}
	if b.stopped {
		return Item{}, false, nil
	}
	if b.changed == nil {
		b.changed = make(chan struct{})
	}
	return Item{}, false, b.changed
}

// notice sees whether the ring has overtaken us, and what that cost: only changes of our sensors count. What is still in the ring
// follows in order; the sensors that lost a change and have none there are told anew first.
func (w *Watcher) notice() {
	b := w.b
	oldest := b.ring.oldest()
	if w.pos+1 >= oldest {
		return
	}
	here := b.ring.count(oldest, len(b.sensors))
	var missed uint64
	for _, s := range b.sensors {
		gone := s.changes - here[s.index] - w.changes[s.index]
		w.changes[s.index] += gone
		if gone == 0 || !slices.Contains(w.which, s.index) {
			continue
		}
		missed += gone
		if here[s.index] == 0 {
			w.tell(s)
		}
	}
	from := w.pos + 1
	w.pos = oldest - 1
	if missed == 0 {
		return
	}
	b.stats.MissedRing += missed
	if w.gap != nil && w.gap.Reason == "ring" { // not told yet: one gap for both
		w.gap.To = oldest - 1
		if w.gap.Missed != 0 {
			w.gap.Missed += missed
		}
		return
	}
	w.gap = &Item{Type: TypeGap, Reason: "ring", Missed: missed, From: from, To: oldest - 1}
}

// owed hands over a gap and then states.
func (w *Watcher) owed() (Item, bool) {
	b := w.b
	if w.gap != nil {
		item := *w.gap
		w.gap = nil
		item.V, item.Boot, item.At, item.Synced = 1, b.boot, b.clock.wall(b.now()), b.clock.isSynced()
		return item, true
	}
	if len(w.states) == 0 {
		return Item{}, false
	}
	item := w.states[0]
	w.states = w.states[1:]
	return item, true
}

// newest hands over how a sensor is that has changed since it was last handed over.
func (w *Watcher) newest() (Item, bool) {
	b := w.b
	for _, i := range w.which {
		s := b.sensors[i]
		if s.changes == w.changes[i] && s.version == w.seen[i] {
			continue
		}
		w.changes[i], w.seen[i] = s.changes, s.version
		item := b.readingItem(s)
		if item.Type == TypeReading && s.spec.IsInput() && !s.spec.Count {
			item.Type = TypeChange
		}
		return item, true
	}
	return Item{}, false
}
