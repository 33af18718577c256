package edits

import "testing"

func TestBetween(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want int
	}{{"", "", 0}, {"pi", "", 2}, {"", "pi", 2}, {"camera", "camera", 0}, {"CAMREAS", "CAMERAS", 2}, {"kitten", "sitting", 3}} {
		if got := Between(c.a, c.b); got != c.want {
			t.Errorf("%q and %q are %d apart, want %d", c.a, c.b, got, c.want)
		}
	}
}
