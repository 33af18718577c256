package link

import (
	"bytes"
	"context"
	"encoding/binary"
	"flag"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// reply is an answer to an A (1) or AAAA (28) question about a host called broker, nil to others.
func reply(question []byte, v4, v6 string) []byte {
	name, _, found := bytes.Cut(question[min(12, len(question)):], []byte{0})
	if !found || !bytes.HasPrefix(name, []byte("\x06broker")) || len(question) < 12+len(name)+5 {
		return nil
	}
	name = append(name, 0)
	asked := question[12 : 12+len(name)+4]
	var data []byte
	switch binary.BigEndian.Uint16(asked[len(name):]) {
	case 1:
		data = net.ParseIP(v4).To4()
	case 28:
		data = net.ParseIP(v6)
	}
	if data == nil {
		return nil
	}
	b := append([]byte{}, question[:2]...)                             // its id
	b = append(b, 0x84, 0, 0, 1, 0, 1, 0, 0, 0, 0)                     // an authoritative answer, one question, one record
	b = append(b, asked...)                                            // the question
	b = append(b, 0xC0, 12)                                            // its name again
	b = append(b, asked[len(name):]...)                                // its type and class
	return append(append(b, 0, 0, 0, 10, 0, byte(len(data))), data...) // 10 s
}

// responder answers questions on pc until the test ends.
func responder(t *testing.T, pc net.PacketConn, v4, v6 string) {
	t.Helper()
	var serving sync.WaitGroup
	serving.Go(func() {
		buf := make([]byte, 1500)
		for {
			n, from, err := pc.ReadFrom(buf)
			if err != nil {
				return
			}
			if b := reply(buf[:n], v4, v6); b != nil {
				_, _ = pc.WriteTo(b, from)
			}
		}
	})
	t.Cleanup(func() { pc.Close(); serving.Wait() })
}

// asking is a resolver of whoever answers at pc.
func asking(pc net.PacketConn) *net.Resolver {
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "udp", pc.LocalAddr().String())
	}}
}

func TestLocalNames(t *testing.T) {
	for _, c := range []struct{ name, v4, v6, want string }{
		{"both", "192.0.2.7", "2001:db8::7", "192.0.2.7 2001:db8::7"},
		{"no answer about IPv6", "192.0.2.7", "", "192.0.2.7"},
		{"an address of one cable", "192.0.2.7", "fe80::7", "192.0.2.7"},
	} {
		t.Run(c.name, func(t *testing.T) {
			pc, err := net.ListenPacket("udp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			responder(t, pc, c.v4, c.v6)
			began := time.Now()
			got, err := lookupLocal(t.Context(), "broker.local", asking(pc))
			slices.Sort(got)
			if err != nil || strings.Join(got, " ") != c.want {
				t.Errorf("got %v, %v", got, err)
			}
			if d := time.Since(began); d > 2*time.Second {
				t.Errorf("it took %v", d)
			}
		})
	}
	pc, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	responder(t, pc, "192.0.2.7", "")
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if got, err := lookupLocal(ctx, "nobody.local", asking(pc)); err == nil || !strings.Contains(err.Error(), "nobody on this network answers") {
		t.Errorf("a name that nobody has: %v, %v", got, err)
	}
}

var onNetworks = flag.Bool("multicast", false, "ask by multicast on this machine's networks, which no hermetic test does")

// The question really goes out by multicast, and the answer to it alone comes in.
func TestLocalNamesByMulticast(t *testing.T) {
	if !*onNetworks {
		t.Skip("it needs a network: run it with -multicast")
	}
	var on *net.Interface
	ifaces, err := net.Interfaces()
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range ifaces {
		if i.Flags&net.FlagUp != 0 && i.Flags&net.FlagMulticast != 0 && i.Flags&net.FlagLoopback == 0 {
			on = &i
			break
		}
	}
	if on == nil {
		t.Skip("no network here has multicast")
	}
	pc, err := net.ListenMulticastUDP("udp4", on, &mdns)
	if err != nil {
		t.Skipf("nobody can answer by multicast here: %v", err)
	}
	responder(t, pc, "192.0.2.7", "")
	if got, err := Lookup(t.Context(), "broker.local"); err != nil || !slices.Equal(got, []string{"192.0.2.7"}) {
		t.Errorf("got %v, %v", got, err)
	}
}
