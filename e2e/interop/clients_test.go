package interop

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// docs/CLIENTS.md shows the lines that the tests run: a code block below a comment with a file's name is what stands in that
// file between the lines "ten lines" and "end".
func TestClientsAreWhatIsRun(t *testing.T) {
	doc, err := os.ReadFile("../../docs/CLIENTS.md")
	if err != nil {
		t.Fatal(err)
	}
	blocks := excerpts(string(doc))
	if len(blocks) != 4 {
		t.Errorf("docs/CLIENTS.md shows %d clients, not 4", len(blocks))
	}
	for file, shown := range blocks {
		source, err := os.ReadFile(filepath.Join("../..", file))
		if err != nil {
			t.Error(err)
			continue
		}
		run, err := tenLines(string(source))
		if err != nil || run != shown {
			t.Errorf("docs/CLIENTS.md shows other lines than those of %s (%v); they are:\n%s", file, err, run)
		}
	}
}

// excerpts returns the code blocks below comments that name a file.
func excerpts(doc string) map[string]string {
	found := map[string]string{}
	for part := range strings.SplitSeq(doc, "<!-- from ") {
		file, rest, ok := strings.Cut(part, " -->\n```")
		_, rest, begun := strings.Cut(rest, "\n")
		block, _, ended := strings.Cut(rest, "```\n")
		if ok && begun && ended {
			found[file] = block
		}
	}
	return found
}

// tenLines returns the marked lines without their common indentation.
func tenLines(source string) (string, error) {
	_, rest, begun := strings.Cut(source, "// ten lines\n")
	lines, _, ended := strings.Cut(rest, "// end\n")
	if !begun || !ended {
		return "", fmt.Errorf(`there are no lines "// ten lines" and "// end"`)
	}
	indent := lines[strings.LastIndexByte(lines, '\n')+1:] // of the end
	var b strings.Builder
	for line := range strings.Lines(strings.TrimSuffix(lines, indent)) {
		b.WriteString(strings.TrimPrefix(line, indent))
	}
	return b.String(), nil
}

// The comparison notices a changed line, and a file without marks.
func TestExcerpts(t *testing.T) {
	doc := "text\n<!-- from a.go -->\n```go\none()\n\ttwo()\n```\nmore\n```\nnot this\n```\n"
	if got := excerpts(doc); len(got) != 1 || got["a.go"] != "one()\n\ttwo()\n" {
		t.Errorf("the document's blocks are %q", got)
	}
	got, err := tenLines("func f() {\n\t// ten lines\n\tone()\n\t\ttwo()\n\t// end\n}\n")
	if err != nil || got != "one()\n\ttwo()\n" {
		t.Errorf("the lines are %q, %v", got, err)
	}
	if _, err := tenLines("func f() {}\n"); err == nil {
		t.Error("a file without marks has lines")
	}
}
