package main

import (
	"bytes"
	"encoding/base64"
	"image/png"
	"regexp"
	"runtime"
	"strings"
	"testing"

	"github.com/charmbracelet/x/ansi/sixel"

	"github.com/perchcam/perch/pkg/client/clienttest"
)

// What a terminal is given decodes to the picture, scaled to what fits.
func TestShow(t *testing.T) {
	data := clienttest.Grey(1920, 1080)
	for _, p := range []protocol{showKitty, showITerm2, showSixel} {
		var b bytes.Buffer
		if err := show(&b, p, data); err != nil {
			t.Fatal(err)
		}
		text := strings.TrimSuffix(b.String(), "\n")
		if p == showSixel {
			body := strings.TrimSuffix(text[strings.Index(text, "q")+1:], "\x1b\\")
			img, err := (&sixel.Decoder{}).Decode(strings.NewReader(body))
			if err != nil || img.Bounds().Dx() != fitShown || img.Bounds().Dy() != 540 {
				t.Errorf("sixel: %v, %v", img.Bounds(), err)
			}
			continue
		}
		pattern := `\x1b_G[^;]*;([^\x1b]*)\x1b\\`
		if p == showITerm2 {
			pattern = `^\x1b\]1337;File=[^:]*:([^\x07]*)\x07$`
		}
		var encoded strings.Builder
		for _, m := range regexp.MustCompile(pattern).FindAllStringSubmatch(text, -1) {
			encoded.WriteString(m[1])
		}
		body, err := base64.StdEncoding.DecodeString(encoded.String())
		if err != nil {
			t.Fatalf("%s: %v", p, err)
		}
		img, err := png.Decode(bytes.NewReader(body))
		if err != nil || img.Bounds().Dx() != fitShown || img.Bounds().Dy() != 540 {
			t.Errorf("%s: %v", p, err)
		}
	}
}

// A few bytes that claim to be a huge picture, and what is no picture, are refused before anything is decoded or shown.
func TestShowRefuses(t *testing.T) {
	bomb := clienttest.Grey(64, 48)
	sof := bytes.Index(bomb, []byte{0xFF, 0xC0})
	copy(bomb[sof+5:], []byte{0xFF, 0xFF, 0xFF, 0xFF}) // 65535 x 65535
	small := bytes.Clone(bomb)
	copy(small[sof+5:], []byte{0x1F, 0x40, 0x1F, 0x40}) // 8000 x 8000, which would be allowed
	for name, data := range map[string][]byte{
		"bomb": bomb, "small bomb": small, "escape": []byte("\x1b[2J"), "nothing": nil, "cut": clienttest.Grey(64, 48)[:200],
	} {
		var b bytes.Buffer
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		if err := show(&b, showKitty, data); err == nil || b.Len() > 0 {
			t.Errorf("%s: %v, %d bytes shown", name, err, b.Len())
		}
		runtime.ReadMemStats(&after)
		if took := after.TotalAlloc - before.TotalAlloc; took > 1<<20 {
			t.Errorf("%s: %d bytes of memory were taken", name, took)
		}
	}
}

func TestChooseProtocol(t *testing.T) {
	for _, tc := range []struct {
		asked protocol
		env   string // of name=value
		tty   bool
		want  protocol
	}{
		{"", "TERM=xterm-kitty", true, showKitty},
		{"", "TERM=xterm-kitty", false, noPictures},
		{"", "TERM=xterm-256color TERM_PROGRAM=iTerm.app", true, showITerm2},
		{"", "TERM=xterm-256color TERM_PROGRAM=WezTerm", true, showITerm2},
		{"", "TERM=foot", true, showSixel},
		{"", "TERM=xterm-256color", true, noPictures},
		{"", "TERM=tmux-256color TERM_PROGRAM=iTerm.app", true, noPictures},
		{"", "TERM=xterm-kitty TMUX=/tmp/x", true, noPictures},
		{showSixel, "TERM=xterm-256color", false, showSixel},
	} {
		env := map[string]string{}
		for pair := range strings.FieldsSeq(tc.env) {
			name, value, _ := strings.Cut(pair, "=")
			env[name] = value
		}
		if got := tc.asked.choose(func(name string) string { return env[name] }, tc.tty); got != tc.want {
			t.Errorf("%q in %s: %q", tc.asked, tc.env, got)
		}
	}
}
