//go:build !linux

package link

import "net"

func openMulticast() (net.Conn, error) {
	c, err := net.ListenUDP("udp4", nil)
	if err != nil {
		return nil, err
	}
	return multicast{c, func(b []byte) error {
		_, err := c.WriteToUDP(b, &mdns)
		return err
	}}, nil
}
