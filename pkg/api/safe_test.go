package api

import (
	"regexp"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

func TestText(t *testing.T) {
	for s, want := range map[string]string{
		"":                            "",
		"Küche 2 (日本) ✓":              "Küche 2 (日本) ✓",
		`C:\pi "x"`:                   `C:\pi "x"`,
		"\x1b[2J\x1b]0;title\x07":     `\x1b[2J\x1b]0;title\a`,
		"a\r\nb\tc\x00d\x7f":          `a\r\nb\tc\x00d\x7f`,
		"safe\u202etxt.exe":           `safe\u202etxt.exe`,
		"zero\u200bwidth\u2066\u2069": `zero\u200bwidth\u2066\u2069`,
		"c1\u009b31m":                 `c1\u009b31m`,
		"bad\xff\xfeutf8":             `bad\xff\xfeutf8`,
		"no\u00a0break\u2028line":     `no\u00a0break\u2028line`,
		"\U000e0041":                  `\U000e0041`,
		"\ufffd":                      `�`,
	} {
		if got := Text(s); got != want {
			t.Errorf("%q is %s, want %s", s, got, want)
		}
	}
}

func TestFileName(t *testing.T) {
	for s, want := range map[string]string{
		"front-000123.jpg":             "front-000123.jpg",
		"":                             "_",
		".":                            "_",
		"..":                           "__",
		"../../etc/passwd":             "_._.._etc_passwd",
		".bashrc":                      "_bashrc",
		"-rf":                          "_rf",
		"a b\x00c\n":                   "a_b_c_",
		"küche":                        "k_che",
		"C:\\x":                        "C__x",
		"con.jpg":                      "_on.jpg",
		"Com7":                         "_om7",
		"console":                      "console",
		"a.":                           "a_",
		strings.Repeat("a", 99) + "..": strings.Repeat("a", 99) + "_",
	} {
		if got := FileName(s); got != want {
			t.Errorf("%q is %q, want %q", s, got, want)
		}
	}
}

func FuzzSafe(f *testing.F) {
	for _, s := range []string{"", "front", "\x1b[2J", "\u202e", "\xff", "..", "nul.tar.gz", "lpt1", "a.."} {
		f.Add(s)
	}
	name := regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9._-]{0,99}$`)
	f.Fuzz(func(t *testing.T, s string) {
		text := Text(s)
		if !utf8.ValidString(text) || Text(text) != text {
			t.Errorf("%q is %q", s, text)
		}
		for _, c := range text {
			if unicode.IsControl(c) || unicode.Is(unicode.Bidi_Control, c) {
				t.Errorf("%q is %q", s, text)
			}
		}
		if got := FileName(s); !name.MatchString(got) || strings.HasSuffix(got, ".") || reserved(got) || FileName(got) != got {
			t.Errorf("%q is the file name %q", s, got)
		}
	})
}
