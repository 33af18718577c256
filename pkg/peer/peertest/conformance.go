// Package peertest checks that two RSocket engines understand each other: what one asks the other answers, asked for
// exactly, canceled when left, failed with code and sentence. The engines talk over loopback TCP, through a tap that
// counts what is on the wire, so that neither has to be believed.
package peertest

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"net"
	"testing"
	"time"

	"github.com/perchcam/perch/pkg/peer"
)

// End is one end of a connection. window is the largest number of elements asked for and not yet taken.
type End interface {
	RequestResponse(ctx context.Context, req peer.Payload) (peer.Payload, error)
	RequestStream(ctx context.Context, req peer.Payload, window uint32) iter.Seq2[peer.Payload, error]
	RequestChannel(ctx context.Context, first peer.Payload, out iter.Seq2[peer.Payload, error], window uint32) iter.Seq2[peer.Payload, error]
	FireAndForget(ctx context.Context, req peer.Payload) error
	MetadataPush(ctx context.Context, metadata []byte) error
}

// Engine makes ends, which answer with h. An end and its goroutines are over when t is.
type Engine struct {
	Name   string
	Client func(t testing.TB, addr string, h peer.Handler) End
	Server func(t testing.TB, l net.Listener, h peer.Handler) <-chan End // of the first connection
	// Faults are known ones: why the engine fails a check when it asks or answers, as "asks stream" or
	// "answers stream". Such a check is skipped with this reason.
	Faults map[string]string
}

// Conformance runs every check between client and server, with either of them asking.
func Conformance(t *testing.T, client, server Engine) {
	for _, asks := range []string{"client", "server"} {
		t.Run(asks+" asks", func(t *testing.T) {
			asking, answering := client, server
			if asks == "server" {
				asking, answering = server, client
			}
			for _, c := range checks {
				t.Run(c.name, func(t *testing.T) {
					for _, fault := range []string{asking.Faults["asks "+c.name], answering.Faults["answers "+c.name]} {
						if fault != "" {
							t.Skip(fault)
						}
					}
					ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
					defer cancel()
					k := connect(t, client, server, asks == "client")
					c.run(ctx, t, k)
				})
			}
		})
	}
}

// link is a connection under test.
type link struct {
	asker  End
	tap    *tap
	answer *answers
}

func connect(t *testing.T, client, server Engine, clientAsks bool) *link {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	k := &link{tap: newTap(t, l.Addr().String(), clientAsks), answer: newAnswers()}
	var hc, hs peer.Handler = peer.Funcs{}, k.answer.funcs()
	if !clientAsks {
		hc, hs = hs, hc
	}
	accepted := server.Server(t, l, hs)
	c := client.Client(t, k.tap.addr, hc)
	s := <-accepted
	if k.asker = c; !clientAsks {
		k.asker = s
	}
	return k
}

// receive waits for what is sent to ch, as long as ctx.
func receive[T any](ctx context.Context, t *testing.T, what string, ch <-chan T) (v T) {
	t.Helper()
	select {
	case v = <-ch:
	case <-ctx.Done():
		t.Fatalf("waited in vain for %s", what)
	}
	return v
}

func text(s string) peer.Payload { return peer.Payload{Data: []byte(s)} }

// element n of a stream has its number in its first bytes.
func element(n, size int) peer.Payload {
	b := bytes.Repeat([]byte{byte(n)}, max(size, 4))
	binary.BigEndian.PutUint32(b, uint32(n))
	return peer.Payload{Data: b}
}

func is(v peer.Payload, n, size int) error {
	if !bytes.Equal(v.Data, element(n, size).Data) {
		return fmt.Errorf("element %d is %d bytes, not it", n, len(v.Data))
	}
	return nil
}

// answers is what the answering end does, as the request's text says; and what became of it.
type answers struct {
	causes chan error // of the contexts of handlers that were left
	heard  chan string
}

func newAnswers() *answers { return &answers{make(chan error, 64), make(chan string, 64)} }

