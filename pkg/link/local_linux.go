package link

import (
	"errors"
	"fmt"
	"net"
	"os"

	"golang.org/x/sys/unix"
)

// openMulticast makes the socket without bind(2), which a hardened unit forbids: sending gives it a port.
func openMulticast() (net.Conn, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("cannot ask by multicast: %w", err)
	}
	f := os.NewFile(uintptr(fd), "mdns")
	defer f.Close() // FilePacketConn has a descriptor of its own
	pc, err := net.FilePacketConn(f)
	if err != nil {
		return nil, fmt.Errorf("cannot ask by multicast: %w", err)
	}
	c := pc.(*net.UDPConn)
	return multicast{c, func(b []byte) error { return everywhere(c, b) }}, nil
}

// everywhere sends b on each network that has multicast: an isolated one has no default route to send by.
func everywhere(c *net.UDPConn, b []byte) error {
	ifaces, err := net.Interfaces()
	if err != nil {
		return err
	}
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	sent, errs := false, error(nil)
	const want = net.FlagUp | net.FlagMulticast
	for _, i := range ifaces {
		if i.Flags&want != want || i.Flags&net.FlagLoopback != 0 {
			continue
		}
		var errSet error
		err := raw.Control(func(fd uintptr) {
			errSet = unix.SetsockoptIPMreqn(int(fd), unix.IPPROTO_IP, unix.IP_MULTICAST_IF, &unix.IPMreqn{Ifindex: int32(i.Index)})
		})
		if err = errors.Join(err, errSet); err == nil {
			_, err = c.WriteToUDP(b, &mdns)
		}
		sent = sent || err == nil
		errs = errors.Join(errs, err)
	}
	switch {
	case sent:
		return nil
	case errs == nil:
		return errors.New("no network has multicast")
	}
	return errs
}
