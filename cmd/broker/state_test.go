package main

import (
	"testing"

	"github.com/perchcam/perch/pkg/broker/access"
)

// Without --listen the broker is where init was told that it is.
func TestListensWhereItIsFound(t *testing.T) {
	for home, want := range map[string]string{
		"tls://broker.test:7878": "tls://:7878", "tls://[2001:db8::1]:9000": "tls://:9000", "wss://broker.test:443": "wss://:443", "": "tls://:7878",
	} {
		dir := t.TempDir()
		if home != "" {
			if err := access.Init(dir, access.Home{URL: home}, nil); err != nil {
				t.Fatal(err)
			}
		}
		if got := everywhere(dir); got != want {
			t.Errorf("%q: %s, want %s", home, got, want)
		}
	}
}
