package agent

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the README's table, the conffile and the manual page's list anew from Config")

// texts are where the variables are described to people. Each is written from Config, between two lines.
var texts = []struct {
	file, from, to string
	write          func([]Var) string
}{
	{"../../README.md", "<!-- variables: written by the test of internal/agent, run with -update -->\n", "<!-- end of variables -->", table},
	{"../../packaging/agent/default", "# Settings of perch-agent; see perch-agent(8). After a change: systemctl restart perch-agent\n", "", conffile},
	{"../../packaging/agent/perch-agent.8", "All wrong values are reported at once.\n", ".SH EXIT STATUS", manual},
}

// TestVariablesAreDescribedAlike holds README, conffile and manual page against Config.
func TestVariablesAreDescribedAlike(t *testing.T) {
	for _, x := range texts {
		b, err := os.ReadFile(x.file)
		if err != nil {
			t.Fatal(err)
		}
		head, rest, ok := strings.Cut(string(b), x.from)
		old, tail := rest, ""
		if x.to != "" && ok {
			var found bool
			old, tail, found = strings.Cut(rest, x.to)
			ok, tail = found, x.to+tail
		}
		if !ok {
			t.Fatalf("%s has no place for the variables", x.file)
		}
		want := x.write(Vars())
		if old == want {
			continue
		}
		if !*update {
			t.Errorf("%s does not say what Config says; write it anew with: go test ./internal/agent -run TestVariables -update", x.file)
			continue
		}
		if err := os.WriteFile(x.file, []byte(head+x.from+want+tail), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// plain is text for places that are read in any locale.
func plain(s string) string { return strings.ReplaceAll(s, "…", "...") }

func table(vars []Var) string {
	var b strings.Builder
	b.WriteString("\n| variable | what it says | unit | default | example |\n|---|---|---|---|---|\n")
	cell := func(s string) string { return strings.ReplaceAll(s, "|", "\\|") }
	code := func(s string) string {
		if s == "" {
			return ""
		}
		return "`" + cell(s) + "`"
	}
	for _, v := range vars {
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s | %s |\n", v.Name, cell(v.Desc), cell(v.Unit), cell(v.Default), code(v.Example))
	}
	b.WriteString("\n")
	return b.String()
}

func conffile(vars []Var) string {
	var b strings.Builder
	for _, v := range vars {
		b.WriteString("\n")
		for _, line := range wrap(sentences(v), 98) {
			b.WriteString("# " + line + "\n")
		}
		value := v.Example
		if strings.ContainsAny(value, "; ") {
			value = `"` + value + `"` // a shell that reads this file would stop at it
		}
		fmt.Fprintf(&b, "#%s=%s\n", v.Name, value)
	}
	return b.String()
}

func manual(vars []Var) string {
	var b strings.Builder
	escape := strings.NewReplacer(`\`, `\e`, "-", `\-`)
	for _, v := range vars {
		fmt.Fprintf(&b, ".TP\n.B %s\n", v.Name)
		for _, line := range wrap(sentences(v), 98) {
			if strings.HasPrefix(line, ".") || strings.HasPrefix(line, "'") {
				line = `\&` + line
			}
			b.WriteString(escape.Replace(line) + "\n")
		}
		fmt.Fprintf(&b, ".br\nExample: %s=%s\n", v.Name, escape.Replace(plain(v.Example)))
	}
	return b.String()
}

// sentences say all of v in words.
func sentences(v Var) string {
	s := v.Desc
	if v.Unit != "" {
		s += " Unit: " + v.Unit + "."
	}
	if v.Default != "" {
		s += " Default: " + v.Default + "."
	}
	return plain(s)
}

func wrap(s string, width int) (lines []string) {
	line := ""
	for word := range strings.FieldsSeq(s) {
		if line != "" && len(line)+1+len(word) > width {
			lines, line = append(lines, line), ""
		}
		if line != "" {
			line += " "
		}
		line += word
	}
	return append(lines, line)
}