func (a *answers) funcs() peer.Funcs {
	return peer.Funcs{
		Response: func(ctx context.Context, req peer.Payload) (peer.Payload, error) {
			switch string(req.Data) {
			case "error":
				return peer.Payload{}, peer.Errorf(peer.CodeInvalid, "no such camera")
			case "never":
				a.heard <- "never"
				<-ctx.Done()
				a.causes <- context.Cause(ctx)
				return peer.Payload{}, ctx.Err()
			}
			return req, nil
		},
		Stream: func(ctx context.Context, req peer.Payload) iter.Seq2[peer.Payload, error] {
			var total, size int
			if n, _ := fmt.Sscan(string(req.Data), &total, &size); n != 2 {
				return func(yield func(peer.Payload, error) bool) {
					_ = yield(element(0, 10), nil) && yield(peer.Payload{}, peer.Errorf(peer.CodeInvalid, "no such camera"))
				}
			}
			return func(yield func(peer.Payload, error) bool) {
				for i := 0; total == 0 || i < total; i++ {
					if !yield(element(i, size), nil) {
						a.causes <- context.Cause(ctx)
						return
					}
				}
			}
		},
		Channel: a.channel,
		Forget:  func(_ context.Context, req peer.Payload) { a.heard <- string(req.Data) },
		Push:    func(_ context.Context, md []byte) { a.heard <- string(md) },
	}
}

// channel does what the first element's metadata says.
func (a *answers) channel(ctx context.Context, first peer.Payload, in iter.Seq2[peer.Payload, error]) iter.Seq2[peer.Payload, error] {
	return func(yield func(peer.Payload, error) bool) {
		switch string(first.Metadata) {
		case "half": // hear all, then speak
			n := 1
			for _, err := range in {
				if err != nil {
					a.causes <- err
					return
				}
				n++
			}
			for range 5 {
				if !yield(text(fmt.Sprint(n)), nil) {
					return
				}
			}
		case "deaf": // hear two, then speak
			n := 0
			for range in {
				if n++; n == 2 {
					break
				}
			}
			for range 5 {
				if !yield(text("deaf"), nil) {
					return
				}
			}
		default: // echo
			if !yield(first, nil) {
				a.causes <- context.Cause(ctx)
				return
			}
			for v, err := range in {
				if !yield(v, err) {
					a.causes <- context.Cause(ctx)
					return
				}
			}
			if ctx.Err() != nil {
				a.causes <- context.Cause(ctx)
			}
		}
	}
}

type check struct {
	name string
	run  func(ctx context.Context, t *testing.T, k *link)
}

var checks = []check{
	{"response", checkResponse},
	{"response error", checkResponseError},
	{"response cancel", checkResponseCancel},
	{"stream", checkStream},
	{"stream demand", checkStreamDemand},
	{"stream error", checkStreamError},
	{"stream cancel", checkStreamCancel},
	{"channel", func(ctx context.Context, t *testing.T, k *link) { checkChannel(ctx, t, k, 64) }},
	{"channel paced", func(ctx context.Context, t *testing.T, k *link) { checkChannel(ctx, t, k, 1, 4) }},
	{"channel half", checkChannelHalf},
	{"channel refused", checkChannelRefused},
	{"channel cancel", checkChannelCancel},
	{"fire-and-forget", checkForget},
	{"push", checkPush},
}

func checkResponse(ctx context.Context, t *testing.T, k *link) {
	big := bytes.Repeat([]byte("0123456789"), 30_000)
	for _, req := range []peer.Payload{
		text("hello"),
		{Metadata: []byte("md"), Data: []byte("hello")},
		{Metadata: []byte("md only")},
		{Metadata: big[:40_000], Data: big},
		{Data: big},
	} {
		v, err := k.asker.RequestResponse(ctx, req)
		if err != nil || !bytes.Equal(v.Data, req.Data) || !bytes.Equal(v.Metadata, req.Metadata) {
			t.Errorf("%d and %d bytes came back as %d and %d: %v", len(req.Metadata), len(req.Data), len(v.Metadata), len(v.Data), err)
		}
	}
}

