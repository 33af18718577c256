package gpio

import "time"

// ringSize is how many changes are kept for watchers that are behind. At 50 items per second, the most one pin may cause, it is 20 s.
const ringSize = 1024

// change is one entry of the ring, kept small: the item is made when somebody takes it.
type change struct {
	seq    uint64
	sensor int
	kind   string
	on     bool
	raw    bool
	count  uint64
	mono   time.Duration
	lastOK time.Duration
	fault  *Fault
	missed uint64 // edges lost in the kernel, of a gap
}

// ring holds the last changes. Sequence numbers are consecutive from 1, so the place of an entry follows from its number.
type ring struct {
	entries []change // grows to ringSize, then the oldest is overwritten
	head    uint64   // the highest sequence number, 0 = none yet
}

// push gives a change the next number and returns where it is.
func (r *ring) push(c change) *change {
	r.head++
	c.seq = r.head
	if len(r.entries) < ringSize {
		r.entries = append(r.entries, c)
	} else {
		*r.at(r.head) = c
	}
	return r.at(r.head)
}

// oldest is the lowest sequence number that is still here; head+1 when there is none.
func (r *ring) oldest() uint64 { return r.head + 1 - uint64(len(r.entries)) }

// at returns the entry of a number between oldest and head.
func (r *ring) at(seq uint64) *change { return &r.entries[(seq-1)%ringSize] }

// count tells how many entries from number first on belong to each of the sensors.
func (r *ring) count(first uint64, sensors int) []uint64 {
	n := make([]uint64, sensors)
	for seq := max(first, r.oldest()); seq <= r.head; seq++ {
		n[r.at(seq).sensor]++
	}
	return n
}
