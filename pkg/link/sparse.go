package link

import (
	"context"
	"log/slog"
	"time"
)

// sparse lets a few lines through at once and then one in five minutes, so that an outage of a night does not fill a card; of the
// same thing over and over only one in five minutes. What it held back is counted in the next line.
type sparse struct {
	left   int
	filled time.Time // when left was last counted up
	held   int
	about  string // the last line
	at     time.Time
}

const (
	sparseBurst = 4
	sparseEvery = 5 * time.Minute
)

func newSparse() sparse { return sparse{left: sparseBurst, filled: time.Now()} }

// log writes a line about something, unless it is one too many.
func (s *sparse) log(log *slog.Logger, level slog.Level, about, msg string, args ...any) {
	if n := int(time.Since(s.filled) / sparseEvery); n > 0 {
		s.left = min(s.left+n, sparseBurst)
		s.filled = s.filled.Add(time.Duration(n) * sparseEvery)
	}
	if s.left == 0 || about == s.about && time.Since(s.at) < sparseEvery {
		s.held++
		log.Debug(msg, args...)
		return
	}
	s.left--
	s.about, s.at = about, time.Now()
	if s.held > 0 {
		args = append(args, "held_back", s.held)
		s.held = 0
	}
	log.Log(context.Background(), level, msg, args...)
}