// told checks what the other end said of an error.
func told(t *testing.T, err error) {
	t.Helper()
	if e, ok := errors.AsType[*peer.Error](err); !ok || e.Code != peer.CodeInvalid || e.Text != "no such camera" {
		t.Errorf("the error is %v", err)
	}
}

func checkResponseError(ctx context.Context, t *testing.T, k *link) {
	_, err := k.asker.RequestResponse(ctx, text("error"))
	told(t, err)
}

func checkResponseCancel(ctx context.Context, t *testing.T, k *link) {
	asking, cancel := context.WithCancel(ctx)
	go func() {
		<-k.answer.heard
		cancel()
	}()
	if _, err := k.asker.RequestResponse(asking, text("never")); !errors.Is(err, context.Canceled) {
		t.Errorf("canceled with %v", err)
	}
	k.tap.wait(t, "a CANCEL", func(asked, _ Counts) bool { return asked.Cancels == 1 })
	if err := receive(ctx, t, "the handler's end", k.answer.causes); err == nil {
		t.Error("the handler was not canceled")
	}
}

func checkStream(ctx context.Context, t *testing.T, k *link) {
	for _, window := range []uint32{1, 3, 64} {
		for _, c := range []struct{ total, size int }{{100, 20}, {20, 50_000}} {
			n := 0
			for v, err := range k.asker.RequestStream(ctx, text(fmt.Sprint(c.total, " ", c.size)), window) {
				if err == nil {
					err = is(v, n, c.size)
				}
				if err != nil {
					t.Fatalf("window %d: %v", window, err)
				}
				n++
			}
			if n != c.total {
				t.Errorf("window %d: %d elements of %d", window, n, c.total)
			}
		}
	}
}

// checkStreamDemand pulls ten elements. No more were asked for than those and a window, and no more came.
func checkStreamDemand(ctx context.Context, t *testing.T, k *link) {
	for _, window := range []uint32{1, 4} {
		asked0, answered0 := k.tap.counts()
		n := 0
		for v, err := range k.asker.RequestStream(ctx, text("0 100"), window) {
			if err == nil {
				err = is(v, n, 100)
			}
			if err != nil {
				t.Fatal(err)
			}
			if n++; n < 10 {
				continue
			}
			k.tap.wait(t, "what was asked for", func(asked, answered Counts) bool {
				return answered.Elements-answered0.Elements == asked.N-asked0.N
			})
			k.tap.quiet()
			asked, answered := k.tap.counts()
			if got := answered.Elements - answered0.Elements; got != asked.N-asked0.N || got < 10 || got > 9+int(window) {
				t.Errorf("window %d: %d elements came and %d were asked for when 10 were taken", window, got, asked.N-asked0.N)
			}
			break
		}
		k.tap.wait(t, "a CANCEL", func(asked, _ Counts) bool { return asked.Cancels == asked0.Cancels+1 })
	}
}

func checkStreamError(ctx context.Context, t *testing.T, k *link) {
	n := 0
	var last error
	for v, err := range k.asker.RequestStream(ctx, text("error"), 4) {
		if last = err; err == nil {
			if err := is(v, 0, 10); err != nil {
				t.Error(err)
			}
			n++
		}
	}
	if told(t, last); n != 1 {
		t.Errorf("%d elements before the error", n)
	}
}

func checkStreamCancel(ctx context.Context, t *testing.T, k *link) {
	n := 0
	for _, err := range k.asker.RequestStream(ctx, text("0 100"), 5) {
		if err != nil {
			t.Fatal(err)
		}
		if n++; n == 20 {
			break
		}
	}
	k.tap.wait(t, "a CANCEL", func(asked, _ Counts) bool { return asked.Cancels == 1 })
	if err := receive(ctx, t, "the handler's end", k.answer.causes); err == nil {
		t.Error("the handler was not canceled")
	}
	k.tap.quiet()
	_, before := k.tap.counts()
	k.tap.quiet()
	if _, after := k.tap.counts(); after.Elements != before.Elements {
		t.Errorf("%d elements came after CANCEL", after.Elements-before.Elements)
	}
}

