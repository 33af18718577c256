package peer_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"math"
	"net"
	"runtime"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/perchcam/perch/pkg/peer"
	"github.com/perchcam/perch/pkg/session"
)

// connect makes a session over l, with a peer made of cfg on both ends. end says goodbye, waits for everything
// and checks that nothing is left; it is called at the end of the test if not before.
func connect(t testing.TB, l net.Listener, cfg peer.Config, link session.ClientConfig) (client, server peer.Requester, end func()) {
	t.Helper()
	cp, err := peer.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	sp, err := peer.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	accepted := make(chan *session.Conn, 1)
	srv, err := session.NewServer(session.ServerConfig{Accept: func(c *session.Conn) (session.Receiver, error) {
		accepted <- c
		return sp, nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	var work sync.WaitGroup
	work.Go(func() {
		for {
			nc, err := l.Accept()
			if err != nil {
				return
			}
			work.Go(func() { _ = srv.Serve(nc) })
		}
	})
	c, err := session.NewClient(link, cp)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	work.Go(func() { _ = c.Run(ctx) })
	s := <-accepted
	end = sync.OnceFunc(func() {
		cancel()
		_ = l.Close()
		work.Wait()
		<-s.Done()
		cp.Wait()
		sp.Wait()
		for late := time.Now().Add(10 * time.Second); !(empty(cp) && empty(sp)) && time.Now().Before(late); {
			runtime.Gosched()
		}
		if !empty(cp) || !empty(sp) {
			t.Errorf("left over: client %+v, server %+v", cp.Stats(), sp.Stats())
		}
	})
	t.Cleanup(end)
	return cp.Requester(c.Conn), sp.Requester(s), end
}

// loopback is connect over TCP.
func loopback(t testing.TB, cfg peer.Config, resume bool) (client, server peer.Requester) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	client, server, _ = connect(t, l, cfg, session.ClientConfig{
		Setup: session.Setup{Resume: resume},
		Dial: func(ctx context.Context) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "tcp", l.Addr().String())
		},
	})
	return client, server
}

// benchHandler answers with as many bytes as the request says; streams never end.
func benchHandler() peer.Funcs {
	zeros := make([]byte, 8<<20)
	answer := func(req Payload) Payload { return Payload{Data: zeros[:binary.BigEndian.Uint32(req.Data)]} }
	return peer.Funcs{
		Response: func(_ context.Context, req Payload) (Payload, error) { return answer(req), nil },
		Stream:   func(_ context.Context, req Payload) seq { return count(math.MaxInt, answer(req)) },
	}
}

func sized(n int) Payload { return Payload{Data: binary.BigEndian.AppendUint32(nil, uint32(n))} }

func BenchmarkEcho100B(b *testing.B) {
	echoed := Payload{Data: make([]byte, 100)}
	for _, callers := range []int{1, 16} {
		b.Run("callers="+strconv.Itoa(callers), func(b *testing.B) {
			r, _ := loopback(b, peer.Config{Handler: echo()}, true)
			b.ReportAllocs()
			together(b, callers, func() error {
				_, err := r.RequestResponse(b.Context(), echoed)
				return err
			})
		})
	}
}

func BenchmarkAnswer(b *testing.B) {
	for _, size := range []int{100_000, 5_000_000} {
		for _, callers := range []int{1, 4} {
			b.Run(fmt.Sprintf("%dB/callers=%d", size, callers), func(b *testing.B) {
				r, _ := loopback(b, peer.Config{Handler: benchHandler()}, true)
				b.ReportAllocs()
				b.SetBytes(int64(size))
				together(b, callers, func() error {
					v, err := r.RequestResponse(b.Context(), sized(size))
					if len(v.Data) != size {
						return fmt.Errorf("%d bytes: %w", len(v.Data), err)
					}
					return err
				})
			})
		}
	}
}

func BenchmarkStream(b *testing.B) {
	for _, c := range []struct{ size, window int }{{100_000, 1}, {100_000, 4}, {100_000, 64}, {100, 64}, {100, 1024}} {
		b.Run(fmt.Sprintf("%dB/window=%d", c.size, c.window), func(b *testing.B) {
			r, _ := loopback(b, peer.Config{Handler: benchHandler()}, true)
			b.ReportAllocs()
			b.SetBytes(int64(c.size))
			b.Loop()
			for v, err := range r.RequestStream(b.Context(), sized(c.size), peer.Window(uint32(c.window))) {
				if err != nil || len(v.Data) != c.size {
					b.Fatal(err, len(v.Data))
				}
				if !b.Loop() {
					break
				}
			}
		})
	}
}

// together runs ask in a loop, by several callers at once.
func together(b *testing.B, callers int, ask func() error) {
	b.Helper()
	if callers == 1 {
		for b.Loop() {
			if err := ask(); err != nil {
				b.Fatal(err)
			}
		}
		return
	}
	b.SetParallelism((callers + 1) / 2) // of GOMAXPROCS each
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if err := ask(); err != nil {
				b.Error(err)
				return
			}
		}
	})
}
