package peer_test

import (
	"context"
	"fmt"
	"io"
	"log"
	"net"
	"time"

	"github.com/perchcam/perch/pkg/peer"
	"github.com/perchcam/perch/pkg/session"
)

// A device that shows its clock: each reading is taken when it may leave, at the requester's pace.
func ExampleFresh() {
	clock := peer.Funcs{
		Stream: func(ctx context.Context, _ peer.Payload) seq {
			return peer.Fresh(ctx, func(ctx context.Context, _ bool) (peer.Payload, error) {
				select {
				case now := <-time.After(time.Second):
					return peer.Payload{Data: now.AppendFormat(nil, time.RFC3339)}, nil
				case <-ctx.Done():
					return peer.Payload{}, io.EOF
				}
			})
		},
	}
	p, err := peer.New(peer.Config{Handler: clock})
	if err != nil {
		log.Fatal(err)
	}
	c, err := session.NewClient(session.ClientConfig{
		Setup: session.Setup{Resume: true},
		Dial: func(ctx context.Context) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "tcp", "broker.example:7878")
		},
	}, p)
	if err != nil {
		log.Fatal(err)
	}
	err = c.Run(context.Background())
	p.Wait()
	log.Fatal(err)
}

// Ten readings of such a clock, never more than two of them under way.
func ExampleRequester_RequestStream() {
	var r peer.Requester // of a Peer, with its Requester method
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for v, err := range r.RequestStream(ctx, peer.Payload{}, peer.Window(2), peer.Limit(10)) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(string(v.Data))
	}
}
