package api

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

const (
	ms     = int64(time.Millisecond)
	second = int64(time.Second)
	hour   = 3600 * second
)

// device is a clock that runs ahead of one's own, and maybe faster.
type device struct {
	boot  string
	ahead int64
	ppm   float64
}

func (d device) at(own int64) int64 { return own + d.ahead + int64(float64(own)*d.ppm*1e-6) }

// trip makes a round trip that takes `there` and `back`.
func (d device) trip(c *Clock, sent, there, back int64) bool {
	return c.Add(sent, sent+there+back, ClockReply{Boot: d.boot, MonoNS: d.at(sent + there)})
}

func TestClockFastestTripCounts(t *testing.T) {
	d := device{boot: "b", ahead: 5000 * second}
	var c Clock
	if _, _, ok := c.Age(0, "b", 0); ok {
		t.Error("an age without an estimate")
	}
	for i, trip := range [][2]int64{{40, 2}, {3, 1}, {1, 30}, {90, 90}} {
		kept := d.trip(&c, int64(i)*second, trip[0]*ms, trip[1]*ms)
		if want := i < 2; kept != want {
			t.Errorf("trip %d changed the estimate: %v", i, kept)
		}
	}
	offset, plusMinus, ok := c.Offset(second)
	if !ok || offset != 5000*time.Second+time.Millisecond || plusMinus < 2*time.Millisecond || plusMinus > 2*time.Millisecond+time.Microsecond {
		t.Errorf("offset %v ± %v, %v", offset, plusMinus, ok)
	}
	age, plusMinus, ok := c.Age(10*second, "b", d.at(10*second-70*ms))
	if !ok || (age-70*time.Millisecond).Abs() > plusMinus {
		t.Errorf("70 ms old is %v ± %v, %v", age, plusMinus, ok)
	}
	if _, _, ok := c.Age(10*second, "another boot", 0); ok {
		t.Error("an age by the clock of another boot")
	}
	if c.Reset(); c != (Clock{}) {
		t.Error("it remembers")
	}
}

// TestClockDrift: after an hour the fastest trip of the past says less than a slower one of now.
func TestClockDrift(t *testing.T) {
	d := device{boot: "b"}
	var c Clock
	d.trip(&c, 0, ms, ms)
	if d.trip(&c, second, 5*ms, 5*ms) {
		t.Error("a slower trip a second later counts")
	}
	if !d.trip(&c, hour, 5*ms, 5*ms) {
		t.Error("a slower trip an hour later does not count")
	}
}

// TestClockJump: a laptop slept, its clock did not go on, and what was measured before is worth nothing.
func TestClockJump(t *testing.T) {
	awake, slept := device{boot: "b"}, device{boot: "b", ahead: 300 * second}
	var c Clock
	awake.trip(&c, 0, ms, ms)
	if !slept.trip(&c, 10*second, 80*ms, 80*ms) {
		t.Fatal("a trip that contradicts the kept one does not replace it")
	}
	if offset, _, _ := c.Offset(10 * second); (offset - 300*time.Second).Abs() > 100*time.Millisecond {
		t.Errorf("offset %v", offset)
	}
	rebooted := device{boot: "c", ahead: 300 * second}
	if !rebooted.trip(&c, 11*second, 200*ms, 200*ms) {
		t.Error("a trip to another boot does not replace the kept one")
	}
	if c.Add(5, 4, ClockReply{Boot: "c"}) {
		t.Error("an answer before the question counts")
	}
}

// TestClockIsRight: the truth is always within the stated error, for any trips over any clocks within their tolerance.
func TestClockIsRight(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := device{
			boot:  "b",
			ahead: rapid.Int64Range(-hour*24*365, hour*24*365).Draw(t, "ahead"),
			ppm:   rapid.Float64Range(-maxDrift*1e6, maxDrift*1e6).Draw(t, "ppm"),
		}
		var c Clock
		now := rapid.Int64Range(0, hour).Draw(t, "start")
		for range rapid.IntRange(1, 10).Draw(t, "trips") {
			now += rapid.Int64Range(0, hour).Draw(t, "pause")
			there, back := rapid.Int64Range(0, 2*second).Draw(t, "there"), rapid.Int64Range(0, 2*second).Draw(t, "back")
			d.trip(&c, now, there, back)
			now += there + back

			truth := rapid.Int64Range(0, 10*second).Draw(t, "age")
			taken := d.at(now - truth)
			age, plusMinus, ok := c.Age(now, "b", taken)
			slack := time.Duration(float64(truth)*maxDrift) + 3 // the picture's own age drifts, too; and ns are rounded
			if !ok || (age-time.Duration(truth)).Abs() > plusMinus+slack {
				t.Fatalf("%v old is %v ± %v", time.Duration(truth), age, plusMinus)
			}
		}
	})
}
