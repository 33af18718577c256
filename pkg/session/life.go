package session

import "time"

const (
	minInterval  = 100 * time.Millisecond  // whatever SETUP says
	busyInterval = time.Second             // KEEPALIVE while a stream is open
	busyLimit    = 2800 * time.Millisecond // silence that ends a link while a stream is open: the other end hears of it before three seconds are over
	setupLimit   = 10 * time.Second        // a SETUP that is not answered ends a link
)

// life notices a silent link. While a stream is open either end says something each second, asks when it hears nothing,
// and gives a link up after three; otherwise the client asks at the interval of its SETUP, and either end waits for its
// lifetime. An end that only receives speaks too: on a slow path its acknowledgements alone are too seldom.
// All of it is guarded by Conn.mu.
type life struct {
	c     *Conn
	timer *time.Timer
	fast  bool  // the timer runs at busyInterval
	since int64 // when the first of the streams that are open was opened
	asked int64 // when the other end was asked, the first time since it was heard
}

func (v *life) init(c *Conn) { v.c = c }

// start begins with a new link.
func (v *life) start() {
	v.fast = len(v.c.streams) > 0
	v.since, v.asked = v.c.now(), 0
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
		interval, _ := v.pace()
		v.timer.Reset(interval)
	}
}

// pace returns how often to ask, and how long to wait for a sign of life.
func (v *life) pace() (interval, limit time.Duration) {
	interval, limit = v.c.setup.KeepAlive, v.c.setup.Lifetime
	if !v.c.up {
		limit = min(limit, setupLimit)
	}
	if len(v.c.streams) > 0 {
		if interval = min(interval, busyInterval); v.c.up {
			limit = min(limit, busyLimit)
		}
	} else if !v.c.client {
		interval = limit
	}
	return max(interval, minInterval), max(limit, minInterval)
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
		since := v.since // before it nobody was asked,
		if v.asked > heard {
			since = min(since, v.asked) // or somebody was, and has not answered
		}
		heard = max(heard, since)
	}
	quiet := time.Duration(c.now() - heard)
	if quiet >= limit {
		c.mu.Unlock()
		c.lose(l, errSilent)
		return
	}
	v.timer.Reset(min(interval, max(limit-quiet, minInterval)))
	switch {
	case c.client || v.fast && quiet >= interval:
		c.ask = true
		if v.asked <= c.heard.Load() {
			v.asked = c.now()
		}
	case v.fast:
		c.tell = true
	}
	c.mu.Unlock()
	c.Flush()
}
