package service

import (
	"context"
	"iter"
	"log/slog"

	"github.com/perchcam/perch/pkg/api"
	"github.com/perchcam/perch/pkg/peer"
)

// Inside is what the agent tells of itself: it has no port on which to be asked.
type Inside interface {
	Health() api.Health
	// Metrics is the text that Prometheus reads (its exposition format, version 0.0.4).
	Metrics() []byte
	// Logs returns the lines that follow the first n since the start, as far as they are kept, how many there have been, and a
	// channel that is closed when there is another.
	Logs(n uint64) (lines []api.LogLine, now uint64, more <-chan struct{})
}

// health answers RouteHealth.
func (s *Service) health(_ context.Context, options []byte) (peer.Payload, error) {
	if _, err := api.Parse[api.NoOptions](options); err != nil {
		return peer.Payload{}, invalid(err)
	}
	return answer(s.cfg.Inside.Health())
}

// metrics answers RouteMetrics.
func (s *Service) metrics(_ context.Context, options []byte) (peer.Payload, error) {
	if _, err := api.Parse[api.NoOptions](options); err != nil {
		return peer.Payload{}, invalid(err)
	}
	return peer.Payload{Data: s.cfg.Inside.Metrics()}, nil
}

// logs answers RouteLogs: lines of the past, and with follow those to come. Lines that a slow reader misses are a line of their own.
func (s *Service) logs(ctx context.Context, options []byte) iter.Seq2[peer.Payload, error] {
	q, err := api.Parse[api.LogsRequest](options)
	if err != nil {
		return peer.Fail(invalid(err))
	}
	var level slog.Level // info
	if q.Level != "" {
		if err := level.UnmarshalText([]byte(q.Level)); err != nil {
			return peer.Fail(invalid(err))
		}
	}
	return func(yield func(peer.Payload, error) bool) {
		first := true
		for at := uint64(0); ; first = false {
			lines, now, more := s.cfg.Inside.Logs(at)
			if missed := now - at - uint64(len(lines)); !first && missed > 0 {
				lost := api.LogLine{At: lines[0].At, Level: slog.LevelWarn, Text: "lines are missing here", Attrs: map[string]any{"missed": missed}}
				lines = append([]api.LogLine{lost}, lines...)
			}
			wanted := lines[:0]
			for _, l := range lines {
				if l.Level >= level {
					wanted = append(wanted, l)
				}
			}
			if first {
				wanted = wanted[max(len(wanted)-q.Lines, 0):]
			}
			for _, l := range wanted {
				if !yield(answer(l)) {
					return
				}
			}
			if !q.Follow {
				return
			}
			at = now
			select {
			case <-more:
			case <-ctx.Done():
				return
			}
		}
	}
}
