package session

import (
	"log/slog"
	"time"
)

// Options are what client and server have in common. Zero values mean the defaults.
type Options struct {
	MTU      int          // longest frame we cut, in bytes, 64 … 65536; 16384
	MaxFrame int          // longest frame we take, in bytes; 16777215, which is all a length can say
	Retain   int          // sent bytes kept for a RESUME per session, at most; 16 MiB
	NotSent  int          // written bytes that the kernel may hoard unsent on a TCP link; 16 KiB
	Batch    int          // bytes given to a link at once, about; 32 KiB. What waits behind them waits so long
	Log      *slog.Logger // nil discards
}

func (o Options) withDefaults() Options {
	o.MTU = min(max(orElse(o.MTU, 16<<10), 64), 64<<10)
	o.MaxFrame = min(orElse(o.MaxFrame, maxFrame), maxFrame)
	o.Retain = orElse(o.Retain, 16<<20)
	o.NotSent = orElse(o.NotSent, 16<<10)
	o.Batch = max(orElse(o.Batch, 32<<10), o.MTU)
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return o
}

func orElse[T int | int64 | time.Duration](v, otherwise T) T {
	if v <= 0 {
		return otherwise
	}
	return v
}
