package api

import (
	"fmt"
	"strings"
	"testing"
)

func TestAdvertChecks(t *testing.T) {
	good := version1()["advert.json"].(Advert)
	for want, spoil := range map[string]func(*Advert){
		"no valid name":                 func(a *Advert) { a.Device = "" },
		`camera "front" is there twice`: func(a *Advert) { a.Cameras = []CameraRef{{"front", ""}, {"front", ""}} },
		`sensor "air" is there twice`:   func(a *Advert) { a.Sensors = []SensorRef{{Name: "air"}, {Name: "air"}} },
		`output "ir" is there twice`:    func(a *Advert) { a.Outputs = []OutputRef{{"ir"}, {"ir"}} },
		`"uptime_s" is -1`:              func(a *Advert) { a.UptimeS = -1 },
		`camera "A"`:                    func(a *Advert) { a.Cameras = []CameraRef{{"A", ""}} },
		`"version" holds characters`:    func(a *Advert) { a.Version = "1\x1b[2J" },
		`"class" holds characters`:      func(a *Advert) { a.Sensors = []SensorRef{{Name: "air", Class: "\u202e"}} },
		`"route" has 129 bytes`:         func(a *Advert) { a.Routes = []string{strings.Repeat("a", 129)} },
		"16384 are allowed":             func(a *Advert) { a.Cameras = manyCameras(1000) },
	} {
		a := good
		spoil(&a)
		if _, err := a.Encode(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
	// Unlike things may share a name.
	good.Outputs = []OutputRef{{"front"}}
	if _, err := good.Encode(); err != nil {
		t.Error(err)
	}
	if _, err := ParseAdvert(make([]byte, MaxAdvert+1)); err == nil || err.Error() != "the advert has 16385 bytes, 16384 are allowed" {
		t.Error(err)
	}
	if _, err := ParseAdvert([]byte(`{"device":7}`)); err == nil || err.Error() != `the advert cannot be read: "device" is a string, not a number` {
		t.Error(err)
	}
}

// TestAdvertIsShort: a device with everything a Raspberry Pi has room for stays within what is aimed at.
func TestAdvertIsShort(t *testing.T) {
	a := version1()["advert.json"].(Advert)
	a.Cameras = manyCameras(8)
	for i := range 16 {
		a.Sensors = append(a.Sensors, SensorRef{fmt.Sprintf("sensor-%d", i), "temperature", "Cel"})
	}
	if b, err := a.Encode(); err != nil || len(b) > 2<<10 {
		t.Errorf("%d bytes, %v", len(b), err)
	}
}

func manyCameras(n int) (cameras []CameraRef) {
	for i := range n {
		cameras = append(cameras, CameraRef{fmt.Sprintf("camera-%d", i), "v4l2"})
	}
	return cameras
}

// TestEmptyLists are [] in JSON, so that other languages can ask for their length.
func TestEmptyLists(t *testing.T) {
	b, err := Advert{Device: "pi"}.Encode()
	if want := `{"device":"pi","id":"","boot":"","rev":0,"version":"","cameras":[],"routes":[]}`; err != nil || string(b) != want {
		t.Errorf("%s, %v", b, err)
	}
}
