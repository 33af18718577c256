// Command perch looks through the cameras of Perch's devices, by way of a broker.
//
// Data goes to standard output, talk to standard error: see tui.go. Exit codes are in the help text.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	// A second Ctrl-C ends it at once; not in the same moment, because timeout(1) sends its signal twice.
	context.AfterFunc(ctx, func() { time.AfterFunc(500*time.Millisecond, stop) })
	os.Exit(run(ctx, os.Args[1:], os.Getenv, os.Stdin, os.Stdout, os.Stderr))
}
