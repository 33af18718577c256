package client_test

import (
	"errors"
	"testing"
	"testing/synctest"

	"github.com/perchcam/perch/pkg/client"
	"github.com/perchcam/perch/pkg/client/clienttest"
	"github.com/perchcam/perch/pkg/wire"
)

// The broker understands each dialect, and a device that it does not know is one in each.
func TestDialects(t *testing.T) {
	for _, d := range []wire.Dialect{wire.RSocketBroker, wire.Alibaba, wire.Plain} {
		t.Run(d.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := clienttest.New(t)
				w.Join(&clienttest.Device{Name: "hen-house"})
				c, err := client.Dial(t.Context(), client.Config{Dial: w.Laptop.Dial, Dialect: d})
				if err != nil {
					t.Fatal(err)
				}
				defer c.Close()
				if pic, err := c.Snapshot(t.Context(), "hen-house", client.SnapshotOptions{}); err != nil || len(pic.Data) == 0 {
					t.Errorf("snapshot of %d bytes: %v", len(pic.Data), err)
				}
				if _, err := c.Snapshot(t.Context(), "goat-barn", client.SnapshotOptions{}); !errors.Is(err, client.ErrNoDevice) {
					t.Errorf("of a device that is not there: %v", err)
				}
			})
		})
	}
}
