package agent

import (
	"context"
	"log/slog"
	"slices"
	"sync"

	"github.com/perchcam/perch/pkg/api"
)

// logbook is a slog.Handler that keeps the last lines in memory, for agent.logs.
type logbook struct {
	level slog.Leveler
	group string
	attrs []slog.Attr // with their groups in their keys
	*pages
}

// pages are what a logbook and what With made of it have in common.
type pages struct {
	mu   sync.Mutex // guards the following
	kept []api.LogLine
	n    uint64 // lines ever
	more chan struct{}
}

const (
	keptLines = 256
	keptText  = 512 // bytes of a text or a value that are kept
)

// newLogbook returns an empty logbook of lines of this level and above.
func newLogbook(level slog.Leveler) *logbook {
	return &logbook{level: level, pages: &pages{more: make(chan struct{})}}
}

// Enabled implements slog.Handler.
func (b *logbook) Enabled(_ context.Context, level slog.Level) bool { return level >= b.level.Level() }

// Handle implements slog.Handler.
func (b *logbook) Handle(_ context.Context, r slog.Record) error {
	l := api.LogLine{At: r.Time.UTC(), Level: r.Level, Text: short(r.Message)}
	if n := len(b.attrs) + r.NumAttrs(); n > 0 {
		l.Attrs = make(map[string]any, n)
	}
	for _, a := range b.attrs {
		put(l.Attrs, "", a)
	}
	r.Attrs(func(a slog.Attr) bool {
		put(l.Attrs, b.group, a)
		return true
	})
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.kept) < keptLines {
		b.kept = append(b.kept, l)
	} else {
		b.kept[b.n%keptLines] = l
	}
	b.n++
	close(b.more)
	b.more = make(chan struct{})
	return nil
}

// put keeps numbers and truth as they are, and everything else as text: what is kept must not change any more.
func put(attrs map[string]any, group string, a slog.Attr) {
	v := a.Value.Resolve()
	switch v.Kind() {
	case slog.KindGroup:
		if a.Key != "" {
			group += a.Key + "."
		}
		for _, a := range v.Group() {
			put(attrs, group, a)
		}
	case slog.KindBool, slog.KindInt64, slog.KindUint64:
		attrs[group+a.Key] = v.Any()
	default:
		attrs[group+a.Key] = short(v.String())
	}
}

func short(s string) string {
	if len(s) > keptText {
		return api.Text(s[:keptText]) + "…"
	}
	return api.Text(s)
}

// WithAttrs implements slog.Handler.
func (b *logbook) WithAttrs(attrs []slog.Attr) slog.Handler {
	e := *b
	e.attrs = slices.Clone(b.attrs)
	for _, a := range attrs {
		e.attrs = append(e.attrs, slog.Attr{Key: b.group + a.Key, Value: a.Value})
	}
	return &e
}

// WithGroup implements slog.Handler.
func (b *logbook) WithGroup(name string) slog.Handler {
	e := *b
	e.group += name + "."
	return &e
}

// logs returns the lines that follow the first n ever, as far as they are kept; see service.Inside.
func (b *logbook) logs(n uint64) (lines []api.LogLine, now uint64, more <-chan struct{}) {
	b.mu.Lock()
	defer b.mu.Unlock()
	n = min(max(n, b.n-uint64(len(b.kept))), b.n)
	for ; n < b.n; n++ {
		lines = append(lines, b.kept[n%keptLines])
	}
	return lines, b.n, b.more
}
