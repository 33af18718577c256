package camera

// ring holds the last frames for viewers that want all of them. Each viewer
// has its own place in it, which is the number it has seen; one that falls too
// far behind loses the oldest and is told how many. The Hub's mu guards it.
type ring struct {
	shots []*shot // by number, rising; frames may be missing in between
	bytes int
	limit int // in bytes; one frame is always held
}

// add takes a frame and gives up what is over the limit.
func (r *ring) add(h *Hub, s *shot) {
	s.refs++
	r.shots = append(r.shots, s)
	r.bytes += len(s.data)
	n := 0
	for r.bytes > r.limit && n < len(r.shots)-1 {
		r.bytes -= len(r.shots[n].data)
		h.drop(r.shots[n])
		r.shots[n] = nil // so that its memory goes though the slice's does not
		n++
	}
	r.shots = r.shots[n:]
}

// clear gives up everything.
func (r *ring) clear(h *Hub) {
	for _, s := range r.shots {
		h.drop(s)
	}
	r.shots, r.bytes = nil, 0
}

// after is the oldest frame that v has yet to see and that keeps to its rate,
// nil if there is none.
func (r *ring) after(v *Viewer) *shot {
	seen := max(v.seen, v.past)
	// Viewers are near the end most of the time.
	i := len(r.shots)
	for i > 0 && r.shots[i-1].seq > seen {
		i--
	}
	for ; i < len(r.shots); i++ {
		if v.isDue(r.shots[i].mono) {
			return r.shots[i]
		}
	}
	return nil
}
