//go:build interop

package interop

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
)

// Row is one line of the table of what was run.
type Row struct {
	Peer string // with its version
	Role string // what it was
	What string // was shown
}

// table is what this run has shown.
var table Table

// Table collects rows as their tests end. Its zero value is empty.
type Table struct {
	mu   sync.Mutex // guards the following
	rows []result
}

type result struct {
	Row
	text string
}

// Ran enters row when t, with all its subtests, has ended.
func (b *Table) Ran(t *testing.T, row Row) {
	t.Cleanup(func() {
		switch {
		case t.Failed():
			b.enter(row, "**failed**")
		case !t.Skipped():
			b.enter(row, "passed")
		}
	})
}

// NotRun enters row with the reason, and skips t.
func (b *Table) NotRun(t *testing.T, row Row, reason string) {
	t.Helper()
	b.enter(row, "*not run*: "+reason)
	t.Skipf("%s, %s: %s", row.Peer, row.Role, reason)
}

func (b *Table) enter(row Row, text string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.rows = append(b.rows, result{row, text})
}

// String is the table in Markdown, sorted, so that a run that shows the same writes the same.
func (b *Table) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	rows := slices.Clone(b.rows)
	slices.SortStableFunc(rows, func(x, y result) int {
		return strings.Compare(x.Peer+"\x00"+x.Role+"\x00"+x.What, y.Peer+"\x00"+y.Role+"\x00"+y.What)
	})
	var s strings.Builder
	s.WriteString("| peer | as | shown | result |\n|---|---|---|---|\n")
	for _, r := range rows {
		fmt.Fprintf(&s, "| %s | %s | %s | %s |\n", cell(r.Peer), cell(r.Role), cell(r.What), cell(r.text))
	}
	return s.String()
}

func cell(s string) string { return strings.NewReplacer("|", `\|`, "\n", " ").Replace(s) }

// Where the table stands in a document.
const (
	tableBegin = "<!-- the table of `make interop` begins -->\n"
	tableEnd   = "<!-- the table of `make interop` ends -->\n"
)

// Write puts the table into the document at path.
func (b *Table) Write(path string) error {
	doc, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	before, rest, begun := strings.Cut(string(doc), tableBegin)
	_, after, ended := strings.Cut(rest, tableEnd)
	if !begun || !ended {
		return fmt.Errorf("%s has no place for the table: it is between the lines %q and %q", path, tableBegin, tableEnd)
	}
	return os.WriteFile(path, []byte(before+tableBegin+b.String()+tableEnd+after), 0o644)
}
