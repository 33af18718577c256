//go:build interop

package interop

import (
	"bytes"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/rsocket/rsocket-go/core"
)

// target answers each connection with what it is told to, and returns where it listens.
func target(t *testing.T, say []byte) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			nc, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				_, _ = nc.Write(say)
				_, _ = io.Copy(io.Discard, nc)
				nc.Close()
			}()
		}
	}()
	return l.Addr().String()
}

// A relay cuts at the byte it was told to, and knows which frame was torn.
func TestRelay(t *testing.T) {
	one := []byte{0, 0, 10, 0, 0, 0, 5, byte(core.FrameTypeRequestN << 2), 0, 0, 0, 0, 9}
	two := append([]byte{0, 1, 6, 0, 0, 0, 5, byte(core.FrameTypePayload << 2), 0x20}, make([]byte, 256)...)
	say := append(append([]byte{}, one...), two...)
	for after := 1; after <= len(say); after += 7 {
		r := NewRelay(t, target(t, say))
		r.Plan(func(int) Cut { return Cut{From: FromServer, After: after, How: FIN} })
		nc, err := net.Dial("tcp", r.Addr())
		if err != nil {
			t.Fatal(err)
		}
		_ = nc.SetDeadline(time.Now().Add(patience))
		got, _ := io.ReadAll(nc)
		nc.Close()
		if !bytes.Equal(got, say[:after]) {
			t.Fatalf("cut after %d, %d bytes came", after, len(got))
		}
		want := ""
		switch torn := after < len(say); {
		case after < 3:
		case after < 9:
			want = "  link 1 server → 0 RESERVED n=0 (torn)\n"
		case after < len(one):
			want = "  link 1 server → 5 REQUEST_N n=0 (torn)\n"
		case after < len(one)+3:
			want = "  link 1 server → 5 REQUEST_N n=9\n"
		case after < len(one)+9:
			want = "  link 1 server → 5 REQUEST_N n=9\n  link 1 server → 0 RESERVED (torn)\n"
		case torn:
			want = "  link 1 server → 5 REQUEST_N n=9\n  link 1 server → 5 PAYLOAD N (torn)\n"
		default:
			want = "  link 1 server → 5 REQUEST_N n=9\n  link 1 server → 5 PAYLOAD N\n"
		}
		if got := r.Log(0); strings.ReplaceAll(got, "RESERVED n=0", "RESERVED") != strings.ReplaceAll(want, "RESERVED n=0", "RESERVED") {
			t.Errorf("cut after %d, it wrote down:\n%swant\n%s", after, got, want)
		}
	}
}

// A black hole tells nobody and lets nothing through.
func TestRelaySilent(t *testing.T) {
	r := NewRelay(t, target(t, []byte("GET hello")))
	r.Plan(func(int) Cut { return Cut{From: FromServer, After: 4, How: Silent} })
	nc, err := net.Dial("tcp", r.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	b := make([]byte, 16)
	if _, err := io.ReadFull(nc, b[:4]); err != nil {
		t.Fatal(err)
	}
	_ = nc.SetDeadline(time.Now().Add(100 * time.Millisecond))
	if n, err := nc.Read(b); n != 0 || err == io.EOF {
		t.Errorf("%d more bytes came, %v", n, err)
	}
}
