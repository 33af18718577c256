package peer_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/perchcam/perch/pkg/peer"
	"github.com/perchcam/perch/pkg/session"
)

// stamped is size bytes that say which they are, and can be checked.
func stamped(n, size int) Payload {
	b := make([]byte, max(size, 8))
	binary.BigEndian.PutUint32(b, uint32(n))
	for i := range b[8:] {
		b[8+i] = byte(n + i)
	}
	binary.BigEndian.PutUint32(b[4:], crc32.ChecksumIEEE(b[8:]))
	return Payload{Data: b}
}

func stamp(v Payload) (n int, err error) {
	if len(v.Data) < 8 || crc32.ChecksumIEEE(v.Data[8:]) != binary.BigEndian.Uint32(v.Data[4:]) {
		return 0, fmt.Errorf("corrupt element of %d bytes", len(v.Data))
	}
	return int(binary.BigEndian.Uint32(v.Data)), nil
}

func stampedHandler() peer.Funcs {
	h := echo()
	h.Stream = func(_ context.Context, req Payload) seq {
		n, _ := stamp(req)
		return func(yield func(Payload, error) bool) {
			for i := range n {
				if !yield(stamped(i, 1+i*i*37%40_000), nil) {
					return
				}
			}
		}
	}
	h.Forget = func(context.Context, Payload) {}
	h.Push = func(context.Context, []byte) {}
	return h
}

// ask uses all four models once and checks what comes back.
func ask(ctx context.Context, r peer.Requester, seed int) error {
	switch size := seed * 7919 % 60_000; seed % 5 {
	case 0, 1:
		v, err := r.RequestResponse(ctx, stamped(seed, size))
		if err != nil {
			return err
		}
		if n, err := stamp(v); err != nil || n != seed {
			return fmt.Errorf("response: %w, %d is not %d", err, n, seed)
		}
	case 2:
		want, total := 0, seed%40
		for v, err := range r.RequestStream(ctx, stamped(total, 0), peer.Window(uint32(1+seed%7))) {
			if err != nil {
				return err
			}
			if n, err := stamp(v); err != nil || n != want {
				return fmt.Errorf("stream: %w, %d is not %d", err, n, want)
			}
			want++
		}
		if want != total {
			return fmt.Errorf("stream: %d elements of %d", want, total)
		}
	case 3:
		want, total := 0, seed%40
		out := func(yield func(Payload, error) bool) {
			for i := 1; i < total && yield(stamped(i, i*i*53%30_000), nil); i++ {
			}
		}
		for v, err := range r.RequestChannel(ctx, stamped(0, size), out, peer.Window(uint32(1+seed%5))) {
			if err != nil {
				return err
			}
			if n, err := stamp(v); err != nil || n != want {
				return fmt.Errorf("channel: %w, %d is not %d", err, n, want)
			}
			want++
		}
		if want != max(total, 1) {
			return fmt.Errorf("channel: %d elements of %d", want, total)
		}
	case 4:
		return r.FireAndForget(ctx, stamped(seed, size))
	}
	return nil
}

// cuttable dials and cuts what it dialed last.
type cuttable struct {
	addr string
	kick chan struct{} // dial at once
	mu   sync.Mutex
	last net.Conn
}

func (d *cuttable) dial(ctx context.Context) (net.Conn, error) {
	nc, err := new(net.Dialer).DialContext(ctx, "tcp", d.addr)
	d.mu.Lock()
	d.last = nc
	d.mu.Unlock()
	return nc, err
}

func (d *cuttable) cut() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if tc, ok := d.last.(*net.TCPConn); ok {
		_ = tc.SetLinger(0) // RST: what the kernel has not sent is lost
		_ = tc.Close()
	}
	select {
	case d.kick <- struct{}{}:
	default:
	}
}

// Links are cut under many requests in both directions. With a session that resumes nothing is lost, doubled or
// reordered; with one that does not, everything ends with ErrClosed and nothing hangs.
func TestConnectionLosses(t *testing.T) {
	for _, c := range []struct {
		resume       bool
		rounds, cuts int
	}{{true, 1, 25}, {false, 40, 1}} {
		t.Run(fmt.Sprintf("resume=%v", c.resume), func(t *testing.T) {
			for round := range c.rounds {
				losses(t, c.resume, c.cuts, uint64(round))
			}
		})
	}
}

func losses(t *testing.T, resume bool, cuts int, seed uint64) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	d := &cuttable{addr: l.Addr().String(), kick: make(chan struct{}, 1)}
	client, server, end := connect(t, l, peer.Config{Handler: stampedHandler()}, session.ClientConfig{
		Setup: session.Setup{Resume: resume}, Dial: d.dial, Kick: d.kick,
	})
	var asked, failed atomic.Int32
	stop := make(chan struct{})
	var asking sync.WaitGroup
	for i := range 8 {
		r := []peer.Requester{client, server}[i%2]
		asking.Go(func() {
			for n := i; ; n += 8 {
				select {
				case <-stop:
					return
				default:
				}
				switch err := ask(t.Context(), r, n); {
				case err == nil:
					asked.Add(1)
				case !resume && errors.Is(err, peer.ErrClosed):
					failed.Add(1)
					return
				default:
					t.Errorf("request %d: %v", n, err)
					return
				}
			}
		})
	}
	random := rand.New(rand.NewPCG(seed, 1))
	for range cuts {
		for before := asked.Load(); asked.Load() < before+20 && !t.Failed(); {
			time.Sleep(time.Millisecond) // real sockets, real time: until there is traffic
		}
		time.Sleep(time.Duration(random.IntN(3000)) * time.Microsecond)
		d.cut()
	}
	if resume {
		close(stop)
	}
	asking.Wait()
	if !resume && failed.Load() != 8 {
		t.Errorf("%d of 8 callers heard of the loss", failed.Load())
	}
	end()
	if st := client.Session().Stats(); resume && st.Links < cuts/2 {
		t.Errorf("only %d links in %d cuts", st.Links, cuts)
	}
}
