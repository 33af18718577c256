package vpi

import (
	"context"
	"fmt"
	"net"
)

// Forward makes a TCP port of the guest one of this machine's loopback, and returns its address.
func (m *Machine) Forward(ctx context.Context, port int) (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0") // to find one that is free; QEMU takes it next
	if err != nil {
		return "", err
	}
	addr := l.Addr().String()
	l.Close()
	said, err := m.qmp.execute(ctx, "human-monitor-command", map[string]any{
		"command-line": fmt.Sprintf("hostfwd_add net tcp:%s-10.0.2.15:%d", addr, port),
	})
	if err == nil && string(said) != `""` {
		err = fmt.Errorf("cannot forward port %d of the guest: %s", port, said)
	}
	return addr, err
}
