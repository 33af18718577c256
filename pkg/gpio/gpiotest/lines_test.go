package gpiotest

import (
	"testing"
	"testing/synctest"
)

// rig joins the fake with its outside.
type rig struct{ *Lines }

func (r rig) Drive(line string, high bool) { r.Line(line).Drive(high) }
func (r rig) High(line string) bool        { return r.Line(line).High() }

func (r rig) Unplug(string) {
	for _, name := range []string{"A", "B"} {
		r.Line(name).Unplug()
	}
}

func (r rig) Plug(string) {
	for _, name := range []string{"A", "B"} {
		r.Line(name).Fail(nil)
	}
}

func TestFakeKeepsTheContract(t *testing.T) {
	for i, check := range Contract(rig{NewLines()}, "A", "B") {
		t.Run(check.Name, func(t *testing.T) {
			synctest.Test(t, Contract(rig{NewLines()}, "A", "B")[i].Run) // channels stay in the bubble they were made in
		})
	}
}
