package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// report is what a group has found.
type report struct {
	When   time.Time
	Blocks int
	Rows   []row
	Tables []table
	Notes  []string
}

// row is one of the goals.
type row struct{ What, Goal, Measured, Met string }

// table is what lies behind.
type table struct {
	Title string
	Head  []string
	Lines [][]string
}

func (l *lab) report() *report {
	return &report{When: time.Now().UTC().Truncate(time.Minute), Blocks: l.blocks}
}

// goal adds a row: the measured value and whether all of what it says holds.
func (r *report) goal(what, goal, measured string, met ...bool) {
	verdict := "met"
	if slices.Contains(met, false) {
		verdict = "missed"
	}
	if len(met) == 0 {
		verdict = "for the record"
	}
	r.Rows = append(r.Rows, row{what, goal, measured, verdict})
}

func (r *report) note(format string, args ...any) {
	r.Notes = append(r.Notes, fmt.Sprintf(format, args...))
}

func (r *report) save(file string) error {
	b, err := json.MarshalIndent(r, "", " ")
	if err != nil {
		return err
	}
	return os.WriteFile(file, append(b, '\n'), 0o644)
}

func (r *report) print(w io.Writer) {
	printRows(w, r.Rows)
	for _, t := range r.Tables {
		t.print(w)
	}
	for _, n := range r.Notes {
		fmt.Fprintf(w, "- %s\n", n)
	}
}

func printRows(w io.Writer, rows []row) {
	t := table{Head: []string{"what", "goal", "measured", ""}}
	for _, r := range rows {
		t.Lines = append(t.Lines, []string{r.What, r.Goal, r.Measured, r.Met})
	}
	t.print(w)
}

// print writes t as Markdown.
func (t table) print(w io.Writer) {
	if t.Title != "" {
		fmt.Fprintf(w, "\n%s\n", t.Title)
	}
	fmt.Fprintln(w)
	fmt.Fprintf(w, "| %s |\n|%s\n", strings.Join(t.Head, " | "), strings.Repeat("---|", len(t.Head)))
	for _, line := range t.Lines {
		fmt.Fprintf(w, "| %s |\n", strings.Join(line, " | "))
	}
	fmt.Fprintln(w)
}

// printTable prints all that was saved in dir.
func printTable(w io.Writer, dir string) error {
	var all []*report
	var rows []row
	for _, g := range groups() {
		b, err := os.ReadFile(filepath.Join(dir, g.name+".json"))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		r := &report{}
		if err == nil {
			err = json.Unmarshal(b, r)
		}
		if err != nil {
			return err
		}
		all = append(all, r)
		rows = append(rows, r.Rows...)
	}
	if len(all) == 0 {
		return fmt.Errorf("nothing has been measured in %s", dir)
	}
	printRows(w, rows)
	for _, r := range all {
		for _, t := range r.Tables {
			t.print(w)
		}
		for _, n := range r.Notes {
			fmt.Fprintf(w, "- %s\n", n)
		}
	}
	return nil
}

// spread is a median with its quartiles.
type spread struct{ Q1, Median, Q3 float64 }

func spreadOf(v []float64) spread {
	v = slices.Clone(v)
	slices.Sort(v)
	at := func(q float64) float64 {
		if len(v) == 0 {
			return math.NaN()
		}
		x := q * float64(len(v)-1)
		i := int(x)
		if i+1 >= len(v) {
			return v[i]
		}
		return v[i] + (x-float64(i))*(v[i+1]-v[i])
	}
	return spread{at(.25), at(.5), at(.75)}
}

func (s spread) String() string {
	return fmt.Sprintf("%s [%s, %s]", short(s.Median), short(s.Q1), short(s.Q3))
}

// short writes three digits.
func short(v float64) string {
	switch a := math.Abs(v); {
	case math.IsNaN(v):
		return "none"
	case a >= 100:
		return fmt.Sprintf("%.0f", v)
	case a >= 10:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.2f", v)
}

// values picks one number out of each sample.
func values(s []sample, pick func(sample) float64) (v []float64) {
	for _, x := range s {
		v = append(v, pick(x))
	}
	return v
}

// ratios divides a's numbers by b's of the same block.
func ratios(a, b []sample, pick func(sample) float64) spread {
	var v []float64
	for i := range min(len(a), len(b)) {
		v = append(v, pick(a[i])/pick(b[i]))
	}
	return spreadOf(v)
}

func p50(s sample) float64      { return s.P50 }
func rate(s sample) float64     { return s.Rate }
func perGB(s sample) float64    { return s.CPU }
func at99(all []sample) float64 { return quantile(pooled(all), .99) }

// pooled is what all requests of all blocks took.
func pooled(all []sample) (v []float64) {
	for _, s := range all {
		v = append(v, s.Took...)
	}
	slices.Sort(v)
	return v
}

func quantile(v []float64, q float64) float64 {
	if len(v) == 0 {
		return math.NaN()
	}
	return v[int(q*float64(len(v)-1)+0.5)]
}

// compare is a table of all systems: ratios to the relay and to NATS, then absolute numbers.
func compare(title string, names []string, got map[string][]sample) table {
	t := table{Title: title, Head: []string{"", "p50 ÷ relay", "p50 ÷ NATS", "MB/s ÷ relay", "MB/s ÷ NATS", "CPU/GB ÷ relay", "CPU/GB ÷ NATS", "p50 µs", "p99 µs", "MB/s", "CPU s/GB"}}
	for _, n := range names {
		s := got[n]
		line := []string{n}
		for _, pick := range []func(sample) float64{p50, rate, perGB} {
			for _, other := range []string{sysRelay, sysNATS} {
				if got[other] == nil {
					line = append(line, "")
					continue
				}
				line = append(line, ratios(s, got[other], pick).String())
			}
		}
		line = append(line, short(spreadOf(values(s, p50)).Median), short(at99(s)), short(spreadOf(values(s, rate)).Median), short(spreadOf(values(s, perGB)).Median))
		t.Lines = append(t.Lines, line)
	}
	return t
}
