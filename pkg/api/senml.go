package api

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

// SenML writes states, changes and measured values as a SenML pack (RFC 8428, application/senml+json) whose names begin with base, for
// example "urn:dev:mac:b827ebfffe000001:". It is an export, for programs that know SenML and not Perch: sequence numbers, gaps and errors
// have no place in it and are left out. So is the time where the clock was not set for all of them; it then means "now".
func SenML(base string, readings ...Reading) ([]byte, error) {
	pack := []record{}
	timed := !slices.ContainsFunc(readings, func(r Reading) bool { return !r.Synced })
	var start time.Time
	add := func(of Reading, r record) {
		if len(pack) == 0 {
			start = of.At
			r.BaseName = base
			if timed {
				r.BaseTime = seconds(start.UnixMicro())
			}
		}
		if timed {
			r.Time = seconds(of.At.Sub(start).Microseconds())
		}
		pack = append(pack, r)
	}
	for _, r := range readings {
		switch r.Type {
		case ReadingState, ReadingChange, ReadingValue:
		default:
			continue
		}
		for _, v := range r.Values {
			add(r, record{Name: r.Sensor + "/" + v.Quantity, Unit: v.Unit, Value: &v.Value})
		}
		switch {
		case r.On != nil && r.Class == "counter":
			var n float64
			if r.Count != nil { // none yet
				n = float64(*r.Count)
			}
			add(r, record{Name: r.Sensor, Unit: "count", Value: &n})
		case r.On != nil:
			add(r, record{Name: r.Sensor, Bool: r.On})
		}
	}
	return json.Marshal(pack)
}

func seconds(us int64) float64 { return float64(us) / 1e6 }
