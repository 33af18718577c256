package api

import (
	"strconv"
	"strings"
	"unicode/utf8"
)

// Text makes text of a peer safe for a terminal or a log line: what is not printable becomes a Go escape, so that no escape
// sequence, line end, NUL, bidirectional override or invisible character has an effect. Printable text comes back as it is.
func Text(s string) string {
	safe := true
	for _, c := range s {
		if c == utf8.RuneError || !strconv.IsPrint(c) {
			safe = false
			break
		}
	}
	if safe {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); {
		c, n := utf8.DecodeRuneInString(s[i:])
		if c != utf8.RuneError && strconv.IsPrint(c) {
			b.WriteRune(c)
		} else {
			quoted := strconv.Quote(s[i : i+n])
			b.WriteString(quoted[1 : len(quoted)-1])
		}
		i += n
	}
	return b.String()
}

const maxFileName = 100

// FileName makes a file name of any text: `[A-Za-z0-9._-]`, at most 100 bytes, never hidden, never empty, no name of a device
// on Windows. Different texts may become the same name.
func FileName(s string) string {
	name := strings.Map(func(c rune) rune {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '.', c == '_', c == '-':
			return c
		}
		return '_'
	}, s)
	name = name[:min(len(name), maxFileName)]
	if name == "" {
		return "_"
	}
	if name[0] == '.' || name[0] == '-' || reserved(name) { // a hyphen would be an option to the next program
		name = "_" + name[1:]
	}
	if strings.HasSuffix(name, ".") { // Windows drops it
		name = name[:len(name)-1] + "_"
	}
	return name
}

// reserved reports whether Windows takes the name for a device, whatever its extension.
func reserved(name string) bool {
	stem, _, _ := strings.Cut(strings.ToUpper(name), ".")
	switch stem {
	case "CON", "PRN", "AUX", "NUL":
		return true
	}
	return len(stem) == 4 && (strings.HasPrefix(stem, "COM") || strings.HasPrefix(stem, "LPT")) && stem[3] >= '0' && stem[3] <= '9'
}
