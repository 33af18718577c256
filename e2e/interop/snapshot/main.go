// Command snapshot is a stranger's ten lines in Go, shown in docs/CLIENTS.md and run by the tests beside it:
// snapshot BROKER DEVICE FILE.
package main

import (
	"context"
	"log"
	"os"

	"github.com/perchcam/perch/pkg/client"
)

func main() {
	broker, device, file := os.Args[1], os.Args[2], os.Args[3]
	ctx := context.Background()
	// ten lines
	c, err := client.Dial(ctx, client.Config{Broker: broker}) // such as tcp://127.0.0.1:7878
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	picture, err := c.Snapshot(ctx, device, client.SnapshotOptions{})
	if err != nil {
		log.Fatal(err)
	}
	err = os.WriteFile(file, picture.Data, 0o644)
	// end
	if err != nil {
		log.Fatal(err)
	}
}
