package client_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/perchcam/perch/pkg/api"
	"github.com/perchcam/perch/pkg/client"
	"github.com/perchcam/perch/pkg/peer"
	"github.com/perchcam/perch/pkg/session"
)

// A list that comes in pages is put together, and one that goes in circles is given up.
func TestPages(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		circles := false
		p, err := peer.New(peer.Config{Handler: peer.Funcs{Response: func(_ context.Context, req peer.Payload) (peer.Payload, error) {
			q, err := api.Parse[api.DevicesRequest](req.Data)
			if err != nil {
				return peer.Payload{}, err
			}
			if circles {
				q.After = ""
			}
			var page api.Devices
			for i := range 10_000 {
				if name := fmt.Sprintf("cam-%05d", i); name > q.After {
					page.Devices = append(page.Devices, api.Device{Name: name, State: api.StateOnline})
					if page.Next = name; len(page.Devices) == 3000 {
						break
					}
				}
			}
			if page.Next == "cam-09999" {
				page.Next = ""
			}
			data, err := json.Marshal(page)
			return peer.Payload{Data: data}, err
		}}})
		if err != nil {
			t.Fatal(err)
		}
		s, err := session.NewServer(session.ServerConfig{Accept: func(*session.Conn) (session.Receiver, error) { return p, nil }})
		if err != nil {
			t.Fatal(err)
		}
		var work sync.WaitGroup
		c, err := client.Dial(t.Context(), client.Config{Dial: func(context.Context) (net.Conn, error) {
			ours, theirs := net.Pipe()
			work.Go(func() { _ = s.Serve(theirs) })
			return ours, nil
		}})
		if err != nil {
			t.Fatal(err)
		}
		list, err := c.Devices(t.Context())
		sorted := slices.IsSortedFunc(list, func(a, b api.Device) int { return slices.Compare([]byte(a.Name), []byte(b.Name)) })
		if err != nil || len(list) != 10_000 || !sorted {
			t.Errorf("%d devices, %v", len(list), err)
		}
		circles = true
		if _, err := c.Devices(t.Context()); !errors.Is(err, client.ErrAnswer) {
			t.Errorf("in circles: %v", err)
		}
		_ = c.Close()
		work.Wait()
		p.Wait()
	})
}
