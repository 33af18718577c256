package client_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/perchcam/perch/internal/simlink"
	"github.com/perchcam/perch/pkg/api"
	"github.com/perchcam/perch/pkg/client"
	"github.com/perchcam/perch/pkg/client/clienttest"
)

// dial connects to w in a bubble.
func dial(t *testing.T, w *clienttest.World) *client.Client {
	t.Helper()
	c, err := client.Dial(t.Context(), client.Config{Broker: "tcp://broker:7878", Dial: w.Laptop.Dial})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func TestDevices(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := clienttest.New(t)
		w.Join(&clienttest.Device{Name: "hen-house"})
		w.Join(&clienttest.Device{Name: "gate"})
		c := dial(t, w)
		list, err := c.Devices(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, d := range list {
			names = append(names, d.Name+" "+d.State)
		}
		if diff := cmp.Diff([]string{"gate online", "hen-house online"}, names); diff != "" {
			t.Error(diff)
		}
	})
}

func TestSnapshot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := clienttest.New(t)
		d := w.Join(&clienttest.Device{Name: "hen-house"})
		c := dial(t, w)
		time.Sleep(time.Second / 2) // in the middle between two pictures
		pic, err := c.Snapshot(t.Context(), "hen-house", client.SnapshotOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if pic.Seq != 16 || pic.Camera != "front" || string(pic.Data) != string(d.JPEG) {
			t.Errorf("picture %+v of %d bytes", pic.FrameHeader, len(pic.Data))
		}
		if !pic.Age.Known || pic.Age.Age != 0 || pic.Age.Error > time.Millisecond {
			t.Errorf("age %s", pic.Age)
		}
		pic, err = c.Snapshot(t.Context(), "hen-house", client.SnapshotOptions{MaxAge: time.Second})
		if err != nil || pic.Seq != 16 {
			t.Errorf("from memory: %+v, %v", pic.FrameHeader, err)
		}
	})
}

// A picture of 100 kB takes 200 ms here, and MaxAge is that of the moment when it is handed over.
func TestMaxAgeOverASlowPath(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := clienttest.New(t)
		d := w.Join(&clienttest.Device{Name: "hen-house", FPS: 1, JPEG: append(clienttest.Grey(64, 48), make([]byte, 100_000)...)})
		w.Laptop.Path(simlink.Path{Rate: 500_000})
		c := dial(t, w)
		time.Sleep(1600 * time.Millisecond) // the one in memory is 600 ms old
		pic, err := c.Snapshot(t.Context(), "hen-house", client.SnapshotOptions{MaxAge: 900 * time.Millisecond})
		if err != nil || pic.Seq != 1 {
			t.Errorf("picture %d, %s old, %v", pic.Seq, pic.Age, err)
		}
		time.Sleep(time.Until(pic.At.Add(1600 * time.Millisecond)))
		pic, err = c.Snapshot(t.Context(), "hen-house", client.SnapshotOptions{MaxAge: 700 * time.Millisecond})
		if err != nil || pic.Seq != 3 {
			t.Errorf("instead of the one in memory: picture %d, %s old, %v", pic.Seq, pic.Age, err)
		}
		_, err = c.Snapshot(t.Context(), "hen-house", client.SnapshotOptions{MaxAge: 50 * time.Millisecond})
		if !errors.Is(err, client.ErrAnswer) {
			t.Errorf("what cannot be: %v", err)
		}
		if n := strings.Count(strings.Join(d.Asked(), " "), api.RouteSnapshot); n != 5 {
			t.Errorf("the device was asked for %d pictures", n)
		}
	})
}

func TestUnknownDevice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := clienttest.New(t)
		w.Join(&clienttest.Device{Name: "hen-house"})
		c := dial(t, w)
		_, err := c.Snapshot(t.Context(), "hen-huose", client.SnapshotOptions{})
		e, ok := errors.AsType[*client.Error](err)
		if !ok || e.Kind != client.ErrNoDevice || e.Device != "hen-huose" {
			t.Fatalf("%#v", err)
		}
		if diff := cmp.Diff([]string{"hen-house"}, e.Known); diff != "" {
			t.Error(diff)
		}
	})
}

func TestAwayDevice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := clienttest.New(t)
		d := w.Join(&clienttest.Device{Name: "hen-house"})
		c := dial(t, w)
		d.Network().Down(true)
		synctest.Wait()
		began := time.Now()
		_, err := c.Info(t.Context(), "hen-house")
		if !errors.Is(err, client.ErrAway) {
			t.Fatal(err)
		}
		if took := time.Since(began); took != 2*time.Second {
			t.Errorf("the broker waited for %v", took)
		}
		d.Network().Down(false)
		time.Sleep(8 * time.Second) // its longest back-off
		if _, err := c.Info(t.Context(), "hen-house"); err != nil {
			t.Error("after its return:", err)
		}
	})
}

func TestUnreachable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := clienttest.New(t)
		w.Laptop.Down(true)
		_, err := client.Dial(t.Context(), client.Config{Broker: "tcp://broker:7878", Dial: w.Laptop.Dial})
		if !errors.Is(err, client.ErrUnreachable) {
			t.Fatal(err)
		}
	})
}

func TestTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := clienttest.New(t)
		canceled := make(chan string, 10)
		w.Join(&clienttest.Device{Name: "hen-house", FPS: 1, Canceled: func(route string) { canceled <- route }})
		c := dial(t, w)
		time.Sleep(100 * time.Millisecond)
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		_, err := c.Snapshot(ctx, "hen-house", client.SnapshotOptions{})
		if !errors.Is(err, client.ErrTimeout) || !errors.Is(err, context.DeadlineExceeded) {
			t.Fatal(err)
		}
		if route := <-canceled; route != api.RouteSnapshot {
			t.Error("the device was told of", route)
		}
	})
}
