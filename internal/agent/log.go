package agent

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"syscall"
)

// NewLog writes slog's text to f. Where f is the journal, which has a time of its own, lines carry their priority instead
// (sd-daemon(3)).
func NewLog(f *os.File, level slog.Leveler) slog.Handler {
	if !isJournal(f, os.Getenv("JOURNAL_STREAM")) {
		return slog.NewTextHandler(f, &slog.HandlerOptions{Level: level})
	}
	return newJournal(f, level)
}

// isJournal compares f with what systemd says it connected: a child inherits the variable, but perhaps not the file
// (systemd.exec(5), JOURNAL_STREAM).
func isJournal(f *os.File, stream string) bool {
	info, err := f.Stat()
	if err != nil {
		return false
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	return ok && stream == fmt.Sprintf("%d:%d", st.Dev, st.Ino)
}

// journal writes each level to a text handler that puts its priority before the line.
type journal [4]slog.Handler

var priorities = [...]string{"<7>", "<6>", "<4>", "<3>"} // debug, info, warning, error of syslog(3)

func newJournal(w io.Writer, level slog.Leveler) *journal {
	var j journal
	for i := range j {
		j[i] = slog.NewTextHandler(prefixed{w, priorities[i]}, &slog.HandlerOptions{
			Level: level,
			ReplaceAttr: func(groups []string, a slog.Attr) slog.Attr {
				if len(groups) == 0 && (a.Key == slog.TimeKey || a.Key == slog.LevelKey) {
					return slog.Attr{}
				}
				return a
			},
		})
	}
	return &j
}

func (j *journal) of(level slog.Level) slog.Handler {
	switch {
	case level < slog.LevelInfo:
		return j[0]
	case level < slog.LevelWarn:
		return j[1]
	case level < slog.LevelError:
		return j[2]
	}
	return j[3]
}

func (j *journal) Enabled(ctx context.Context, level slog.Level) bool {
	return j[0].Enabled(ctx, level)
}

func (j *journal) Handle(ctx context.Context, r slog.Record) error {
	return j.of(r.Level).Handle(ctx, r)
}

func (j *journal) WithAttrs(attrs []slog.Attr) slog.Handler {
	return j.each(func(h slog.Handler) slog.Handler { return h.WithAttrs(attrs) })
}

func (j *journal) WithGroup(name string) slog.Handler {
	return j.each(func(h slog.Handler) slog.Handler { return h.WithGroup(name) })
}

func (j *journal) each(f func(slog.Handler) slog.Handler) slog.Handler {
	var k journal
	for i, h := range j {
		k[i] = f(h)
	}
	return &k
}

// prefixed puts a prefix before each write; a text handler writes a whole line at once.
type prefixed struct {
	w      io.Writer
	prefix string
}

func (p prefixed) Write(b []byte) (int, error) {
	n, err := p.w.Write(append([]byte(p.prefix), b...))
	return max(n-len(p.prefix), 0), err
}
