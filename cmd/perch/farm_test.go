package main

import (
	"context"
	"iter"
	"log/slog"
	"time"

	"github.com/perchcam/perch/pkg/api"
	"github.com/perchcam/perch/pkg/client/clienttest"
	"github.com/perchcam/perch/pkg/peer"
)

var noon = time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)

// evil is text that would do harm in a terminal: it clears the screen, begins a line, hides and turns around what follows.
const evil = "ok\x1b[2J\rroot# \n\x00\u202egnp.exe"

// joinFarm joins a device with a door, a thermometer and a lamp.
func (s *stage) joinFarm(args []string) error {
	door := api.Reading{V: 1, Type: api.ReadingState, Boot: "b", Seq: 7, Sensor: "door", Class: "door", On: new(true), Count: new(uint64(3)), At: noon}
	air := api.Reading{
		V: 1, Type: api.ReadingState, Boot: "b", Seq: 8, Sensor: "air", At: noon,
		Values: []api.Value{{Quantity: "temperature", Value: 21.37, Unit: "Cel"}, {Quantity: "humidity", Value: 45.3, Unit: "%RH"}},
	}
	lost := api.Reading{
		V: 1, Type: api.ReadingError, Boot: "b", Seq: 9, Sensor: "pond", At: noon,
		Error: &api.SensorError{Code: "io", Text: evil, Hint: "look after it " + evil}, LastOK: noon.Add(-time.Hour),
	}
	s.add(&clienttest.Device{
		Name: args[0],
		Answer: func(_ context.Context, route string, data []byte) (peer.Payload, bool, error) {
			var v any
			switch route {
			case api.RouteRead:
				v = api.Readings{Readings: api.List[api.Reading]{door, air, lost}}
			case api.RouteSet:
				q, err := api.Parse[api.SetRequest](data)
				if err == nil && q.Output != "lamp" {
					err = peer.Errorf(peer.CodeInvalid, "there is no output %q", q.Output)
				}
				if err != nil {
					return peer.Payload{}, false, err
				}
				v = api.OutputState{Output: "lamp", On: *q.On, At: noon, Until: noon.Add(q.For.D())}
			case api.RouteAlbum:
				q, err := api.Parse[api.AlbumRequest](data)
				if err != nil {
					return peer.Payload{}, false, err
				}
				return albumOf(q)
			case api.RouteHealth:
				v = api.Health{At: noon, Loops: api.List[api.Loop]{{Name: "link", OK: true, State: "online", Last: noon.Add(-3 * time.Second)}, {Name: "camera front", State: "stalled", Error: evil}}}
			case api.RouteMetrics:
				return peer.Payload{Data: []byte("perch_frames_total 7\nperch_" + evil + " 1\n")}, true, nil
			case api.RouteInfo:
				return peer.Payload{}, true, peer.Errorf(peer.CodeApplicationError, "%s", evil)
			default:
				return peer.Payload{}, false, nil
			}
			p, err := clienttest.JSON(v)
			return p, true, err
		},
		Stream: func(ctx context.Context, route string, data []byte) iter.Seq2[peer.Payload, error] {
			switch route {
			case api.RouteWatch:
				open := door
				open.Type, open.Seq, open.On, open.Count = api.ReadingChange, 12, new(false), nil
				gap := api.Reading{V: 1, Type: api.ReadingGap, Missed: 2, From: 10, To: 11, At: noon}
				dropped := api.Reading{V: 1, Type: api.ReadingGap, Sensor: "door", Missed: 3, Reason: api.GapKernel, At: noon}
				anew := api.Reading{V: 1, Type: api.ReadingGap, Boot: "c", Reason: api.GapRestart, At: noon}
				return values(ctx, door, gap, open, dropped, anew)
			case api.RouteLogs:
				q, err := api.Parse[api.LogsRequest](data)
				if err != nil {
					return peer.Fail(err)
				}
				lines := []any{
					api.LogLine{At: noon, Level: slog.LevelInfo, Text: "link", Attrs: map[string]any{"from": "offline", "to": "online"}},
					api.LogLine{At: noon.Add(time.Second), Level: slog.LevelWarn, Text: evil, Attrs: map[string]any{evil: evil}},
				}
				if !q.Follow {
					over, cancel := context.WithCancel(ctx)
					cancel()
					return values(over, lines...)
				}
				return values(ctx, lines...)
			}
			return nil
		},
	})
	return nil
}

// albumOf answers for an album of three pictures, the first of which leaves it before it is fetched.
func albumOf(q api.AlbumRequest) (peer.Payload, bool, error) {
	list := api.Album{Boot: "K3XQ7A42", Gone: map[string]uint64{api.GoneRoom: 4, api.GoneFailed: 1, evil: 2}}
	for n := range uint64(3) {
		h := api.FrameHeader{Camera: "front", Boot: list.Boot, Seq: 100 + n, At: noon.Add(time.Duration(n) * time.Minute), Width: 64, Height: 48, Format: api.FormatJPEG}
		if n == 2 {
			h.Camera = "hall"
		}
		jpeg := clienttest.Grey(64, 48)
		if q.Picture == n+5 && n > 0 && q.Boot == list.Boot {
			md, err := h.Metadata()
			return peer.Payload{Metadata: md, Data: jpeg}, true, err
		}
		if q.Camera == "" || q.Camera == h.Camera {
			list.Pictures = append(list.Pictures, api.AlbumPicture{Picture: n + 5, Sensor: "door", On: n != 1, Edge: h.At, Bytes: len(jpeg), Header: h})
		}
	}
	if q.Picture > 0 {
		return peer.Payload{}, false, peer.Errorf(peer.CodeInvalid, "picture %d is not in the album", q.Picture)
	}
	p, err := clienttest.JSON(list)
	return p, true, err
}

// values is a stream of them that stays open until ctx ends.
func values(ctx context.Context, list ...any) iter.Seq2[peer.Payload, error] {
	return func(yield func(peer.Payload, error) bool) {
		for _, v := range list {
			if !yield(clienttest.JSON(v)) {
				return
			}
		}
		<-ctx.Done()
	}
}
