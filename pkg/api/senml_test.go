package api

import (
	"testing"
	"time"
)

func TestSenML(t *testing.T) {
	at := time.Date(2026, 11, 23, 23, 21, 26, 580000000, time.UTC)
	air := Reading{Sensor: "air", Type: ReadingValue, At: at, Synced: true, Values: []Value{{"temperature", 21.37, "Cel"}, {"humidity", 45.3, "%RH"}, {"pressure", 100943, "Pa"}}}
	door := Reading{Sensor: "door", Class: "door", Type: ReadingState, At: at.Add(-1500 * time.Millisecond), Synced: true, On: new(true), Raw: new(0), Count: new(uint64(3))}
	rain := Reading{Sensor: "rain", Class: "counter", Type: ReadingValue, At: at, Synced: true, On: new(true), Count: new(uint64(128))}
	gap := Reading{Type: ReadingGap, Missed: 9}
	unset := door
	unset.Synced = false
	for _, c := range []struct {
		readings []Reading
		want     string
	}{
		{[]Reading{air, {Type: ReadingError, Sensor: "out", Synced: true}, door, rain}, `[{"bn":"urn:dev:mac:b827ebfffe000001:","bt":1795476086.58,"n":"air/temperature","u":"Cel","v":21.37},` +
			`{"n":"air/humidity","u":"%RH","v":45.3},{"n":"air/pressure","u":"Pa","v":100943},{"n":"door","vb":true,"t":-1.5},{"n":"rain","u":"count","v":128}]`},
		{[]Reading{unset, air}, `[{"bn":"urn:dev:mac:b827ebfffe000001:","n":"door","vb":true},` +
			`{"n":"air/temperature","u":"Cel","v":21.37},{"n":"air/humidity","u":"%RH","v":45.3},{"n":"air/pressure","u":"Pa","v":100943}]`},
		{[]Reading{gap}, `[]`},
	} {
		got, err := SenML("urn:dev:mac:b827ebfffe000001:", c.readings...)
		if err != nil || string(got) != c.want {
			t.Errorf("got  %s, %v\nwant %s", got, err, c.want)
		}
	}
}
