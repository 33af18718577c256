// Package service answers the requests of laptops: it is where routes meet cameras and sensors, and knows nothing
// of links or brokers.
//
// A Service is a peer.Handler. A request names its route in its metadata (wire.ParseRequest) and its options in its data
// (api.Parse); the route table says which function answers it. One file per route:
//
//	snapshot.go   camera.snapshot     one picture, newer than the request
//	stream.go     camera.stream       pictures at the requester's pace
//	control.go    camera.control      its controls: changes in, what is in force out
//	list.go       camera.list         what the cameras can do and do
//	info.go       agent.info          who answers
//	clock.go      agent.clock         what the device's clocks say
//	sensors.go    sensors.read        how the sensors are
//	              sensors.watch       that, and then what changes
//	set.go        gpio.list           how the outputs are
//	              gpio.set            one of them, on or off
//	album.go      camera.album        what triggers took (trigger.go)
//	inside.go     agent.health        how the agent's loops do
//	              agent.metrics       its counters
//	              agent.logs          its last lines, and those to come
//
// What it promises: a picture is chosen only when it may leave, so nothing old is sent; a request that makes no sense is answered
// with INVALID and a sentence, one that came to a camera in trouble with REJECTED, which says that trying again is safe.
package service

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"maps"
	"slices"
	"strings"

	"github.com/perchcam/perch/pkg/api"
	"github.com/perchcam/perch/pkg/camera"
	"github.com/perchcam/perch/pkg/gpio"
	"github.com/perchcam/perch/pkg/peer"
	"github.com/perchcam/perch/pkg/wire"
)

// Config is what a Service serves.
type Config struct {
	Cameras func() []*camera.Hub // those there are now; the first is what a request without a name means
	Board   *gpio.Board          // nil where there are neither sensors nor outputs
	Inside  Inside
	Info    func() api.Info // all but the clocks
	Boot    string          // of this run: sequence numbers begin anew with it
	Synced  func() bool     // whether the wall clock follows a time source
	Keep    int             // bytes that one keep=all stream may queue

	Triggers []gpio.TriggerSpec // on edges of Board's inputs; RunTriggers runs them
	Album    int                // bytes of pictures they may keep together
	Log      *slog.Logger       // nil discards
}

// Service answers requests.
type Service struct {
	cfg       Config
	responses map[string]response
	streams   map[string]stream
	album     album
}

type (
	response func(ctx context.Context, options []byte) (peer.Payload, error)
	stream   func(ctx context.Context, options []byte) iter.Seq2[peer.Payload, error]
)

var _ peer.Handler = (*Service)(nil)

