package gpio

import (
	"encoding/json"
	"slices"
	"time"
)

// record is one SenML record (RFC 8428).
type record struct {
	BaseName string   `json:"bn,omitempty"`
	BaseTime float64  `json:"bt,omitempty"`
	Name     string   `json:"n"`
	Unit     string   `json:"u,omitempty"`
	Value    *float64 `json:"v,omitempty"`
	Bool     *bool    `json:"vb,omitempty"`
	Time     float64  `json:"t,omitempty"`
}

// SenML renders states, changes and readings as a SenML pack (RFC 8428) whose names begin with base, for example
// "urn:dev:mac:b827ebfffe000001:". It is an export: sequence numbers, gaps and errors have no place in it and are left out. So is the
// time when the clock was not set for all of them; it then means "now".
func SenML(base string, items ...Item) ([]byte, error) {
	pack := []record{}
	timed := !slices.ContainsFunc(items, func(it Item) bool { return !it.Synced })
	var start time.Time
	add := func(it Item, r record) {
		if len(pack) == 0 {
			start = it.At
			r.BaseName = base
			if timed {
				r.BaseTime = seconds(start.UnixMicro())
			}
		}
		if timed {
			r.Time = seconds(it.At.Sub(start).Microseconds())
		}
		pack = append(pack, r)
	}
	for _, it := range items {
		switch it.Type {
		case TypeState, TypeChange, TypeReading:
		default:
			continue
		}
		for _, v := range it.Values {
			add(it, record{Name: it.Sensor + "/" + v.Quantity, Unit: v.Unit, Value: &v.Value})
		}
		switch {
		case it.On != nil && it.Class == "counter":
			n := float64(it.Count)
			add(it, record{Name: it.Sensor, Unit: "count", Value: &n})
		case it.On != nil:
			add(it, record{Name: it.Sensor, Bool: it.On})
		}
	}
	return json.Marshal(pack)
}

func seconds(us int64) float64 { return float64(us) / 1e6 }
