package client_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"testing"
	"time"

	"github.com/perchcam/perch/pkg/client"
	"github.com/perchcam/perch/pkg/client/clienttest"
)

// broker is where the examples' hen-house is connected.
var broker string

// TestMain has a broker and a device for the examples, which have none of their own to show.
func TestMain(m *testing.M) {
	w, stop := clienttest.Main()
	w.Join(&clienttest.Device{Name: "hen-house"})
	broker = w.URL()
	code := m.Run()
	stop()
	os.Exit(code)
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
