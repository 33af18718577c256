package client_test

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/perchcam/perch/pkg/api"
	"github.com/perchcam/perch/pkg/broker/access"
	"github.com/perchcam/perch/pkg/client"
	"github.com/perchcam/perch/pkg/client/clienttest"
	"github.com/perchcam/perch/pkg/wire"
)

// guarded is a broker with a device, and a viewer's client.
func guarded(t *testing.T) (*access.Store, *client.Client) {
	t.Helper()
	store, err := access.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	auth := func(name string, role access.Role) wire.Auth {
		token, err := store.Add(access.Credential{Name: name, Role: role})
		if err != nil {
			t.Fatal(err)
		}
		return wire.Auth{Scheme: wire.AuthBearer, Secret: token}
	}
	w := clienttest.Guarded(t, store)
	w.Join(&clienttest.Device{Name: "hen-house", Auth: auth("hen-house", access.Device)})
	c, err := client.Dial(t.Context(), client.Config{Broker: "tcp://broker:7878", Dial: w.Laptop.Dial, Auth: auth("guest", access.Viewer)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return store, c
}

// Whose credentials are revoked sees no more, and is told why at once.
func TestRevokedViewer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, c := guarded(t)
		n := 0
		var revoked time.Time
		for _, err := range c.Stream(t.Context(), "hen-house", client.StreamOptions{}) {
			if err != nil {
				if !errors.Is(err, client.ErrRefused) || !strings.Contains(err.Error(), "may have been revoked") {
					t.Errorf("the stream ends with %v", err)
				}
				break
			}
			if n++; n == 30 {
				if _, err := store.Revoke("guest", false); err != nil {
					t.Fatal(err)
				}
				revoked = time.Now()
			}
		}
		if took := time.Since(revoked); n < 30 || took > 35*time.Second {
			t.Errorf("%d pictures, and %v after the revocation", n, took)
		}
		if _, err := c.Devices(t.Context()); !errors.Is(err, client.ErrRefused) {
			t.Errorf("and then: %v", err)
		}
	})
}

// What a role may not ask for is told from a device that is not there.
func TestNotPermitted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, c := guarded(t)
		_, err := c.Metrics(t.Context(), "hen-house")
		if !errors.Is(err, client.ErrRefused) || !strings.Contains(err.Error(), `may not ask for "agent.metrics", which is for admin`) {
			t.Error(err)
		}
		if _, err := c.Health(t.Context(), "hen-house"); !errors.Is(err, client.ErrRefused) {
			t.Error(err)
		}
		if b, err := c.Broker(t.Context()); err != nil || b.Online != 1 {
			t.Errorf("what anyone may ask: %+v, %v", b, err)
		}
		for _, err := range c.Logs(t.Context(), "hen-house", client.LogsOptions{}) {
			if !errors.Is(err, client.ErrRefused) || !strings.HasPrefix(err.Error(), api.NotPermitted) {
				t.Error(err)
			}
		}
	})
}
