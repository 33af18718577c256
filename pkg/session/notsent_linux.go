package session

import (
	"net"
	"syscall"
)

const tcpNotSentLowat = 25 // TCP_NOTSENT_LOWAT, linux/tcp.h; absent from package syscall

func setNotSent(tc *net.TCPConn, n int) {
	if n <= 0 {
		return
	}
	if raw, err := tc.SyscallConn(); err == nil {
		// A kernel without it (before 3.12) only makes small answers wait longer.
		_ = raw.Control(func(fd uintptr) {
			_ = syscall.SetsockoptInt(int(fd), syscall.IPPROTO_TCP, tcpNotSentLowat, n)
		})
	}
}
