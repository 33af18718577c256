package client_test

import (
	"context"
	"errors"
	"iter"
	"testing"
	"testing/synctest"
	"time"

	"github.com/perchcam/perch/internal/simlink"
	"github.com/perchcam/perch/pkg/api"
	"github.com/perchcam/perch/pkg/client"
	"github.com/perchcam/perch/pkg/client/clienttest"
	"github.com/perchcam/perch/pkg/peer"
	"github.com/perchcam/perch/pkg/wire"
)

// chain checks that pictures follow one another: what was not delivered is counted in the next header, or stated
// as a gap.
type chain struct {
	t      *testing.T
	last   client.Picture
	n      int
	gaps   []client.Gap
	recent time.Time // when the newest arrived
}

func (c *chain) add(p client.Picture) {
	c.t.Helper()
	switch {
	case c.n == 0:
	case p.Gap != nil:
		c.gaps = append(c.gaps, *p.Gap)
		if !p.Gap.Restarted && p.Seq != c.last.Seq+1+p.Gap.Missing {
			c.t.Errorf("picture %d after %d with a gap of %d", p.Seq, c.last.Seq, p.Gap.Missing)
		}
	case p.Seq != c.last.Seq+1+p.Skipped:
		c.t.Errorf("picture %d after %d with %d skipped", p.Seq, c.last.Seq, p.Skipped)
	}
	c.last, c.recent = p, time.Now()
	c.n++
}

func TestStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := clienttest.New(t)
		w.Join(&clienttest.Device{Name: "hen-house"})
		c := dial(t, w)
		got := chain{t: t}
		for p, err := range c.Stream(t.Context(), "hen-house", client.StreamOptions{Count: 60}) {
			if err != nil {
				t.Fatal(err)
			}
			got.add(p)
			if !p.Age.Known || p.Age.Age > time.Millisecond {
				t.Fatalf("picture %d is %s old", p.Seq, p.Age)
			}
		}
		if got.n != 60 {
			t.Errorf("%d pictures", got.n)
		}
	})
}

// A viewer that takes his time gets new pictures, fewer of them.
func TestStreamSlowViewer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := clienttest.New(t)
		w.Join(&clienttest.Device{Name: "hen-house"})
		c := dial(t, w)
		got := chain{t: t}
		const pace = 500 * time.Millisecond
		for p, err := range c.Stream(t.Context(), "hen-house", client.StreamOptions{Count: 10}) {
			if err != nil {
				t.Fatal(err)
			}
			if got.add(p); got.n > 3 && p.Skipped == 0 {
				t.Errorf("picture %d: nothing was skipped", p.Seq)
			}
			time.Sleep(pace)
		}
	})
}

// A picture is new when the loop has it, however long the loop takes and if it changes its pace: two periods of the camera and the way
// there, and a laptop's way to ask for it.
func TestStreamIsNewForEveryLoop(t *testing.T) {
	const period, latency = time.Second / 30, 20 * time.Millisecond
	for _, pace := range []time.Duration{0, 10 * time.Millisecond, 34 * time.Millisecond, 200 * time.Millisecond, time.Second, 10 * time.Second} {
		synctest.Test(t, func(t *testing.T) {
			w := clienttest.New(t)
			w.Laptop.Path(simlink.Path{Latency: latency})
			w.Join(&clienttest.Device{Name: "hen-house"})
			c := dial(t, w)
			n, next := uint32(0), uint64(0)
			const count = 40
			for p, err := range c.Stream(t.Context(), "hen-house", client.StreamOptions{Count: count}) {
				if err != nil {
					t.Fatal(err)
				}
				if age := time.Since(p.At); age > 2*period+latency && n > 0 { // the first one waits for its age to be known
					t.Errorf("a loop of %v: picture %d is %v old", pace, n, age)
				}
				if n > 0 && p.Seq != next+p.Skipped {
					t.Errorf("a loop of %v: number %d with %d skipped after %d", pace, p.Seq, p.Skipped, next-1)
				}
				next = p.Seq + 1
				if n++; n > 10 && n < 30 {
					time.Sleep(pace)
				}
			}
			if n != count {
				t.Errorf("a loop of %v: %d pictures", pace, n)
			}
		})
	}
}

