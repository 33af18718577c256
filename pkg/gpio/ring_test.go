package gpio

import (
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// quietBoard is a board that does not run: changes are published by hand.
func quietBoard(n int) *Board {
	var specs []SensorSpec
	for i := range n {
		specs = append(specs, SensorSpec{Name: fmt.Sprintf("s%d", i), Kind: "gpio", Address: fmt.Sprintf("GPIO%d", i)})
	}
	b, err := New(Config{Sensors: specs, Lines: noLines{}, Boot: "boot", Synced: func() bool { return true }})
	if err != nil {
		panic(err)
	}
	for _, s := range b.sensors {
		s.known = true
	}
	return b
}

type noLines struct{ Opener }

// follower is a watcher with what a careful client makes of its items.
type follower struct {
	*Watcher
	names []string
	pos   uint64            // the highest number that is accounted for
	count map[string]uint64 // by the last item of each sensor
}

// Whatever is published, however late each watcher takes it, for whatever sensors it watches and wherever it comes back: its items are in
// order, every change of its sensors is an item or in a gap of exactly that size, and at the end it knows every sensor as it is.
func TestWatchersAgainstAModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const sensors = 4
		b := quietBoard(sensors)
		var history []int // the sensor of each change; number seq is history[seq-1]
		var list []*follower

		// own tells how many changes from number first to last are of a follower's sensors.
		own := func(f *follower, first, last uint64) (n uint64) {
			for seq := first; seq <= last; seq++ {
				if slices.Contains(f.names, b.sensors[history[seq-1]].spec.Name) {
					n++
				}
			}
			return n
		}
		take := func(f *follower, most int) {
			for range most {
				item, ok, _ := f.take()
				if !ok {
					if n := own(f, f.pos+1, b.ring.head); n != 0 {
						t.Fatalf("nothing to take, and %d changes after %d are not accounted for", n, f.pos)
					}
					return
				}
				switch item.Type {
				case TypeGap:
					if item.From > f.pos+1 && own(f, f.pos+1, item.From-1) > 0 || item.To < item.From || item.To > b.ring.head {
						t.Fatalf("%+v at %d", item, f.pos)
					}
					if n := own(f, f.pos+1, item.To); item.Missed != n && (item.Missed != 0 || len(f.names) == sensors) {
						t.Fatalf("%+v at %d, want %d missed", item, f.pos, n)
					}
					f.pos = item.To
				case TypeState:
					if item.Seq > f.pos {
						t.Fatalf("state %d at %d", item.Seq, f.pos)
					}
					f.count[item.Sensor] = item.Count
				case TypeChange:
					if item.Seq <= f.pos || own(f, f.pos+1, item.Seq) != 1 || !slices.Contains(f.names, item.Sensor) {
						t.Fatalf("%+v at %d", item, f.pos)
					}
					f.pos = item.Seq
					f.count[item.Sensor] = item.Count
				}
			}
		}
		watch := func(after *Position) {
			var names []string
			for _, s := range b.sensors {
				if rapid.Bool().Draw(t, s.spec.Name) {
					names = append(names, s.spec.Name)
				}
			}
			w, err := b.Watch(WatchOptions{Sensors: names, After: after})
			if err != nil {
				t.Fatal(err)
			}
			if names == nil {
				names = []string{"s0", "s1", "s2", "s3"}
			}
			f := &follower{w, names, b.ring.head, map[string]uint64{}}
			if after != nil {
				f.pos = after.Seq
				for seq := range after.Seq { // what it knew
					f.count[b.sensors[history[seq]].spec.Name]++
				}
			}
			list = append(list, f)
		}
		t.Repeat(map[string]func(*rapid.T){
			"publish": func(t *rapid.T) {
				only := rapid.IntRange(0, sensors-1).Draw(t, "sensor")
				for i := range rapid.IntRange(1, 700).Draw(t, "n") {
					s := b.sensors[(only*only+i/(1+only*300))%sensors]
					b.mu.Lock()
					s.count++
					b.publish(s, TypeChange, nil)
					b.mu.Unlock()
					history = append(history, s.index)
				}
			},
			"watch": func(*rapid.T) { watch(nil) },
			"resume": func(t *rapid.T) {
				watch(&Position{"boot", rapid.Uint64Range(0, b.ring.head).Draw(t, "after")})
			},
			"take": func(t *rapid.T) {
				if len(list) > 0 {
					take(rapid.SampledFrom(list).Draw(t, "watcher"), rapid.IntRange(1, 900).Draw(t, "n"))
				}
			},
		})
		for _, f := range list {
			take(f, 1<<20)
			for _, s := range b.sensors {
				if slices.Contains(f.names, s.spec.Name) && f.count[s.spec.Name] != s.count {
					t.Fatalf("%s has changed %d times, and a watcher believes %d", s.spec.Name, s.count, f.count[s.spec.Name])
				}
			}
		}
	})
}

// What is not configured costs nothing, and the ring is only as long as it has been needed.
func TestAnEmptyBoardHoldsNothing(t *testing.T) {
	b := quietBoard(0)
	if b.ring.entries != nil || b.sensors != nil || b.changed != nil {
		t.Errorf("%+v", b)
	}
	b = quietBoard(1)
	for range 3 {
		b.publish(b.sensors[0], TypeChange, nil)
	}
	if c := cap(b.ring.entries); c > 8 {
		t.Errorf("room for %d entries after 3", c)
	}
	for range 5000 {
		b.publish(b.sensors[0], TypeChange, nil)
	}
	if len(b.ring.entries) != ringSize || b.ring.oldest() != 5003-ringSize+1 || b.ring.at(5003).seq != 5003 {
		t.Errorf("%d entries from %d to %d", len(b.ring.entries), b.ring.oldest(), b.ring.head)
	}
}

func BenchmarkPublish(bench *testing.B) {
	b := quietBoard(1)
	bench.ReportAllocs()
	for bench.Loop() {
		b.mu.Lock()
		b.publish(b.sensors[0], TypeChange, nil)
		b.mu.Unlock()
	}
}
