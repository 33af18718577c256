package vpi

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net"
)

// qmp speaks QEMU's machine protocol (docs/interop/qmp-spec.txt in QEMU's source): commands in turn, events skipped.
type qmp struct {
	conn    net.Conn
	in      *bufio.Reader
	greeted bool
}

func newQMP(conn net.Conn) *qmp {
	return &qmp{conn: conn, in: bufio.NewReader(conn)}
}

// execute runs one command; a connection's first is preceded by the capabilities exchange the protocol demands.
func (q *qmp) execute(ctx context.Context, command string, args any) (json.RawMessage, error) {
	if err := deadline(ctx, q.conn); err != nil {
		return nil, err
	}
	if !q.greeted {
		if _, err := q.in.ReadBytes('\n'); err != nil {
			return nil, fmt.Errorf("QEMU does not greet: %w", err)
		}
		if _, err := q.command("qmp_capabilities", nil); err != nil {
			return nil, err
		}
		q.greeted = true
	}
	return q.command(command, args)
}

func (q *qmp) command(name string, args any) (json.RawMessage, error) {
	req := map[string]any{"execute": name}
	if args != nil {
		req["arguments"] = args
	}
	line, err := json.Marshal(req)
	if err != nil {
		return nil, err
	}
	if _, err := q.conn.Write(append(line, '\n')); err != nil {
		return nil, fmt.Errorf("cannot send %s to QEMU: %w", name, err)
	}
	for {
		line, err := q.in.ReadBytes('\n')
		if err != nil {
			return nil, fmt.Errorf("no answer from QEMU to %s: %w", name, err)
		}
		var reply struct {
			Return json.RawMessage
			Error  *struct{ Desc string }
			Event  string
		}
		if err := json.Unmarshal(line, &reply); err != nil {
			return nil, fmt.Errorf("cannot read QEMU's answer to %s: %w", name, err)
		}
		switch {
		case reply.Event != "":
		case reply.Error != nil:
			return nil, fmt.Errorf("QEMU refuses %s: %s", name, reply.Error.Desc)
		default:
			return reply.Return, nil
		}
	}
}
