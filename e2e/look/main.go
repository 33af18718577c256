// Command look counts the JPEG pictures of a stream, as a viewer that does nothing else: of its input, to the end, or of an HTTP server for
// some time.
//
//	perch stream … -o - | look
//	look http://… 15s
package main

import (
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/perchcam/perch/e2e/look/count"
)

func main() {
	n, err := look(os.Args[1:])
	if err != nil {
		fmt.Fprintln(os.Stderr, "look:", err)
		os.Exit(1)
	}
	fmt.Println(n)
}

func look(args []string) (int, error) {
	if len(args) == 0 {
		return count.Pictures(os.Stdin), nil
	}
	if len(args) != 2 {
		return 0, errors.New("usage: look [URL TIME]")
	}
	d, err := time.ParseDuration(args[1])
	if err != nil {
		return 0, err
	}
	return count.URL(args[0], d)
}
