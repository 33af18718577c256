package gpio

import (
	"testing"
	"time"
)

func TestSenML(t *testing.T) {
	at := time.Date(2026, 11, 23, 23, 21, 26, 580000000, time.UTC)
	on, raw := true, 0
	air := Item{Sensor: "air", Type: TypeReading, At: at, Synced: true, Values: []Value{{"temperature", 21.37, "Cel"}, {"humidity", 45.3, "%RH"}, {"pressure", 100943, "Pa"}}}
	door := Item{Sensor: "door", Class: "door", Type: TypeState, At: at.Add(-1500 * time.Millisecond), Synced: true, On: &on, Raw: &raw, Count: 3}
	rain := Item{Sensor: "rain", Class: "counter", Type: TypeReading, At: at, Synced: true, On: &on, Count: 128}
	gap := Item{Type: TypeGap, Missed: 9}
	unset := door
	unset.Synced = false
	for _, c := range []struct {
		items []Item
		want  string
	}{
		{[]Item{air, {Type: TypeError, Sensor: "out", Synced: true}, door, rain}, `[{"bn":"urn:dev:mac:b827ebfffe000001:","bt":1795476086.58,"n":"air/temperature","u":"Cel","v":21.37},` +
			`{"n":"air/humidity","u":"%RH","v":45.3},{"n":"air/pressure","u":"Pa","v":100943},{"n":"door","vb":true,"t":-1.5},{"n":"rain","u":"count","v":128}]`},
		{[]Item{unset, air}, `[{"bn":"urn:dev:mac:b827ebfffe000001:","n":"door","vb":true},` +
			`{"n":"air/temperature","u":"Cel","v":21.37},{"n":"air/humidity","u":"%RH","v":45.3},{"n":"air/pressure","u":"Pa","v":100943}]`},
		{[]Item{gap}, `[]`},
	} {
		got, err := SenML("urn:dev:mac:b827ebfffe000001:", c.items...)
		if err != nil || string(got) != c.want {
			t.Errorf("got  %s, %v\nwant %s", got, err, c.want)
		}
	}
}
