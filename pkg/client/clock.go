package client

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/perchcam/perch/pkg/api"
)

// Age is how old a picture was when it was handed over, and how far that may be off. The zero value is not known: the
// device does not tell its clock, or has not answered yet.
type Age struct {
	Known bool
	Age   time.Duration
	Error time.Duration // ±
}

func (a Age) String() string {
	if !a.Known {
		return "unknown"
	}
	return fmt.Sprintf("%s ± %s", span(a.Age), span(a.Error))
}

// span writes a time for a person, to about two digits.
func span(d time.Duration) string {
	switch m := d.Abs(); {
	case m >= 10*time.Second:
		return fmt.Sprintf("%.0f s", d.Seconds())
	case m >= time.Second:
		return fmt.Sprintf("%.1f s", d.Seconds())
	case m >= 10*time.Millisecond:
		return fmt.Sprintf("%.0f ms", ms(d))
	}
	return fmt.Sprintf("%.1f ms", ms(d))
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

const (
	roundTrips = 3
	clockLimit = 5 * time.Second  // for all of them
	clockGood  = 20 * time.Second // an estimate is renewed after: drift adds at most 4 ms until then
)

// clock compares one device's clock with ours.
type clock struct {
	c      *Client
	device string

	mu    sync.Mutex // guards the following
	est   api.Clock
	conn  *conn         // on which the estimate was made,
	epoch int           // on which of its links,
	boot  string        // and of which run of the device; "": not known yet
	at    int64         // when
	busy  bool          // it is being made
	ready chan struct{} // closed when there is one, or will be none for now
}

func (c *Client) clock(device string) *clock {
	c.mu.Lock()
	defer c.mu.Unlock()
	k := c.clocks[device]
	if k == nil {
		k = &clock{c: c, device: device}
		c.clocks[device] = k
	}
	return k
}

// keep has the estimate made, or made anew where it is old, of another link, or of another run of the device than
// boot; "" is any. The channel is closed when there is one, or will be none for now.
func (k *clock) keep(n *conn, boot string) <-chan struct{} {
	k.mu.Lock()
	defer k.mu.Unlock()
	now, epoch := k.c.now(), n.links()
	same := k.conn == n && k.epoch == epoch && (boot == "" || k.boot == "" || k.boot == boot)
	if k.busy || same && now-k.at < int64(clockGood) {
		return k.ready
	}
	if !same {
		k.est.Reset()
		k.boot = ""
		k.ready = make(chan struct{})
	}
	k.conn, k.epoch, k.at, k.busy = n, epoch, now, true
	ready, renews := k.ready, same
	if !k.c.spawn(func() { k.measure(n, ready, renews) }) {
		k.busy = false
		if !renews {
			close(ready)
		}
	}
	return ready
}

// measure makes a few round trips. renews: ready is closed already.
func (k *clock) measure(n *conn, ready chan struct{}, renews bool) {
	ctx, cancel := context.WithTimeout(k.c.ctx, clockLimit)
	defer cancel()
	q := question{route: api.RouteClock, device: k.device, data: api.NoOptions{}}
	for i := range roundTrips {
		req, err := q.payload(n)
		if err != nil {
			break
		}
		sent := k.c.now()
		p, err := n.requester().RequestResponse(ctx, req)
		received := k.c.now()
		var reply api.ClockReply
		if err == nil {
			reply, err = api.Decode[api.ClockReply](p.Data)
		}
		if err != nil {
			k.c.cfg.Log.Debug("clock not compared", "device", k.device, "err", err)
			break
		}
		k.mu.Lock()
		k.est.Add(sent, received, reply)
		k.boot = reply.Boot
		k.mu.Unlock()
		if i == 0 && !renews {
			close(ready)
			renews = true
		}
	}
	if !renews {
		close(ready)
	}
	k.mu.Lock()
	k.busy = false
	k.mu.Unlock()
}

// age says how old a picture is now.
func (k *clock) age(h api.FrameHeader) Age {
	k.mu.Lock()
	defer k.mu.Unlock()
	age, plusMinus, ok := k.est.Age(k.c.now(), h.Boot, h.MonoNS)
	return Age{ok, max(age, 0), plusMinus}
}
