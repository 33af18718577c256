package client_test

import (
	"context"
	"net"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/perchcam/perch/pkg/client"
	"github.com/perchcam/perch/pkg/peer"
	"github.com/perchcam/perch/pkg/session"
)

// A broker that cannot resume sessions, as those in Java as they come, is asked to do without, and each question is asked again
// when its link is lost.
func TestBrokerWithoutResumption(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asked := make(chan struct{}, 2)
		p, err := peer.New(peer.Config{Handler: peer.Funcs{Response: func(ctx context.Context, _ peer.Payload) (peer.Payload, error) {
			asked <- struct{}{}
			if len(asked) == 1 { // the first question is never answered
				<-ctx.Done()
				return peer.Payload{}, ctx.Err()
			}
			return peer.Payload{Data: []byte(`{"device":"hen-house","boot":"b"}`)}, nil
		}}})
		if err != nil {
			t.Fatal(err)
		}
		s, err := session.NewServer(session.ServerConfig{NoResume: true, Accept: func(*session.Conn) (session.Receiver, error) { return p, nil }})
		if err != nil {
			t.Fatal(err)
		}
		var work sync.WaitGroup
		var last net.Conn
		c, err := client.Dial(t.Context(), client.Config{Dial: func(context.Context) (net.Conn, error) {
			ours, theirs := net.Pipe()
			last = ours
			work.Go(func() { _ = s.Serve(theirs) })
			return ours, nil
		}})
		if err != nil {
			t.Fatal(err)
		}
		answered := make(chan error)
		go func() {
			info, err := c.Info(t.Context(), "hen-house")
			if err == nil && info.Device != "hen-house" {
				t.Errorf("the answer is %+v", info)
			}
			answered <- err
		}()
		synctest.Wait()
		last.Close()
		if err := <-answered; err != nil {
			t.Error(err)
		}
		if n, _, _ := s.Stats(); n.RefusedSetups != 1 || n.Setups != 2 {
			t.Errorf("%d SETUPs were refused and %d accepted, not 1 and 2", n.RefusedSetups, n.Setups)
		}
		_ = c.Close()
		work.Wait()
		p.Wait()
	})
}
