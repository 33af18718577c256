package api

import "fmt"

// Advert is what a device says of itself in SETUP, and again whenever it changes, with a higher Rev. It is kept short (2 KiB is
// plenty): sizes and controls are in CameraList.
type Advert struct {
	Device  string          `json:"device"`
	ID      string          `json:"id"`   // stable: see DeviceID
	Boot    string          `json:"boot"` // changes whenever sequence numbers start anew
	Rev     uint64          `json:"rev"`
	Version string          `json:"version"`
	UptimeS int64           `json:"uptime_s,omitempty"` // of the agent in seconds, when its session began
	Cameras List[CameraRef] `json:"cameras"`
	Sensors []SensorRef     `json:"sensors,omitempty"`
	Outputs []OutputRef     `json:"outputs,omitempty"`
	Routes  List[string]    `json:"routes"`
}

const maxUptime = 100 * 365 * 24 * 3600 // seconds

// CameraRef names a camera.
type CameraRef struct {
	Name string `json:"name"`
	Kind string `json:"kind"` // v4l2, rpicam, replay, pattern
}

// SensorRef names a sensor.
type SensorRef struct {
	Name  string `json:"name"`
	Class string `json:"class,omitempty"` // door, motion, temperature, …
	Unit  string `json:"unit,omitempty"`  // as SenML names it (RFC 8428, RFC 8798): Cel, %RH, Pa
}

// OutputRef names an output.
type OutputRef struct {
	Name string `json:"name"`
}

// ParseAdvert reads an advert of any origin and checks it.
func ParseAdvert(data []byte) (Advert, error) {
	return unmarshal[Advert](data, MaxAdvert, "advert")
}

// Encode writes the advert, or says what is wrong with it.
func (a Advert) Encode() ([]byte, error) { return marshal(a, MaxAdvert, "advert") }

// Check implements Checker.
func (a Advert) Check() error {
	if err := CheckName("device", a.Device); err != nil {
		return err
	}
	if a.UptimeS < 0 || a.UptimeS > maxUptime {
		return fmt.Errorf(`"uptime_s" is %d: it must be 0 to %d`, a.UptimeS, int64(maxUptime))
	}
	texts := [][2]string{{"id", a.ID}, {"boot", a.Boot}, {"version", a.Version}}
	var names uniqueNames
	for _, c := range a.Cameras {
		if err := names.add("camera", c.Name); err != nil {
			return err
		}
		texts = append(texts, [2]string{"kind", c.Kind})
	}
	for _, s := range a.Sensors {
		if err := names.add("sensor", s.Name); err != nil {
			return err
		}
		texts = append(texts, [2]string{"class", s.Class}, [2]string{"unit", s.Unit})
	}
	for _, o := range a.Outputs {
		if err := names.add("output", o.Name); err != nil {
			return err
		}
	}
	for _, route := range a.Routes {
		texts = append(texts, [2]string{"route", route})
	}
	for _, text := range texts {
		if err := checkText(text[0], text[1]); err != nil {
			return err
		}
	}
	return nil
}

// uniqueNames refuses a name that one kind of thing has twice.
type uniqueNames map[string]bool

func (u *uniqueNames) add(what, name string) error {
	if err := CheckName(what, name); err != nil {
		return err
	}
	if *u == nil {
		*u = uniqueNames{}
	}
	key := what + " " + name
	if (*u)[key] {
		return fmt.Errorf("%s %q is there twice", what, name)
	}
	(*u)[key] = true
	return nil
}