// upload yields total-1 elements, for the first goes with the request, and says whether all were taken.
func upload(total, size int, all chan<- bool) iter.Seq2[peer.Payload, error] {
	return func(yield func(peer.Payload, error) bool) {
		for i := 1; i < total; i++ {
			if !yield(element(i, size), nil) {
				all <- false
				return
			}
		}
		all <- true
	}
}

func checkChannel(ctx context.Context, t *testing.T, k *link, windows ...uint32) {
	for _, window := range windows {
		for _, size := range []int{10, 30_000} {
			n, all := 0, make(chan bool, 1)
			for v, err := range k.asker.RequestChannel(ctx, element(0, size), upload(21, size, all), window) {
				if err == nil {
					err = is(v, n, size)
				}
				if err != nil {
					t.Fatalf("window %d, %d B: %v", window, size, err)
				}
				n++
			}
			if n != 21 || !receive(ctx, t, "the end of the sending half", all) {
				t.Errorf("window %d, %d B: %d elements of 21 came back", window, size, n)
			}
		}
	}
}

func checkChannelHalf(ctx context.Context, t *testing.T, k *link) {
	first := element(0, 10)
	first.Metadata = []byte("half")
	n, all := 0, make(chan bool, 1)
	for v, err := range k.asker.RequestChannel(ctx, first, upload(30, 10, all), 2) {
		if err != nil || string(v.Data) != "30" {
			t.Errorf("%q, %v", v.Data, err)
		}
		n++
	}
	if n != 5 || !receive(ctx, t, "the end of the sending half", all) {
		t.Errorf("%d answers", n)
	}
}

func checkChannelRefused(ctx context.Context, t *testing.T, k *link) {
	first := element(0, 10)
	first.Metadata = []byte("deaf")
	n, all := 0, make(chan bool, 1)
	for v, err := range k.asker.RequestChannel(ctx, first, upload(1<<30, 10, all), 2) {
		if err != nil || string(v.Data) != "deaf" {
			t.Errorf("%q, %v", v.Data, err)
		}
		n++
	}
	if n != 5 || receive(ctx, t, "the end of the sending half", all) {
		t.Errorf("%d answers", n)
	}
	k.tap.wait(t, "a CANCEL from the responder", func(_, answered Counts) bool { return answered.Cancels == 1 })
}

func checkChannelCancel(ctx context.Context, t *testing.T, k *link) {
	n, all := 0, make(chan bool, 1)
	for _, err := range k.asker.RequestChannel(ctx, element(0, 10), upload(1<<30, 10, all), 64) {
		if err != nil {
			t.Fatal(err)
		}
		if n++; n == 20 {
			break
		}
	}
	if receive(ctx, t, "the end of the sending half", all) {
		t.Error("the sending half did not hear of it")
	}
	k.tap.wait(t, "a CANCEL", func(asked, _ Counts) bool { return asked.Cancels == 1 })
	if err := receive(ctx, t, "the handler's end", k.answer.causes); err == nil {
		t.Error("the handler was not canceled")
	}
}

func checkForget(ctx context.Context, t *testing.T, k *link) {
	if err := k.asker.FireAndForget(ctx, text("fire")); err != nil {
		t.Fatal(err)
	}
	if got := receive(ctx, t, "the request", k.answer.heard); got != "fire" {
		t.Errorf("heard %q", got)
	}
}

func checkPush(ctx context.Context, t *testing.T, k *link) {
	if err := k.asker.MetadataPush(ctx, []byte("advert")); err != nil {
		t.Fatal(err)
	}
	if got := receive(ctx, t, "the request", k.answer.heard); got != "advert" {
		t.Errorf("heard %q", got)
	}
}
