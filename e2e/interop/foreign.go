//go:build interop

package interop

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"
)

// Foreign is a peer of another language: a process that obeys one line at a time.
type Foreign struct {
	name  string
	in    io.WriteCloser
	lines chan string // what it says; closed at its end

	mu   sync.Mutex // one command at a time
	said locked
}

// locked is a buffer for what a process says to standard error.
type locked struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *locked) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *locked) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// patience is how long a peer may take for one command. A JVM on a busy machine needs seconds to start.
const patience = 60 * time.Second

// Start starts a peer, which ends with the test, and waits until it says that it is ready.
func Start(t testing.TB, cmd *exec.Cmd) *Foreign {
	t.Helper()
	f := &Foreign{name: strings.Join(cmd.Args, " "), lines: make(chan string, 16)}
	if len(f.name) > 100 {
		f.name = "…" + f.name[len(f.name)-100:]
	}
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr, f.in = &f.said, in
	if err := cmd.Start(); err != nil {
		t.Fatalf("cannot start %s: %v", f.name, err)
	}
	read := make(chan struct{})
	go func() {
		defer close(read)
		defer close(f.lines)
		for s := bufio.NewScanner(out); s.Scan(); {
			f.lines <- s.Text()
		}
	}()
	t.Cleanup(func() {
		in.Close() // which ends it
		kill := time.AfterFunc(5*time.Second, func() { cmd.Process.Kill() })
		for range f.lines {
		}
		<-read
		_ = cmd.Wait()
		kill.Stop()
		if t.Failed() {
			t.Logf("%s said:\n%s", f.name, f.said.String())
		}
	})
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if line, err := f.line(ctx); err != nil || line != "ready" {
		t.Fatalf("%s is not ready: %q, %v\n%s", f.name, line, err, f.said.String())
	}
	return f
}

func (f *Foreign) line(ctx context.Context) (string, error) {
	select {
	case line, ok := <-f.lines:
		if !ok {
			return "", fmt.Errorf("%s has ended", f.name)
		}
		return line, nil
	case <-ctx.Done():
		return "", context.Cause(ctx)
	}
}

// Do has it obey one command, and returns what follows its "ok".
func (f *Foreign) Do(ctx context.Context, format string, args ...any) (string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	command := fmt.Sprintf(format, args...)
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if _, err := fmt.Fprintln(f.in, command); err != nil {
		return "", fmt.Errorf("%s: %w", command, err)
	}
	line, err := f.line(ctx)
	if err != nil {
		return "", fmt.Errorf("%s: %w", command, err)
	}
	if rest, ok := strings.CutPrefix(line, "ok"); ok {
		return strings.TrimSpace(rest), nil
	}
	return "", fmt.Errorf("%s: %s", command, line)
}

// Must is Do where anything else but want fails the test.
func (f *Foreign) Must(t testing.TB, want, format string, args ...any) {
	t.Helper()
	if got, err := f.Do(t.Context(), format, args...); err != nil || got != want {
		t.Errorf("%s: got %q, want %q; %v", fmt.Sprintf(format, args...), got, want, err)
	}
}

// freePort returns an address that nobody listens on. Somebody else might take it first; on loopback nobody does.
func freePort(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}
