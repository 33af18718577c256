// Command rsocketgo is a device on rsocket-go's own engine and its own resumption, as a peer for the tests beside it. It is a
// process of its own because under the race detector rsocket-go reports races within itself.
//
// rsocketgo HOST:PORT connects, says "ready", and serves streams of 40 elements of 1,000 bytes until its input ends.
package main

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/rsocket/rsocket-go"
	"github.com/rsocket/rsocket-go/payload"
	"github.com/rsocket/rsocket-go/rx/flux"
)

func main() {
	serve := func(context.Context, rsocket.RSocket) rsocket.RSocket {
		return rsocket.NewAbstractSocket(rsocket.RequestStream(func(payload.Payload) flux.Flux { return flux.Create(send) }))
	}
	_, err := rsocket.Connect().KeepAlive(200*time.Millisecond, time.Second, 1).Resume().Acceptor(serve).
		Transport(rsocket.TCPClient().SetAddr(os.Args[1]).Build()).Start(context.Background())
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println("ready")
	_, _ = io.Copy(io.Discard, os.Stdin)
}

func send(_ context.Context, s flux.Sink) {
	for i := range 40 {
		b := make([]byte, 1000)
		for k := range b {
			b[k] = byte(i + k)
		}
		binary.BigEndian.PutUint32(b, uint32(i))
		s.Next(payload.New(b, nil))
	}
	s.Complete()
}
