package gpio

import (
	"context"
	"log/slog"
	"time"
)

// Retries of a device that is missing: the first soon, then up to half a minute apart. There is no need to be gentle to a file or an
// ioctl; the limit is for the battery and the log.
const (
	firstRetry = time.Second
	lastRetry  = 30 * time.Second
)

// backoff is the wait before the next try.
type backoff struct{ next time.Duration }

func (b *backoff) wait() time.Duration {
	d := max(b.next, firstRetry)
	b.next = min(2*d, lastRetry)
	return d
}

func (b *backoff) reset() { b.next = 0 }

// sleep waits, or returns early when ctx ends.
func sleep(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}

// quietTime is how long a device that comes and goes is not logged again. Watchers are told every time.
const quietTime = 10 * time.Minute

// diary logs when a device stops and starts to work.
type diary struct {
	log   *slog.Logger
	what  string // "sensor", "output"
	name  string
	told  string // the error that was logged last, "" = it works
	until time.Time
}

func (d *diary) failed(err error) {
	if now := time.Now(); d.told == "" && now.After(d.until) {
		f := fault(err)
		d.log.Warn(d.what+" cannot be used", "name", d.name, "code", f.Code, "error", f.Text, "hint", f.Hint)
		d.told, d.until = f.Text, now.Add(quietTime)
	}
}

func (d *diary) works() {
	if d.told != "" {
		d.log.Info(d.what+" works again", "name", d.name)
		d.told = ""
	}
}
