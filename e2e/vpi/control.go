package vpi

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"time"
)

// control speaks with the guest's control program (guest/ctl): JSON requests and answers, one a line, in turn.
type control struct {
	conn net.Conn
	in   *bufio.Reader
	last int // the newest request's id
}

func newControl(conn net.Conn) *control {
	return &control{conn: conn, in: bufio.NewReader(conn)}
}

// answer is guest/ctl's.
type answer struct {
	ID    int    `json:"id"`
	Exit  int    `json:"exit"`
	Out   string `json:"out"`
	Error string `json:"error"`
}

// greet asks until the guest answers: what is sent before its program has opened the port is lost.
func (c *control) greet(ctx context.Context) error {
	for {
		try, cancel := context.WithTimeout(ctx, 500*time.Millisecond)
		_, err := c.run(try, "true")
		cancel()
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if !errors.Is(err, os.ErrDeadlineExceeded) && !errors.Is(err, context.DeadlineExceeded) {
			return err
		}
	}
}

func (c *control) run(ctx context.Context, script string) (string, error) {
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, runLimit)
		defer cancel()
	}
	if err := deadline(ctx, c.conn); err != nil {
		return "", err
	}
	limit, _ := ctx.Deadline()
	c.last++
	req, err := json.Marshal(map[string]any{"id": c.last, "script": script, "seconds": int(time.Until(limit).Seconds()) + 1})
	if err != nil {
		return "", err
	}
	// The first newline ends what a reset may have cut off.
	if _, err := c.conn.Write(append(append([]byte{'\n'}, req...), '\n')); err != nil {
		return "", fmt.Errorf("cannot reach the guest: %w", err)
	}
	for {
		line, err := c.in.ReadBytes('\n')
		if err != nil {
			return "", fmt.Errorf("no answer from the guest to %q: %w", firstLine(script), err)
		}
		var a answer
		if json.Unmarshal(line, &a) != nil || a.ID != c.last {
			continue // of a request given up earlier, or cut off by a reset
		}
		if a.Error != "" {
			return a.Out, fmt.Errorf("guest: %q: %s\n%s", firstLine(script), a.Error, a.Out)
		}
		if a.Exit != 0 {
			return a.Out, fmt.Errorf("guest: %q ended with status %d\n%s", firstLine(script), a.Exit, a.Out)
		}
		return a.Out, nil
	}
}

// interrupt makes a waiting run return.
func (c *control) interrupt() { c.conn.SetDeadline(time.Unix(1, 0)) }

func firstLine(s string) string {
	line, _, _ := strings.Cut(strings.TrimSpace(s), "\n")
	return line
}
