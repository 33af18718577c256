package page

import (
	"context"
	"encoding/json"
	"errors"
	"iter"
	"log/slog"
	"net"
	"slices"
	"time"

	"github.com/perchcam/perch/pkg/api"
	"github.com/perchcam/perch/pkg/client"
	"github.com/perchcam/perch/pkg/peer"
	"github.com/perchcam/perch/pkg/session"
	"github.com/perchcam/perch/pkg/wire"
)

// routeLink is answered here: what becomes of the laptop's own link.
const routeLink = "view.link"

// windows are the routes that a page may ask for, each with how many elements of a stream may be under way to this process and
// not yet to the browser. Pictures are asked for one by one, when the browser has asked: what waited here would be old.
var windows = map[string]uint32{
	api.RouteSnapshot:     0,
	api.RouteStream:       1,
	api.RouteCameras:      0,
	api.RouteControl:      0,
	api.RouteInfo:         0,
	api.RouteClock:        0,
	api.RouteRead:         0,
	api.RouteWatch:        16,
	api.RouteSet:          0,
	api.RouteOutputs:      0,
	api.RouteDevices:      0,
	api.RouteDevicesWatch: 64,
	api.RouteBrokerInfo:   0,
}

// once are those that do something: they are never asked twice.
var once = []string{api.RouteSet, api.RouteControl}

// Relay answers a page by asking the broker. Requests are passed on one by one, each as a request of the laptop's own session,
// so that a browser's REQUEST_N and CANCEL reach the device, and the loss of the laptop's link is made good below.
type Relay struct {
	ask    *client.Client
	peer   *peer.Peer
	server *session.Server
}

// NewRelay returns a Relay that asks c.
func NewRelay(c *client.Client, log *slog.Logger) (*Relay, error) {
	r := &Relay{ask: c}
	var err error
	r.peer, err = peer.New(peer.Config{Handler: peer.Funcs{Response: r.response, Stream: r.stream}, MaxPayload: api.MaxRequest, Log: log})
	if err != nil {
		return nil, err
	}
	r.server, err = session.NewServer(session.ServerConfig{
		Options:  session.Options{MTU: 64 << 10, NotSent: 128 << 10, Log: log}, // the other end is in this machine
		Accept:   func(*session.Conn) (session.Receiver, error) { return r.peer, nil },
		NoResume: true, // a page asks anew
	})
	return r, err
}

// Serve takes one browser's link until it is over.
func (r *Relay) Serve(nc net.Conn) { _ = r.server.Serve(nc) }

// Close ends what is under way, and returns when it has ended.
func (r *Relay) Close() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	r.server.Close(ctx, session.CodeConnectionClose, "perch view has ended")
	r.peer.Wait()
}

// read reads what a request is for.
func read(req peer.Payload) (client.Pass, error) {
	t, err := wire.ParseRequest(req.Metadata)
	if err != nil {
		return client.Pass{}, peer.Errorf(peer.CodeInvalid, "%v", err)
	}
	p := client.Pass{Route: string(t.Route), Device: string(t.Device), Data: req.Data, Share: string(t.Param(wire.ParamShare)) == "1"}
	p.Once = slices.Contains(once, p.Route)
	return p, nil
}

func (r *Relay) response(ctx context.Context, req peer.Payload) (peer.Payload, error) {
	p, err := read(req)
	if err != nil {
		return peer.Payload{}, err
	}
	if n, ok := windows[p.Route]; !ok || n > 0 {
		return peer.Payload{}, peer.Errorf(peer.CodeInvalid, "a page does not ask for %q as a response", p.Route)
	}
	v, err := r.ask.PassResponse(ctx, p)
	return v, said(err)
}

func (r *Relay) stream(ctx context.Context, req peer.Payload) iter.Seq2[peer.Payload, error] {
	p, err := read(req)
	if err != nil {
		return peer.Fail(err)
	}
	if p.Route == routeLink {
		return r.link(ctx)
	}
	window := windows[p.Route]
	if window == 0 {
		return peer.Fail(peer.Errorf(peer.CodeInvalid, "a page does not ask for %q as a stream", p.Route))
	}
	return func(yield func(peer.Payload, error) bool) {
		next, stop := iter.Pull2(r.ask.PassStream(ctx, p, window))
		defer stop()
		for {
			if err := peer.Ready(ctx); err != nil {
				yield(peer.Payload{}, err)
				return
			}
			v, err, ok := next()
			if !ok || !yield(v, said(err)) || err != nil {
				return
			}
		}
	}
}

// link tells how the laptop's link is, and then what becomes of it.
func (r *Relay) link(ctx context.Context) iter.Seq2[peer.Payload, error] {
	return func(yield func(peer.Payload, error) bool) {
		for first, told := true, false; ; {
			up, moved := r.ask.Up()
			if first || up != told {
				data, err := json.Marshal(map[string]bool{"up": up})
				if !yield(peer.Payload{Data: data}, err) || err != nil {
					return
				}
				first, told = false, up
				continue // it may have changed meanwhile
			}
			select {
			case <-moved:
			case <-ctx.Done():
				return
			}
		}
	}
}

// said makes of a client's error one that the browser is told with its text: those of the other end are as they are.
func said(err error) error {
	if e, ok := errors.AsType[*client.Error](err); ok {
		return peer.Errorf(peer.CodeRejected, "%s", e.Text)
	}
	return err
}