// The laptop's own link breaks again and again: the session goes on, and so does the stream, without any gap.
func TestStreamOverCuts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := clienttest.New(t)
		w.Laptop.Path(simlink.Path{Latency: 5 * time.Millisecond, Rate: 4 << 20})
		d := w.Join(&clienttest.Device{Name: "hen-house", JPEG: clienttest.Grey(1280, 960)})
		c := dial(t, w)
		got := chain{t: t}
		for p, err := range c.Stream(t.Context(), "hen-house", client.StreamOptions{Count: 200}) {
			if err != nil {
				t.Fatal(err)
			}
			if string(p.Data) != string(d.JPEG) {
				t.Fatalf("picture %d is not what was sent", p.Seq)
			}
			if got.add(p); got.n%20 == 10 {
				w.Laptop.Cut()
			}
		}
		if got.n != 200 || len(got.gaps) > 0 {
			t.Errorf("%d pictures, gaps %v", got.n, got.gaps)
		}
		streams := 0
		for _, route := range d.Asked() {
			if route == api.RouteStream {
				streams++
			}
		}
		if streams != 1 {
			t.Errorf("the stream was asked for %d times", streams)
		}
	})
}

// The broker is started anew: the stream is asked for again, from the next sequence number on.
func TestStreamOverBrokerRestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := clienttest.New(t)
		asked := make(chan *api.Position, 10)
		w.Join(&clienttest.Device{Name: "hen-house", Stream: func(_ context.Context, _ string, data []byte) iter.Seq2[peer.Payload, error] {
			q, err := api.Parse[api.StreamRequest](data)
			if err != nil {
				t.Error(err)
			}
			asked <- q.From
			return nil // as ever
		}})
		c := dial(t, w)
		got := chain{t: t}
		var from api.Position
		for p, err := range c.Stream(t.Context(), "hen-house", client.StreamOptions{Count: 90}) {
			if err != nil {
				t.Fatal(err)
			}
			if p.Gap != nil {
				from = api.Position{Boot: got.last.Boot, Seq: got.last.Seq + 1}
			}
			if got.add(p); got.n == 30 {
				w.Restart()
			}
		}
		if first, then := <-asked, <-asked; first != nil || then == nil || *then != from {
			t.Errorf("asked from %v, then from %v instead of %v", first, then, from)
		}
		if got.n != 90 {
			t.Errorf("%d pictures", got.n)
		}
		if len(got.gaps) != 1 || got.gaps[0].Restarted || got.gaps[0].Missing == 0 || got.gaps[0].Err == nil {
			t.Errorf("gaps: %+v", got.gaps)
		}
	})
}

// Of a stream at a rate of its own only what was due is missing.
func TestGapAtARate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := clienttest.New(t)
		w.Join(&clienttest.Device{Name: "hen-house"})
		c := dial(t, w)
		var last client.Picture
		stopped := false
		const fps = 5
		for p, err := range c.Stream(t.Context(), "hen-house", client.StreamOptions{FPS: fps, Count: 60}) {
			if err != nil {
				t.Fatal(err)
			}
			if p.Gap != nil {
				if want := uint64(p.At.Sub(last.At).Seconds()*fps+0.5) - 1; p.Gap.Missing != want || want < 1 {
					t.Errorf("%v after the last picture %d are missing, not %d", p.At.Sub(last.At), p.Gap.Missing, want)
				}
				return
			}
			if last = p; !stopped && p.Seq > 30 {
				stopped = true
				w.Stop()
				time.Sleep(2 * time.Second)
				w.Start()
			}
		}
		t.Error("there was no gap")
	})
}

// The device loses its power and comes back: it counts anew, and the viewer is told so.
func TestStreamOverReboot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := clienttest.New(t)
		d := w.Join(&clienttest.Device{Name: "hen-house"})
		c := dial(t, w)
		got := chain{t: t}
		for p, err := range c.Stream(t.Context(), "hen-house", client.StreamOptions{Count: 60}) {
			if err != nil {
				t.Fatal(err)
			}
			if got.add(p); got.n == 30 {
				d.Reboot()
			}
			if p.Boot == "boot-2" && (!p.Age.Known || p.Age.Age > 40*time.Millisecond) {
				t.Errorf("after the reboot picture %d is %s old", p.Seq, p.Age)
			}
		}
		if got.n != 60 || got.last.Boot != "boot-2" {
			t.Errorf("%d pictures, the last of %s", got.n, got.last.Boot)
		}
		if len(got.gaps) != 1 || !got.gaps[0].Restarted {
			t.Errorf("gaps: %+v", got.gaps)
		}
	})
}