// New returns a Service. It starts nothing.
func New(cfg Config) (*Service, error) {
	if cfg.Cameras == nil || cfg.Inside == nil || cfg.Info == nil || cfg.Synced == nil || cfg.Boot == "" || cfg.Keep <= 0 {
		return nil, errors.New("service: Cameras, Inside, Info, Synced, Boot and Keep are needed")
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	s := &Service{cfg: cfg, album: album{limit: cfg.Album, gone: map[string]uint64{}}}
	s.responses = map[string]response{
		api.RouteSnapshot: s.snapshot,
		api.RouteCameras:  s.list,
		api.RouteInfo:     s.info,
		api.RouteClock:    s.clock,
		api.RouteControl:  s.controlOnce, // for who has one change, and no channels
		api.RouteHealth:   s.health,
		api.RouteMetrics:  s.metrics,
	}
	s.streams = map[string]stream{
		api.RouteStream: s.stream,
		api.RouteLogs:   s.logs,
	}
	if b := cfg.Board; b != nil && len(b.Sensors()) > 0 {
		s.responses[api.RouteRead], s.streams[api.RouteWatch] = s.read, s.watch
	}
	if b := cfg.Board; b != nil && len(b.Outputs()) > 0 {
		s.responses[api.RouteOutputs], s.responses[api.RouteSet] = s.outputs, s.set
	}
	if len(cfg.Triggers) > 0 {
		if cfg.Board == nil || cfg.Album <= 0 {
			return nil, errors.New("service: Triggers need a Board and an Album")
		}
		if _, err := cfg.Board.Triggers(cfg.Triggers); err != nil {
			return nil, err
		}
		s.responses[api.RouteAlbum] = s.fetch
	}
	return s, nil
}

// Routes returns the routes that are answered, sorted.
func (s *Service) Routes() []string {
	return slices.Sorted(func(yield func(string) bool) {
		for r := range maps.Keys(s.responses) {
			if !yield(r) {
				return
			}
		}
		for r := range maps.Keys(s.streams) {
			if !yield(r) {
				return
			}
		}
	})
}

// RequestResponse implements peer.Handler.
func (s *Service) RequestResponse(ctx context.Context, req peer.Payload) (peer.Payload, error) {
	route, err := routeOf(req)
	if err != nil {
		return peer.Payload{}, err
	}
	answer, ok := s.responses[route]
	if !ok {
		return peer.Payload{}, s.wrong(route, "a response")
	}
	return answer(ctx, req.Data)
}

// RequestStream implements peer.Handler.
func (s *Service) RequestStream(ctx context.Context, req peer.Payload) iter.Seq2[peer.Payload, error] {
	route, err := routeOf(req)
	if err != nil {
		return peer.Fail(err)
	}
	answer, ok := s.streams[route]
	if !ok {
		return peer.Fail(s.wrong(route, "a stream"))
	}
	return answer(ctx, req.Data)
}

// RequestChannel implements peer.Handler.
func (s *Service) RequestChannel(ctx context.Context, first peer.Payload, in iter.Seq2[peer.Payload, error]) iter.Seq2[peer.Payload, error] {
	route, err := routeOf(first)
	if err != nil {
		return peer.Fail(err)
	}
	if route == api.RouteControl {
		return s.control(ctx, first.Data, in)
	}
	return peer.Fail(s.wrong(route, "a channel"))
}

// FireAndForget implements peer.Handler. Only outputs are set without an answer; what is wrong with the request, nobody hears.
func (s *Service) FireAndForget(ctx context.Context, req peer.Payload) {
	if route, err := routeOf(req); err == nil && route == api.RouteSet && s.responses[route] != nil {
		_, _ = s.set(ctx, req.Data)
	}
}

// MetadataPush implements peer.Handler. Brokers push what is of interest to their own kind; nothing needs an answer.
func (s *Service) MetadataPush(context.Context, []byte) {}

func routeOf(req peer.Payload) (string, error) {
	target, err := wire.ParseRequest(req.Metadata)
	switch {
	case err != nil:
		return "", invalid(err)
	case len(target.Route) == 0:
		return "", peer.Errorf(peer.CodeInvalid, "the request names no route: it needs routing metadata, such as %q", api.RouteSnapshot)
	}
	return string(target.Route), nil
}

// wrong says why a route is not answered in the way asked for.
func (s *Service) wrong(route, asked string) error {
	way := ""
	switch {
	case s.responses[route] != nil:
		way = "a response"
	case s.streams[route] != nil:
		way = "a stream"
	case route == api.RouteRead || route == api.RouteWatch:
		return peer.Errorf(peer.CodeRejected, "this device has no sensors; PERCH_SENSORS gives it some")
	case route == api.RouteSet || route == api.RouteOutputs:
		return peer.Errorf(peer.CodeRejected, "this device has no outputs; PERCH_OUTPUTS gives it some")
	case route == api.RouteAlbum:
		return peer.Errorf(peer.CodeRejected, "this device has no triggers; PERCH_TRIGGERS gives it some")
	default:
		return peer.Errorf(peer.CodeInvalid, "route %q is not known here; these are: %s", clip(route), strings.Join(s.Routes(), ", "))
	}
	return peer.Errorf(peer.CodeInvalid, "route %q is answered by %s and was asked for as %s", route, way, asked)
}

func clip(s string) string { return s[:min(len(s), 64)] }

// camera finds a camera by its name; "" is the first.
func (s *Service) camera(name string) (*camera.Hub, error) {
	cameras := s.cfg.Cameras()
	if len(cameras) == 0 {
		return nil, peer.Errorf(peer.CodeRejected, "this device has no camera")
	}
	if name == "" {
		return cameras[0], nil
	}
	var names []string
	for _, h := range cameras {
		if h.Name() == name {
			return h, nil
		}
		names = append(names, h.Name())
	}
	return nil, peer.Errorf(peer.CodeInvalid, "camera %q is not known here; these are: %s", clip(name), strings.Join(names, ", "))
}

func invalid(err error) error { return peer.Errorf(peer.CodeInvalid, "%v", err) }

// trouble gives an error of a camera its code.
func trouble(err error) error {
	switch {
	case errors.Is(err, context.Canceled), errors.Is(err, peer.ErrCanceled), errors.Is(err, peer.ErrClosed):
		return err
	case errors.Is(err, camera.ErrUnsupported):
		return invalid(err)
	case errors.Is(err, camera.ErrAbsent), errors.Is(err, camera.ErrBusy), errors.Is(err, camera.ErrDenied), errors.Is(err, camera.ErrStalled),
		errors.Is(err, camera.ErrTooMany), errors.Is(err, camera.ErrClosed):
		return peer.Errorf(peer.CodeRejected, "%v", err)
	}
	return err
}

// viewing lights the outputs that show it, until end is called.
func (s *Service) viewing() (end func()) {
	if s.cfg.Board == nil {
		return func() {}
	}
	return s.cfg.Board.Viewing()
}

// answer is a payload of JSON.
func answer(v any) (peer.Payload, error) {
	data, err := json.Marshal(v)
	if err != nil {
		return peer.Payload{}, fmt.Errorf("cannot write the answer: %w", err)
	}
	return peer.Payload{Data: data}, nil
}

// picture is a payload of a picture: the image as data, and what it is as metadata.
func (s *Service) picture(p camera.Picture, lost uint64) (peer.Payload, error) {
	md, err := s.header(p, lost).Metadata()
	return peer.Payload{Metadata: md, Data: p.Data}, err
}

func (s *Service) header(p camera.Picture, lost uint64) api.FrameHeader {
	h := api.FrameHeader{
		Camera: p.Camera, Boot: s.cfg.Boot, Seq: p.Seq, At: p.At.UTC(), MonoNS: int64(p.Mono), Synced: s.cfg.Synced(),
		Width: p.Width, Height: p.Height, Format: api.FormatJPEG, Skipped: p.Skipped, Failed: p.Failed, Lost: lost,
		Settled: p.Settled != nil && *p.Settled,
	}
	if p.Format == camera.H264 {
		h.Format = api.FormatH264
	}
	return h
}
