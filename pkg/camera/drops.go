package camera

import (
	"maps"
	"sync"
)

// drops counts dropped frames by reason.
type drops struct {
	mu sync.Mutex
	n  map[string]uint64 // mu guards it; nil until the first drop
}

func (d *drops) add(reason string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.n == nil {
		d.n = make(map[string]uint64)
	}
	d.n[reason]++
}

// snapshot is a copy of the counters, nil if nothing was dropped.
func (d *drops) snapshot() map[string]uint64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.n == nil {
		return nil
	}
	c := make(map[string]uint64, len(d.n))
	maps.Copy(c, d.n)
	return c
}