// A broker that does not come back ends the stream when patience does.
func TestStreamPatience(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := clienttest.New(t)
		w.Join(&clienttest.Device{Name: "hen-house"})
		c, err := client.Dial(t.Context(), client.Config{Dial: w.Laptop.Dial, Patience: 20 * time.Second})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		got := chain{t: t}
		var failed error
		for p, err := range c.Stream(t.Context(), "hen-house", client.StreamOptions{}) {
			if failed = err; err != nil {
				break
			}
			if got.add(p); got.n == 5 {
				w.Stop()
			}
		}
		if !errors.Is(failed, client.ErrUnreachable) {
			t.Errorf("%v", failed)
		}
		if took := time.Since(got.recent); took < 20*time.Second || took > 25*time.Second {
			t.Errorf("given up after %v", took)
		}
	})
}

// Whoever leaves the loop, or ends the context, is heard of at the device at once.
func TestStreamCancel(t *testing.T) {
	for name, end := range map[string]func(cancel func()) bool{
		"leave":   func(func()) bool { return true },
		"context": func(cancel func()) bool { cancel(); return false },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := clienttest.New(t)
				canceled := make(chan string, 1)
				w.Join(&clienttest.Device{Name: "hen-house", FPS: 1, Canceled: func(route string) { canceled <- route }})
				c := dial(t, w)
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				var failed error
				for _, err := range c.Stream(ctx, "hen-house", client.StreamOptions{}) {
					if failed = err; err != nil || end(cancel) {
						break
					}
				}
				began := time.Now()
				if route := <-canceled; route != api.RouteStream {
					t.Error("the device was told of", route)
				}
				if took := time.Since(began); took > 0 {
					t.Errorf("after %v", took)
				}
				if name == "context" && !errors.Is(failed, context.Canceled) {
					t.Error(failed)
				}
			})
		})
	}
}

// The error that is given with an age is never too small, whatever the two directions take.
func TestAgeOverSlowPaths(t *testing.T) {
	for _, path := range []struct{ laptop, device time.Duration }{
		{0, 0}, {20 * time.Millisecond, 0}, {0, 80 * time.Millisecond}, {150 * time.Millisecond, 10 * time.Millisecond},
	} {
		synctest.Test(t, func(t *testing.T) {
			w := clienttest.New(t)
			w.Laptop.Path(simlink.Path{Latency: path.laptop})
			d := &clienttest.Device{Name: "hen-house"}
			w.Join(d)
			d.Network().Path(simlink.Path{Latency: path.device})
			d.Network().Cut()
			c := dial(t, w)
			for p, err := range c.Stream(t.Context(), "hen-house", client.StreamOptions{Count: 20}) {
				if err != nil {
					t.Fatal(err)
				}
				age := time.Since(p.At)
				if off := (p.Age.Age - age).Abs(); !p.Age.Known || off > p.Age.Error+time.Microsecond || age < path.laptop+path.device {
					t.Errorf("over %v: picture %d is %v old, said to be %s", path, p.Seq, age, p.Age)
				}
			}
		})
	}
}

// What the broker has to know stands in the routing metadata: it never looks into the data.
func TestParams(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := clienttest.New(t)
		d := w.Join(&clienttest.Device{Name: "hen-house"})
		c := dial(t, w)
		for _, err := range c.Stream(t.Context(), "hen-house", client.StreamOptions{Share: true, Wait: time.Second, Count: 1}) {
			if err != nil {
				t.Fatal(err)
			}
		}
		target, err := wire.ParseRequest(d.Metadata(api.RouteStream))
		if err != nil || string(target.Param(wire.ParamWait)) != "1s" || string(target.Param(wire.ParamShare)) != "1" {
			t.Errorf("wait %q, share %q, %v", target.Param(wire.ParamWait), target.Param(wire.ParamShare), err)
		}
		if string(target.Service) != api.Service || string(target.Device) != "hen-house" {
			t.Errorf("for %q of %q", target.Device, target.Service)
		}
	})
}
