package agent

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"time"
)

// loop is something that must go on. alive returns nil while it does, an error if it has not turned for longer than grace beyond
// what it may wait, and not at all where a lock is held for ever.
type loop struct {
	name  string
	alive func(grace time.Duration) error
}

// watch feeds the service manager's watchdog for as long as every loop turns. A broker or camera that is not there never starves
// it: their loops turn by trying. It stops feeding when one does not, and then the service manager ends and restarts the agent.
func watch(ctx context.Context, every time.Duration, loops []loop, feed func(), log *slog.Logger) {
	if every <= 0 {
		<-ctx.Done()
		return
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	stuck := ""
	for {
		var now strings.Builder
		for _, l := range loops {
			if err := l.alive(every); err != nil {
				now.WriteString(fmt.Sprintf("%s: %v; ", l.name, err))
			}
		}
		if now.String() == "" {
			feed()
		} else if stuck == "" {
			log.Error("a loop stands still; the watchdog is not fed", "loops", now.String())
		}
		stuck = now.String()
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}
