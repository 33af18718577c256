// Package docs_test types what docs/QUICKSTART.md says, and compares.
package docs_test

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

// step is one command and what it shows.
type step struct {
	line    int
	command string
	want    []string
}

// steps reads the console blocks of a document.
func steps(t *testing.T, text string) (all []step) {
	t.Helper()
	inside := false
	for i, line := range strings.Split(text, "\n") {
		command, isCommand := strings.CutPrefix(line, "$ ")
		switch {
		case line == "```console":
			inside = true
		case line == "```":
			inside = false
		case inside && isCommand:
			all = append(all, step{line: i + 1, command: command})
		case inside && len(all) == 0:
			t.Fatalf("line %d: output before the first command", i+1)
		case inside:
			all[len(all)-1].want = append(all[len(all)-1].want, line)
		}
	}
	return all
}

// matches compares what a command has shown with what the document says. … is any text in a line, or any lines.
func matches(want []string, got string) bool {
	var pattern strings.Builder
	for _, line := range want {
		if line == "…" {
			pattern.WriteString(`(.*\n)*?`)
			continue
		}
		line = regexp.QuoteMeta(line)
		line = strings.ReplaceAll(line, "…", ".*")
		line = regexp.MustCompile(` {2,}`).ReplaceAllString(line, ` +`) // columns are as wide as what is in them
		pattern.WriteString(line + `\n`)
	}
	return regexp.MustCompile(`^` + pattern.String() + `$`).MatchString(got)
}

func TestMatches(t *testing.T) {
	for _, tc := range []struct {
		want string
		got  string
		ok   bool
	}{
		{"a … c", "a b c\n", true},
		{"a … c", "a b d\n", false},
		{"a.c", "abc\n", false},
		{"a\n…\nd", "a\nb\nc\nd\n", true},
		{"a\n…\nd", "a\nb\nc\n", false},
		{"a", "a\nb\n", false},
		{"a   b", "a b\n", true},
	} {
		if got := matches(strings.Split(tc.want, "\n"), tc.got); got != tc.ok {
			t.Errorf("%q, %q: %v", tc.want, tc.got, got)
		}
	}
}

func TestQuickstart(t *testing.T) {
	text, err := os.ReadFile("QUICKSTART.md")
	if err != nil {
		t.Fatal(err)
	}
	bin, home := t.TempDir(), t.TempDir()
	for name, pkg := range map[string]string{"perch": "perch", "perch-agent": "agent", "perch-broker": "broker"} {
		if out, err := exec.Command("go", "build", "-o", filepath.Join(bin, name), "../cmd/"+pkg).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	port := freePort(t)
	all := steps(t, strings.ReplaceAll(string(text), "7878", port))
	if len(all) < 15 {
		t.Fatalf("the document has only %d commands", len(all))
	}

	const mark = "--- step %d "
	var script strings.Builder
	for i, s := range all {
		command := s.command
		if name, background := strings.CutSuffix(command, " &"); background {
			command = name + " & until grep -qsE 'listening|to=online' " + name[strings.LastIndex(name, ">")+1:] + "; do sleep 0.02; done" // a person is slower than that
		}
		fmt.Fprintf(&script, "{ %s; } 2>&1; echo \"[exit $?]\"; echo '"+mark+"'\n", command, i)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "bash", "-c", script.String())
	cmd.Dir = t.TempDir()
	cmd.Env = []string{"PATH=" + bin + ":" + os.Getenv("PATH"), "HOME=" + home, "LC_ALL=C.UTF-8"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.WaitDelay = time.Second
	ended := cmd.Run()
	shown := strings.ReplaceAll(out.String(), "7878", port)
	for i, s := range all {
		got, rest, ok := strings.Cut(shown, fmt.Sprintf(mark+"\n", i))
		if !ok {
			t.Fatalf("line %d: %s did not end (%v):\n%s", s.line, s.command, ended, shown)
		}
		shown = rest
		want := s.want
		if n := len(want); n == 0 || !strings.HasPrefix(want[n-1], "[exit ") {
			want = append(want, "[exit 0]")
		}
		if !matches(want, got) {
			t.Errorf("line %d: %s\nshows:\n%s\ninstead of:\n%s", s.line, s.command, got, strings.Join(want, "\n"))
		}
	}
}

func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return port
}
