package main

import (
	"bytes"
	"strings"
	"sync"
	"testing"

	"github.com/vbauerster/mpb/v8"
)

// lockedBuffer is written by mpb's goroutine.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// The bar says how far it is, lets others speak above it, and ends, complete or not.
func TestProgress(t *testing.T) {
	for _, steps := range []int{3, 1} {
		var out lockedBuffer
		p := newProgress(&ui{}, 3, "pictures", mpb.WithOutput(&out), mpb.WithAutoRefresh())
		p.say("coop: %s", "too late")
		for range steps {
			p.step()
		}
		p.done()
		text := out.String()
		if !strings.Contains(text, "perch: coop: too late\n") || steps == 3 && !strings.Contains(text, "3 of 3 pictures") {
			t.Errorf("%d steps: %q", steps, text)
		}
	}
	var plain lockedBuffer
	u := &ui{stderr: &plain}
	p := u.progress(3, "pictures")
	p.step()
	p.say("coop: too late")
	p.done()
	if plain.String() != "perch: coop: too late\n" {
		t.Errorf("without a terminal: %q", plain.String())
	}
}
