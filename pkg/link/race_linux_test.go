package link

import (
	"net"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// swallow takes connections to a port of ::1 into a queue that is full, so that the kernel answers the next ones with nothing.
func swallow(t *testing.T, port int) {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Skipf("there is no IPv6 here: %v", err)
	}
	t.Cleanup(func() { _ = unix.Close(fd) })
	at := &unix.SockaddrInet6{Port: port}
	at.Addr[15] = 1
	if err := unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 1); err != nil {
		t.Fatal(err)
	}
	if err := unix.Bind(fd, at); err != nil {
		t.Skipf("there is no ::1 here: %v", err)
	}
	if err := unix.Listen(fd, 0); err != nil {
		t.Fatal(err)
	}
	to := net.TCPAddr{IP: net.IPv6loopback, Port: port}
	for range 10 {
		nc, err := net.DialTimeout("tcp", to.String(), 200*time.Millisecond)
		if err != nil {
			return
		}
		t.Cleanup(func() { nc.Close() })
	}
	t.Fatal("the queue does not fill")
}

// A name with an IPv6 address that swallows everything and an IPv4 address that answers: the second is tried before the first is
// given up (RFC 8305).
func TestIPv4AndIPv6AreRaced(t *testing.T) {
	v4, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer v4.Close()
	port := v4.Addr().(*net.TCPAddr).Port
	swallow(t, port)
	names, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	responder(t, names, "127.0.0.1", "::1")
	began := time.Now()
	nc, err := (&Dialer{names: asking(names)}).Dial(t.Context(), URL{Scheme: TCP, Host: "broker.test", Port: uint16(port)})
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	if d := time.Since(began); nc.RemoteAddr().(*net.TCPAddr).IP.To4() == nil || d > 2*time.Second {
		t.Errorf("connected to %v after %v", nc.RemoteAddr(), d)
	}
}
