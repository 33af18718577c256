package gpio

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// TriggerWatch waits for what triggers wait for. It reads the board's own ring, so it works while nobody is connected. One goroutine
// uses it.
type TriggerWatch struct {
	specs []TriggerSpec
	fired []int64 // the stamp of the change that made each fire last, 0 = none did
	w     *Watcher
	due   []Firing
}

// Firing is a trigger that fired, and the change that made it.
type Firing struct {
	Trigger TriggerSpec
	Item    Item
}

// CheckTriggers says which triggers wait for what none of the sensors tells, joined.
func CheckTriggers(triggers []TriggerSpec, sensors []SensorSpec) error {
	var errs []error
	for i, t := range triggers {
		j := slices.IndexFunc(sensors, func(s SensorSpec) bool { return s.Name == t.Sensor })
		switch {
		case j < 0:
			errs = append(errs, fmt.Errorf("trigger %d: no sensor is named %s: %w", i+1, quote(t.Sensor), ErrUnknown))
		case !sensors[j].IsInput() || sensors[j].Count:
			errs = append(errs, fmt.Errorf("trigger %d: the sensor %s has no edges", i+1, quote(t.Sensor)))
		}
	}
	return errors.Join(errs...)
}

// Triggers returns a watch of triggers from now on. All mistakes in them are reported, joined.
func (b *Board) Triggers(specs []TriggerSpec) (*TriggerWatch, error) {
	sensors := make([]SensorSpec, len(b.sensors))
	for i, s := range b.sensors {
		sensors[i] = s.spec
	}
	if err := CheckTriggers(specs, sensors); err != nil {
		return nil, err
	}
	var names []string
	for _, t := range specs {
		names = append(names, t.Sensor)
	}
	t := &TriggerWatch{specs: specs, fired: make([]int64, len(specs))}
	if len(specs) == 0 {
		return t, nil
	}
	w, err := b.Watch(WatchOptions{Sensors: names})
	t.w = w
	return t, err
}

// Next waits for the next firing. Its errors are those of Watcher.Next. Without triggers it waits for ctx.
func (t *TriggerWatch) Next(ctx context.Context) (Firing, error) {
	if t.w == nil {
		<-ctx.Done()
		return Firing{}, ctx.Err()
	}
	for len(t.due) == 0 {
		item, err := t.w.Next(ctx)
		if err != nil {
			return Firing{}, err
		}
		t.match(item)
	}
	f := t.due[0]
	t.due = t.due[1:]
	return f, nil
}

func (t *TriggerWatch) match(item Item) {
	if item.Type != TypeChange || item.On == nil {
		return
	}
	for i, spec := range t.specs {
		if spec.Sensor != item.Sensor || spec.Edge == Rise && !*item.On || spec.Edge == Fall && *item.On {
			continue
		}
		if t.fired[i] == 0 || time.Duration(item.Mono-t.fired[i]) >= spec.Pause {
			t.fired[i] = item.Mono
			t.due = append(t.due, Firing{spec, item})
		}
	}
}
