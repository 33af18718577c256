package client

import (
	"context"
	"iter"

	"github.com/perchcam/perch/pkg/api"
	"github.com/perchcam/perch/pkg/peer"
	"github.com/perchcam/perch/pkg/wire"
)

// Pass is a request that somebody else has made, to be asked over our session as it is: see PassResponse and PassStream.
type Pass struct {
	Route  string
	Device string // "": the broker answers
	Data   []byte // options, not looked into
	Share  bool   // one stream from the device for everybody who asks for the same
	Once   bool   // not to be asked again when the session ends meanwhile: it does something
}

func (p Pass) payload(n *conn) (peer.Payload, error) {
	r := wire.Request{Route: p.Route, Device: p.Device}
	if p.Device != "" {
		if err := api.CheckName("device", p.Device); err != nil {
			return peer.Payload{}, invalid(err)
		}
		r.Service, r.Origin = api.Service, n.origin
	}
	if p.Share {
		r.Params = []wire.Tag{{Key: wire.ParamShare, Value: "1"}}
	}
	md, err := r.Append(nil, n.c.cfg.Dialect)
	if err != nil {
		return peer.Payload{}, invalid(err)
	}
	return peer.Payload{Metadata: md, Data: p.Data}, nil
}

// PassResponse asks for one answer. The other end's errors are *peer.Error, as they came.
func (c *Client) PassResponse(ctx context.Context, p Pass) (peer.Payload, error) {
	for try := 1; ; try++ {
		n, err := c.connect(ctx)
		if err != nil {
			return peer.Payload{}, err
		}
		req, err := p.payload(n)
		if err != nil {
			return peer.Payload{}, err
		}
		v, err := n.requester().RequestResponse(ctx, req)
		if try == 1 && over(err) && !p.Once {
			continue
		}
		return v, c.passed(err)
	}
}

// PassStream asks for a stream, of which window elements may be under way and not yet taken; with 1 an element is asked for when
// it is pulled, and not before. It ends with its session: whoever asks may ask again.
func (c *Client) PassStream(ctx context.Context, p Pass, window uint32) iter.Seq2[peer.Payload, error] {
	return func(yield func(peer.Payload, error) bool) {
		n, err := c.connect(ctx)
		if err != nil {
			yield(peer.Payload{}, err)
			return
		}
		req, err := p.payload(n)
		if err != nil {
			yield(peer.Payload{}, err)
			return
		}
		for v, err := range n.requester().RequestStream(ctx, req, peer.Window(window)) {
			if !yield(v, c.passed(err)) || err != nil {
				return
			}
		}
	}
}

// passed puts the end of a session into words; everything else is as it came.
func (c *Client) passed(err error) error {
	if over(err) {
		return c.lost(err)
	}
	return err
}
