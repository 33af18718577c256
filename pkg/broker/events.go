package broker

import (
	"sync"

	"github.com/perchcam/perch/pkg/api"
)

// eventsKept is how far a watcher may be behind.
const eventsKept = 1024

// events are the latest changes of the registry, numbered from 1. One writer never waits; each watcher reads
// at its own position, and one that falls too far behind is told how many it missed.
type events struct {
	mu   sync.Mutex // guards the following
	ring [eventsKept]*api.Device
	n    uint64        // the number of the last one
	more chan struct{} // closed when the next one comes
}

func newEvents() *events { return &events{more: make(chan struct{})} }

func (e *events) add(d *api.Device) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.n++
	e.ring[e.n%eventsKept] = d
	close(e.more)
	e.more = make(chan struct{})
}

func (e *events) last() uint64 {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.n
}

// after returns the event that follows number n. When it is not there yet, d is nil and more is closed once it
// is. missed says that it is gone, and how many with it.
func (e *events) after(n uint64) (d *api.Device, missed uint64, more <-chan struct{}) {
	e.mu.Lock()
	defer e.mu.Unlock()
	switch {
	case n >= e.n:
		return nil, 0, e.more
	case e.n-n > eventsKept:
		return nil, e.n - n, nil
	}
	return e.ring[(n+1)%eventsKept], 0, nil
}
