package client

import (
	"context"
	"iter"

	"github.com/perchcam/perch/pkg/peer"
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
	md, err := n.address(p.Route, p.Device, 0, p.Share)
	return peer.Payload{Metadata: md, Data: p.Data}, err
}

// PassResponse asks for one answer. The other end's errors are *peer.Error, as they came.
func (c *Client) PassResponse(ctx context.Context, p Pass) (peer.Payload, error) {
	v, n, err := c.request(ctx, p.payload, p.Once)
	if n != nil {
		err = c.passed(err)
	}
	return v, err
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
