package link

import (
	"crypto/tls"
	"errors"
	"testing"
)

func TestPin(t *testing.T) {
	srv := webSockets(t, true, echo)
	right := PinOf(srv.Certificate())
	var read Pin
	if err := read.UnmarshalText([]byte(right)); err != nil || read != right {
		t.Fatalf("%s is read as %s, %v", right, read, err)
	}
	wrong := "sha256:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
	for pin, want := range map[Pin]error{right: nil, Pin(wrong): ErrPin} {
		cfg := &tls.Config{MinVersion: tls.VersionTLS12}
		pin.Apply(cfg)
		nc, err := (&Dialer{TLS: cfg}).Dial(t.Context(), address(t, TLS, srv.URL, ""))
		if !errors.Is(err, want) {
			t.Errorf("pin %s: %v, want %v", pin, err, want)
		}
		if err == nil {
			nc.Close()
		}
	}
	for _, text := range []string{"", "sha256:", "sha1:AAAA", wrong + "A", wrong[:len(wrong)-1] + "=", "AAAA"} {
		if err := read.UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%q is taken for a pin", text)
		}
	}
}
