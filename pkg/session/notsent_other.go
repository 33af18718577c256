//go:build !linux

package session

import "net"

// setNotSent keeps the send buffer small where the kernel has no TCP_NOTSENT_LOWAT that Go names.
func setNotSent(tc *net.TCPConn, n int) {
	if n > 0 {
		_ = tc.SetWriteBuffer(4 * n)
	}
}
