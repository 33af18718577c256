package main

import (
	"testing"
	"time"

	"github.com/spf13/pflag"
)

// Values as people type them, and what they are told of others.
func TestFlags(t *testing.T) {
	var d span
	for text, want := range map[string]string{"90s": "1m30s", "60m": "1h", "120s": "2m", "500ms": "500ms", "1h30m": "1h30m", "10h0m5s": "10h0m5s"} {
		if err := d.Set(text); err != nil || d.String() != want {
			t.Errorf("%s is %s, %v", text, d.String(), err)
		}
	}
	var n number
	var q percent
	var size pixels
	for _, tc := range []struct {
		flag  pflag.Value
		wrong []string
	}{
		{&d, []string{"", "5", "-1s", "0s", "soon"}},
		{&n, []string{"", "0", "-1", "1.5", "many", "4294967296"}},
		{&q, []string{"", "0", "101", "best"}},
		{&size, []string{"", "640", "640x", "0x480", "640x-1", "20000x100", "10000x1", "big"}},
	} {
		for _, text := range tc.wrong {
			if err := tc.flag.Set(text); err == nil {
				t.Errorf("%T takes %q", tc.flag, text)
			}
		}
	}
	var x time.Duration
	f := pflag.NewFlagSet("", pflag.ContinueOnError)
	spanFlag(f, &x, "timeout", 10*time.Second, "how long")
	if got := f.FlagUsages(); got != "      --timeout TIME   how long (default 10s)\n" {
		t.Errorf("usage: %q", got)
	}
	if err := f.Parse([]string{"--timeout", "1m"}); err != nil || x != time.Minute {
		t.Errorf("%v, %v", x, err)
	}
}
