package api

import "time"

// maxDrift is how far two monotonic clocks may run apart: 100 parts per million each is what crystals in phones, laptops and
// Raspberry Pis are sold with, and more than what NTP leaves.
const maxDrift = 200e-6

// Clock estimates how far a device's monotonic clock is ahead of one's own, from round trips. Both are in nanoseconds from an
// arbitrary start. The zero value has no estimate.
//
// One round trip says that the device's reading was taken between sent and received, so the offset is known to half the round
// trip. The fastest says most, and is kept until drift has made it worse than a newer one. A round trip that contradicts the
// kept one, drift included, means that one of the clocks was stopped or started anew, such as by a laptop's sleep: then it
// replaces what is kept. A Clock is not safe for concurrent use.
type Clock struct {
	boot   string
	offset int64 // device − own, ns
	slack  int64 // half the round trip, ns
	at     int64 // own time of the sample
	ok     bool
}

// Add takes one round trip: when the request was sent and its answer received by one's own clock, and the device's reading.
// It reports whether the estimate changed.
func (c *Clock) Add(sent, received int64, reply ClockReply) bool {
	if received < sent {
		return false
	}
	sample := Clock{
		boot:  reply.Boot,
		slack: (received - sent + 1) / 2,
		at:    sent + (received-sent)/2,
		ok:    true,
	}
	sample.offset = reply.MonoNS - sample.at
	keep := c.ok && c.boot == sample.boot && c.errorAt(sample.at) <= sample.slack && !c.contradicts(sample)
	if !keep {
		*c = sample
	}
	return !keep
}

func (c *Clock) contradicts(s Clock) bool {
	apart := c.offset - s.offset
	return max(apart, -apart) > c.errorAt(s.at)+s.slack
}

// errorAt is how far the offset may be off at a moment of one's own clock. The clocks drift from the reading on, which is at
// most slack away from the middle of the round trip.
func (c *Clock) errorAt(own int64) int64 {
	elapsed := max(own-c.at, c.at-own) + c.slack
	return c.slack + int64(float64(elapsed)*maxDrift) + 1
}

// Age is how old something is at own that the device stamped with mono, and how far that may be off. It is not known, and ok
// false, without an estimate or after the device started anew.
func (c *Clock) Age(own int64, boot string, mono int64) (age, plusMinus time.Duration, ok bool) {
	if !c.ok || boot != c.boot {
		return 0, 0, false
	}
	return time.Duration(own + c.offset - mono), time.Duration(c.errorAt(own)), true
}

// Offset is how far the device's clock is ahead of one's own, and how far that may be off at own.
func (c *Clock) Offset(own int64) (offset, plusMinus time.Duration, ok bool) {
	return time.Duration(c.offset), time.Duration(c.errorAt(own)), c.ok
}

// Reset forgets the estimate, as after a resume over another path.
func (c *Clock) Reset() { *c = Clock{} }
