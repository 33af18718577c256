package session_test

import (
	"context"
	"fmt"
	"net"
	"os"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/rsocket/rsocket-go/core"

	"github.com/perchcam/perch/pkg/session"
)

// stock is what a process holds.
type stock struct{ goroutines, descriptors int }

// countStock counts what the process holds now.
func countStock(t *testing.T) stock {
	t.Helper()
	fds, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Skip("counting descriptors needs /proc:", err)
	}
	return stock{runtime.NumGoroutine(), len(fds)}
}

// since returns what is left of what was taken since before. A goroutine that has said that it is done may take a
// moment to be gone.
func since(t *testing.T, before stock, patience time.Duration) (left []string) {
	t.Helper()
	var now stock
	for end := time.Now().Add(patience); ; runtime.Gosched() {
		if now = countStock(t); now.goroutines <= before.goroutines && now.descriptors <= before.descriptors || time.Now().After(end) {
			break
		}
	}
	if n := now.goroutines - before.goroutines; n > 0 {
		left = append(left, fmt.Sprintf("%d goroutines are left", n))
	}
	if n := now.descriptors - before.descriptors; n > 0 {
		left = append(left, fmt.Sprintf("%d descriptors are left", n))
	}
	return left
}

type linkedEnd struct {
	end
	up chan bool
}

func (e *linkedEnd) Linked(up, _ bool) { e.up <- up }

// TestNothingIsLeft opens, cuts, resumes and closes a thousand sessions over real sockets and looks for what they left.
func TestNothingIsLeft(t *testing.T) {
	before := countStock(t)
	srv, err := session.NewServer(session.ServerConfig{Accept: func(*session.Conn) (session.Receiver, error) { return &end{}, nil }})
	if err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			nc, err := ln.Accept()
			if err != nil {
				return
			}
			serving.Go(func() { _ = srv.Serve(nc) })
		}
	})
	var clients sync.WaitGroup
	gate := make(chan struct{}, 50)
	for range 1000 {
		gate <- struct{}{}
		clients.Go(func() {
			defer func() { <-gate }()
			if err := openCutResumeClose(ln.Addr().String()); err != nil {
				t.Error(err)
			}
		})
	}
	clients.Wait()
	_ = ln.Close()
	srv.Close(context.Background(), core.ErrorCodeConnectionClose, "test is over")
	serving.Wait()
	if stats, n, kept := srv.Stats(); n != 0 || kept != 0 || stats.Resumes < 1000 {
		t.Errorf("%d sessions and %d bytes are left, %+v", n, kept, stats)
	}
	for _, left := range since(t, before, 5*time.Second) {
		t.Error(left)
	}
}

// openCutResumeClose is the life of one session.
func openCutResumeClose(addr string) error {
	recv := &linkedEnd{up: make(chan bool, 10)}
	links := make(chan net.Conn, 10)
	c, err := session.NewClient(session.ClientConfig{Setup: session.Setup{Resume: true}, Dial: func(ctx context.Context) (net.Conn, error) {
		nc, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
		if err == nil {
			links <- nc
		}
		return nc, err
	}}, recv)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	ran := make(chan error, 1)
	go func() { ran <- c.Run(ctx) }()
	<-recv.up
	s := c.Open(&half{&recv.end, nil})
	s.Send(request(core.FrameTypeRequestChannel, 5, string(make([]byte, 20_000))))
	c.Flush()
	_ = (<-links).Close()
	for up := false; !up; {
		select {
		case up = <-recv.up:
		case err := <-ran:
			return fmt.Errorf("the session ended: %w", err)
		}
	}
	cancel()
	return <-ran
}

// TestLeakCheckCanFail leaves goroutines and descriptors, and expects the check to find both. They are many, as
// goroutines of tests before this one may still be ending.
func TestLeakCheckCanFail(t *testing.T) {
	before := countStock(t)
	stop := make(chan struct{})
	for range 100 {
		go func() { <-stop }()
		f, err := os.Open(os.DevNull)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
	}
	left := since(t, before, 50*time.Millisecond)
	close(stop)
	if len(left) != 2 {
		t.Errorf("the leak check found %q", left)
	}
}
