package link

import (
	"strings"
	"testing"
)

func TestParseURL(t *testing.T) {
	good := []struct {
		in, out  string
		hostPort string
		secure   bool
		loopback bool
	}{
		{"tcp://broker.example:7878", "tcp://broker.example:7878", "broker.example:7878", false, false},
		{" tls://broker.example ", "tls://broker.example:7878", "broker.example:7878", true, false},
		{"tcp://127.0.0.1:1", "tcp://127.0.0.1:1", "127.0.0.1:1", false, true},
		{"tcp://[::1]", "tcp://[::1]:7878", "[::1]:7878", false, true},
		{"tcp://[fe80::1%25wlan0]:9/", "tcp://[fe80::1%wlan0]:9", "[fe80::1%wlan0]:9", false, false},
		{"tcp://localhost", "tcp://localhost:7878", "localhost:7878", false, true},
		{"ws://broker.local/rsocket", "ws://broker.local:80/rsocket", "broker.local:80", false, false},
		{"wss://broker.example", "wss://broker.example:443", "broker.example:443", true, false},
		{"TLS://Broker.Example:443", "tls://Broker.Example:443", "Broker.Example:443", true, false},
	}
	for _, c := range good {
		u, err := ParseURL(c.in)
		if err != nil {
			t.Errorf("ParseURL(%q): %v", c.in, err)
			continue
		}
		if u.String() != c.out || u.HostPort() != c.hostPort || u.Secure() != c.secure || u.Loopback() != c.loopback {
			t.Errorf("ParseURL(%q) = %v, dials %s, secure %v, loopback %v", c.in, u, u.HostPort(), u.Secure(), u.Loopback())
		}
	}
	bad := []struct{ in, says string }{
		{"", "write it as tls://HOST:7878"},
		{"broker.example:7878", "write it as tls://HOST:7878"},
		{"http://broker.example", `"http" is not one of tcp, tls, ws, wss`},
		{"tcp://", "the host is missing"},
		{"tcp://:7878", "the host is missing"},
		{"tcp://host:0", `port "0" is not 1 to 65535`},
		{"tcp://host:65536", `port "65536" is not 1 to 65535`},
		{"tcp://host:x", "write it as"},
		{"tcp://host:1/path", "tcp:// has no path"},
		{"tls://me:secret@host:1", "a user or password does not belong into it"},
		{"tls://me:sec ret@host:1", "…@host:1"},
		{"wss://host/?token=1", "it has no ? and no # part"},
		{"wss://host/#x", "it has no ? and no # part"},
	}
	for _, c := range bad {
		_, err := ParseURL(c.in)
		if err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("ParseURL(%q) says %v, want %q in it", c.in, err, c.says)
		}
		if err != nil && strings.Contains(err.Error(), "sec") {
			t.Errorf("ParseURL(%q) tells the password: %v", c.in, err)
		}
	}
}

func TestParseURLs(t *testing.T) {
	urls, err := ParseURLs("tls://a, tcp://b:1,")
	if err != nil || len(urls) != 2 || urls[0].Host != "a" || urls[1].Host != "b" {
		t.Errorf("got %v, %v", urls, err)
	}
	if _, err := ParseURLs("x://a,tls://ok,tcp://"); err == nil || strings.Count(err.Error(), "\n") != 1 {
		t.Errorf("two of three are wrong, and it says: %v", err)
	}
	if _, err := ParseURLs(" , "); err == nil || !strings.Contains(err.Error(), "empty") {
		t.Errorf("an empty list: %v", err)
	}
}
