package gpio

import (
	"context"
	"fmt"
	"math"
	"time"
)

// patience is how many reads in a row may fail before a sensor that has worked is called failing. A DHT22 answers one read in ten with
// EIO, by its nature and not by a defect.
const patience = 3

// readLimit is how long a read may take. The slowest known is a hundred DS18B20 on one wire, 0.75 s each.
const readLimit = 30 * time.Second

// meter is the loop of one measured sensor, which owns everything in it.
type meter struct {
	b      *Board
	s      *sensor
	diary  diary
	dev    Sensor // nil = not open
	failed int    // reads in a row
	told   []Value
}

func newMeter(b *Board, s *sensor) *meter {
	return &meter{b: b, s: s, diary: diary{log: b.log, what: "sensor", name: s.spec.Name}}
}

func (m *meter) run(ctx context.Context) {
	defer m.close()
	var retry backoff
	for ctx.Err() == nil {
		m.announce(readLimit)
		began := time.Now()
		values, err := m.read(ctx)
		if ctx.Err() != nil {
			return
		}
		wait := m.s.spec.Every - time.Since(began)
		if err == nil {
			m.failed = 0
			retry.reset()
			m.diary.works()
			m.b.reading(m.s, values, !m.moved(values))
		} else {
			m.close()
			m.failed++
			if m.told == nil || m.failed >= patience {
				m.told = nil
				m.b.fail(m.s, err)
				m.diary.failed(err)
			}
			wait = max(retry.wait(), min(wait, firstRetry))
		}
		wait = max(wait, 0)
		m.announce(wait)
		sleep(ctx, wait)
	}
}

func (m *meter) announce(d time.Duration) { m.s.due.Store(int64(m.b.now() + d)) }

func (m *meter) close() {
	if m.dev != nil {
		m.dev.Close()
		m.dev = nil
	}
}

// read opens the device if need be and measures.
func (m *meter) read(ctx context.Context) ([]Value, error) {
	ctx, cancel := context.WithTimeout(ctx, readLimit)
	defer cancel()
	if m.dev == nil {
		dev, err := m.b.devices.OpenSensor(m.s.spec)
		if err != nil {
			return nil, err
		}
		m.dev = dev
	}
	values, err := m.dev.Read(ctx)
	if err != nil {
		return nil, err
	}
	return m.s.spec.finish(values)
}

// finish rounds to the digits asked for and refuses what is no number, which JSON cannot carry and nobody could use.
func (s *SensorSpec) finish(values []Value) ([]Value, error) {
	if len(values) == 0 {
		return nil, fmt.Errorf("%s has no values", s.Address)
	}
	scale := math.Pow10(s.Digits)
	list := make([]Value, len(values))
	for i, v := range values {
		if math.IsNaN(v.Value) || math.IsInf(v.Value, 0) {
			return nil, fmt.Errorf("%s of %s is %v", v.Quantity, s.Address, v.Value)
		}
		if r := math.Round(v.Value*scale) / scale; !math.IsInf(r, 0) && !math.IsNaN(r) {
			v.Value = r + 0 // -0 becomes 0
		}
		list[i] = v
	}
	if s.Unit != "" && len(list) == 1 {
		list[0].Unit = s.Unit
	}
	return list, nil
}

// moved says whether watchers are to be told: anything new without delta, else a step of that size since they were told last.
func (m *meter) moved(values []Value) bool {
	tell := m.s.spec.Delta == 0 || len(m.told) != len(values)
	for i := range values {
		tell = tell || math.Abs(values[i].Value-m.told[i].Value) >= m.s.spec.Delta
	}
	if tell {
		m.told = values
	}
	return tell
}
