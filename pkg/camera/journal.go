package camera

import (
	"log/slog"
	"time"
)

// journalEvery is the least time between two lines on the same trouble, so
// that a camera that comes and goes all day writes a dozen lines an hour.
const journalEvery = 10 * time.Minute

// journal logs a camera's changes of state: trouble and its end, each once.
// Starting and stopping on demand is for debugging only.
type journal struct {
	log    *slog.Logger
	said   Phase               // the trouble that the log stands at; "" if none
	last   map[Phase]time.Time // when each was logged
	silent int                 // changes not logged since
}

func (j *journal) turn(from, to State) {
	switch {
	case to.Err != nil:
		if j.said == to.Phase {
			return
		}
		if t, ok := j.last[to.Phase]; ok && to.Since.Sub(t) < journalEvery {
			j.silent++
			return
		}
		if j.last == nil {
			j.last = make(map[Phase]time.Time)
		}
		j.last[to.Phase] = to.Since
		j.log.Warn("camera state", "from", from.Phase, "to", to.Phase, "err", to.Err, "unlogged", j.silent)
		j.said, j.silent = to.Phase, 0
	case to.Phase == Streaming && j.said != "":
		j.log.Info("camera state", "from", j.said, "to", to.Phase, "format", to.Mode.Format.String(),
			"width", to.Mode.Width, "height", to.Mode.Height, "fps", to.Mode.FPS)
		j.said = ""
	default:
		j.log.Debug("camera state", "from", from.Phase, "to", to.Phase)
	}
}
