package client

import (
	"context"
	"encoding/json"
	"errors"
	"iter"
	"math/rand/v2"
	"time"

	"github.com/perchcam/perch/pkg/api"
	"github.com/perchcam/perch/pkg/peer"
	"github.com/perchcam/perch/pkg/wire"
)

// question is one request, of a device or of the broker.
type question struct {
	route  string
	device string        // "": the broker answers
	wait   time.Duration // for a device that is away; 0 leaves it to the broker
	what   string        // is done, in words: "the snapshot"
	data   api.Checker
	share  bool // one stream from the device for everybody who asks for the same
	once   bool // not to be asked again: it does something
}

// payload encodes the question for one session.
func (q question) payload(n *conn) (peer.Payload, error) {
	md, err := n.address(q.route, q.device, q.wait, q.share)
	if err != nil {
		return peer.Payload{}, err
	}
	if err := q.data.Check(); err != nil {
		return peer.Payload{}, invalid(err)
	}
	data, err := json.Marshal(q.data)
	if err != nil {
		return peer.Payload{}, invalid(err)
	}
	return peer.Payload{Metadata: md, Data: data}, nil
}

// address encodes whom a request is for: a device, or for "" the broker.
func (n *conn) address(route, device string, wait time.Duration, share bool) ([]byte, error) {
	r := wire.Request{Route: route, Device: device}
	if device != "" {
		if err := api.CheckName("device", device); err != nil {
			return nil, invalid(err)
		}
		r.Service, r.Origin = api.Service, n.origin
	}
	if wait > 0 {
		r.Params = []wire.Tag{{Key: wire.ParamWait, Value: wait.String()}}
	}
	if share {
		r.Params = append(r.Params, wire.Tag{Key: wire.ParamShare, Value: "1"})
	}
	md, err := r.Append(nil, n.c.cfg.Dialect)
	if err != nil {
		return nil, invalid(err)
	}
	return md, nil
}

func invalid(err error) error {
	return &Error{Kind: ErrInvalid, Text: api.Text(err.Error()), Err: err}
}

// ask asks for one answer.
func (c *Client) ask(ctx context.Context, q question) (peer.Payload, *conn, error) {
	p, n, err := c.request(ctx, q.payload, q.once)
	if err != nil && n != nil {
		err = c.fault(ctx, q, err)
	}
	return p, n, err
}

// request asks for one answer. Whose session ends meanwhile is asked once more, over the next, unless it is to be asked once.
// Without a session nothing was asked, and err says why; with one it is the other end's.
func (c *Client) request(ctx context.Context, payload func(*conn) (peer.Payload, error), once bool) (peer.Payload, *conn, error) {
	for try := 1; ; try++ {
		n, err := c.connect(ctx)
		if err != nil {
			return peer.Payload{}, nil, err
		}
		req, err := payload(n)
		if err != nil {
			return peer.Payload{}, nil, err
		}
		p, err := n.requester().RequestResponse(ctx, req)
		if try == 1 && over(err) && !once {
			continue
		}
		return p, n, err
	}
}

func (c *Client) fault(ctx context.Context, q question, err error) error {
	if q.device == "" {
		return c.explain(ctx, q.what, err)
	}
	return c.explainDevice(ctx, q.device, q.what, err)
}

// answer asks for one answer in JSON.
func answer[T any](ctx context.Context, c *Client, q question) (T, error) {
	p, _, err := c.ask(ctx, q)
	if err != nil {
		var none T
		return none, err
	}
	v, err := api.Decode[T](p.Data)
	return v, c.explain(ctx, q.what, err)
}

// follow is a stream that is asked for again when its session, or the device's, is over. ask returns the
// question as it stands, with the answers still wanted (0: without limit). take is given each answer and, with
// the first after an interruption, what that was; an error of it ends the stream, io.EOF in good order.
type follow struct {
	window uint32
	pace   func() uint32 // the window of each pull; nil: window
	ask    func() (q question, limit uint32)
	take   func(n *conn, p peer.Payload, cut error) (more bool, err error)
}

