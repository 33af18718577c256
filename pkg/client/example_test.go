package client_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log"
	"os"
	"testing"
	"time"

	"github.com/perchcam/perch/pkg/api"
	"github.com/perchcam/perch/pkg/client"
	"github.com/perchcam/perch/pkg/client/clienttest"
	"github.com/perchcam/perch/pkg/peer"
	"github.com/perchcam/perch/pkg/wire"
)

// broker is where the examples' hen-house is connected.
var broker string

// henHouse has a door, and a lamp.
var henHouse = &clienttest.Device{
	Name: "hen-house",
	Answer: func(_ context.Context, route string, _ []byte) (peer.Payload, bool, error) {
		if route != api.RouteSet {
			return peer.Payload{}, false, nil
		}
		p, err := clienttest.JSON(api.OutputState{Output: "lamp", On: true, At: time.Now(), Until: time.Now().Add(time.Minute)})
		return p, true, err
	},
	Stream: func(_ context.Context, route string, _ []byte) iter.Seq2[peer.Payload, error] {
		if route != api.RouteWatch {
			return nil
		}
		door := api.Reading{V: 1, Type: api.ReadingState, Boot: "b", Seq: 1, Sensor: "door", On: new(false), At: time.Now()}
		open := door
		open.Type, open.Seq, open.On = api.ReadingChange, 2, new(true)
		return func(yield func(peer.Payload, error) bool) {
			_ = yield(clienttest.JSON(door)) && yield(clienttest.JSON(open))
		}
	},
}

// TestMain has a broker and a device for the examples, which have none of their own to show.
func TestMain(m *testing.M) {
	w, stop := clienttest.Main()
	w.Join(henHouse)
	broker = w.URL()
	code := m.Run()
	stop()
	os.Exit(code)
}

// A broker over TLS, which is known by the pin that perch-broker has printed, and a token of its. Dial fails with an *Error that
// says why: here, nobody is at that port.
func ExampleDial() {
	tls, err := client.Pinned("sha256:47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU")
	if err != nil {
		log.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	_, err = client.Dial(ctx, client.Config{
		Broker: "tls://127.0.0.1:1", TLS: tls, Auth: wire.Auth{Scheme: wire.AuthBearer, Secret: "perch_…"},
		Linked: func(up bool) { fmt.Println("link:", up) },
	})
	fmt.Println(err)
	fmt.Println(errors.Is(err, client.ErrUnreachable))
	// Output:
	// cannot reach the broker at tls://127.0.0.1:1: connection refused
	// true
}

// Which devices are there, and which cameras have they?
func ExampleClient_Devices() {
	ctx := context.Background()
	c, err := client.Dial(ctx, client.Config{Broker: broker})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()

	list, err := c.Devices(ctx)
	if err != nil {
		log.Fatal(err)
	}
	for _, d := range list {
		fmt.Println(d.Name, d.State, d.Cameras)
	}
	// Output: hen-house online [{front pattern}]
}

// Devices as they are, and then as they come and go. The loop ends when the device is there.
func ExampleClient_Watch() {
	ctx := context.Background()
	c, err := client.Dial(ctx, client.Config{Broker: broker})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()

	for e, err := range c.Watch(ctx, "hen-house") {
		if err != nil {
			log.Fatal(err)
		}
		if e.Type == api.EventGap {
			continue // changes were missed: how it is now comes next
		}
		fmt.Println(e.Type, e.Device.Name, e.Device.State)
		if e.Device.State == api.StateOnline {
			break
		}
	}
	// Output: state hen-house online
}

// How a door is, and then what happens. What was missed would be a reading of type api.ReadingGap.
func ExampleClient_Sensors() {
	ctx := context.Background()
	c, err := client.Dial(ctx, client.Config{Broker: broker})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()

	for r, err := range c.Sensors(ctx, "hen-house", client.SensorsOptions{Names: []string{"door"}}) {
		if err != nil {
			log.Fatal(err)
		}
		if r.On != nil {
			fmt.Println(r.Type, r.Sensor, *r.On)
		}
	}
	// Output:
	// state door false
	// change door true
}

// A lamp is switched on for a minute. The device switches it off, whatever becomes of this program or of the link.
func ExampleClient_Set() {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	c, err := client.Dial(ctx, client.Config{Broker: broker})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()

	lamp, err := c.Set(ctx, "hen-house", "lamp", true, time.Minute)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(lamp.Output, lamp.On)
	// Output: lamp true
}

// One picture, no older than a second, into a file.
func ExampleClient_Snapshot() {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	c, err := client.Dial(ctx, client.Config{Broker: broker})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()

	pic, err := c.Snapshot(ctx, "hen-house", client.SnapshotOptions{MaxAge: time.Second})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%d x %d %s of camera %s\n", pic.Width, pic.Height, pic.Format, pic.Camera)
	if pic.Age.Known && pic.Age.Age < time.Second {
		fmt.Println("less than a second old")
	}
	// Output:
	// 64 x 48 jpeg of camera front
	// less than a second old
}

// Ten pictures, five a second at most. A loop that takes longer gets fewer pictures, never older ones.
func ExampleClient_Stream() {
	ctx := context.Background()
	c, err := client.Dial(ctx, client.Config{Broker: broker})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()

	n := 0
	for pic, err := range c.Stream(ctx, "hen-house", client.StreamOptions{FPS: 5, Count: 10}) {
		if err != nil {
			log.Fatal(err)
		}
		if pic.Gap != nil {
			fmt.Println("interrupted, missing:", pic.Gap.Missing)
		}
		n++
	}
	fmt.Println(n, "pictures")
	// Output: 10 pictures
}

// What went wrong is a sentence for a person, and a kind for the program.
func ExampleError() {
	ctx := context.Background()
	c, err := client.Dial(ctx, client.Config{Broker: broker})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()

	_, err = c.Snapshot(ctx, "barn", client.SnapshotOptions{})
	fmt.Println(err)
	if errors.Is(err, client.ErrNoDevice) {
		list, err := c.Devices(ctx)
		if err != nil {
			log.Fatal(err)
		}
		for _, d := range list {
			fmt.Println("there is", d.Name)
		}
	}
	// Output:
	// there is no device "barn"
	// there is hen-house
}
