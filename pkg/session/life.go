package session

import "time"

const (
	busyInterval = time.Second             // KEEPALIVE while a stream is open
	busyLimit    = 2800 * time.Millisecond // silence that ends a link while a stream is open: the other end hears of it before three seconds are over
	setupLimit   = 10 * time.Second        // a SETUP that is not answered ends a link
)

// life notices a silent link. While a stream is open either end asks each second and gives a link up after
// three; otherwise the client asks at the interval of its SETUP, and either end waits for its lifetime.
// All of it is guarded by Conn.mu.
type life struct {
	c     *Conn
	timer *time.Timer
	fast  bool  // the timer runs at busyInterval
	since int64 // when the first of the streams that are open was opened
}

func (v *life) init(c *Conn) { v.c = c }

// start begins with a new link.
func (v *life) start() {
	v.fast = len(v.c.streams) > 0
	v.since = v.c.now()
	interval, limit := v.pace()
	interval = min(interval, limit)
	if v.timer == nil {
		v.timer = time.AfterFunc(interval, v.beat)
	} else {
		v.timer.Reset(interval)
	}
}

func (v *life) stop() {
	if v.timer != nil {
		v.timer.Stop()
	}
}

// busy hears that a first stream was opened.
func (v *life) busy() {
	v.since = v.c.now()
	if !v.fast && v.c.link != nil && v.timer != nil {
		v.fast = true
		v.timer.Reset(min(busyInterval, v.c.setup.KeepAlive))
	}
}

// pace returns how often to ask, and how long to wait for a sign of life.
func (v *life) pace() (interval, limit time.Duration) {
	interval, limit = v.c.setup.KeepAlive, v.c.setup.Lifetime
	if !v.c.up {
		limit = min(limit, setupLimit)
	}
	if len(v.c.streams) > 0 && v.c.up {
		interval, limit = min(interval, busyInterval), min(limit, busyLimit)
	} else if !v.c.client {
		interval = limit
	}
	return interval, limit
}

// beat asks, or gives the link up.
func (v *life) beat() {
	c := v.c
	c.mu.Lock()
	l := c.link
	if l == nil || c.err != nil {
		c.mu.Unlock()
		return
	}
	interval, limit := v.pace()
	heard := c.heard.Load()
	if v.fast = len(c.streams) > 0; v.fast {
		heard = max(heard, v.since) // before it, nobody was asked
	}
	quiet := time.Duration(c.now() - heard)
	if quiet >= limit {
		c.mu.Unlock()
		c.lose(l, errSilent)
		return
	}
	v.timer.Reset(min(interval, limit-quiet))
	if c.client || v.fast && quiet >= interval {
		c.control.push(keepaliveFrame(c.led.received, true, nil))
	}
	c.mu.Unlock()
	c.Flush()
}