const (
	firstPause = 50 * time.Millisecond // before a stream is asked for again; it doubles
	maxPause   = 2 * time.Second
	returnWait = 30 * time.Second // that the broker is asked to wait for the device to be back
)

// follow runs f until it is over, and returns why; nil when it was completed or left.
func (c *Client) follow(ctx context.Context, f follow) error {
	var (
		cut   error     // why it is being asked for again
		since time.Time // when that happened
		began bool      // something was received
		pause = firstPause
	)
	for try := 1; ; try++ {
		q, limit := f.ask()
		if cut != nil && q.device != "" {
			q.wait = max(q.wait, returnWait)
		}
		got, lost, more, err := c.followOnce(ctx, f, q, limit, cut)
		switch {
		case !more:
			return nil
		case err == nil:
			return nil // completed
		case ctx.Err() != nil:
			return c.fault(ctx, q, err)
		}
		if got {
			began, try, pause, cut = true, 1, firstPause, nil
		}
		if !passing(err, began) || !began && try > 1 {
			return c.fault(ctx, q, err)
		}
		if cut == nil {
			cut, since = c.explain(ctx, q.what, err), lost
			c.cfg.Log.Info("stream interrupted", "route", q.route, "device", q.device, "err", cut)
		}
		if time.Since(since) > c.cfg.Patience {
			return c.fault(ctx, q, err)
		}
		select {
		case <-time.After(pause/2 + rand.N(pause)):
		case <-ctx.Done():
			return c.fault(ctx, q, context.Cause(ctx))
		}
		pause = min(2*pause, maxPause)
	}
}

// passing reports whether what ended a stream may be over soon. Before it had begun only the end of a session
// is: a person who asks for a device that is not there wants to hear of it. A broker that refuses us is never.
func passing(err error, began bool) bool {
	if e, ok := errors.AsType[*Error](err); ok && (began || e.Kind == ErrRefused) {
		return e.Kind == ErrUnreachable
	}
	if over(err) {
		return true
	}
	e, ok := errors.AsType[*peer.Error](err)
	return began && ok && (e.Code == peer.CodeCanceled || kindOf(e) == ErrRejected)
}

// followOnce asks once. got: an answer came; more: f wants more of them; lost: since when there was no link, or now.
func (c *Client) followOnce(ctx context.Context, f follow, q question, limit uint32, cut error) (got bool, lost time.Time, more bool, err error) {
	n, err := c.connect(ctx)
	if err != nil {
		return false, time.Now(), true, err
	}
	req, err := q.payload(n)
	if err != nil {
		return false, time.Now(), true, err
	}
	window := peer.Window(f.window)
	if f.pace != nil {
		window = peer.Pace(f.pace)
	}
	for p, err := range n.requester().RequestStream(ctx, req, window, peer.Limit(limit)) {
		if err != nil {
			return got, n.lost(), true, err
		}
		got = true
		if more, err = f.take(n, p, cut); err != nil || !more {
			return got, time.Now(), more, err
		}
		cut = nil
	}
	return got, time.Now(), true, nil
}

// jsonStream is a followed stream of JSON answers. seen is called with each before it is yielded; gap, if not nil,
// makes what is yielded first after an interruption.
func jsonStream[T any](ctx context.Context, c *Client, ask func() question, seen func(T), gap func() T) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		var q question
		err := c.follow(ctx, follow{
			window: 32,
			ask: func() (question, uint32) {
				q = ask()
				return q, 0
			},
			take: func(_ *conn, p peer.Payload, cut error) (bool, error) {
				if cut != nil && gap != nil && !yield(gap(), nil) {
					return false, nil
				}
				v, err := api.Decode[T](p.Data)
				if err != nil {
					return true, c.explain(ctx, q.what, err)
				}
				seen(v)
				return yield(v, nil), nil
			},
		})
		if err != nil {
			var none T
			yield(none, err)
		}
	}
}
