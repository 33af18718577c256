// Package proc runs Perch's own programs as a person would, for the demo and the end-to-end tests.
//
// Start starts one with its own environment; Line waits for something it says; Stop asks it to end and reports how it
// ended. A program never outlives the one that started it.
package proc

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"
)

// stopLimit is how long a program may take to end after SIGTERM before it is killed.
const stopLimit = 5 * time.Second

// Process is a running program whose two outputs are collected.
type Process struct {
	name   string
	cmd    *exec.Cmd
	exited chan struct{} // closed when the program has ended and exit is set
	exit   error

	mu    sync.Mutex
	text  []byte
	grown chan struct{} // closed, and replaced, when text grew
}

// Start starts the program at path. Of the environment it sees PATH, HOME and env only, so that a setting of the person
// who runs a test does not reach it.
func Start(path string, args, env []string) (*Process, error) {
	p := &Process{name: filepath.Base(path), cmd: exec.Command(path, args...), exited: make(chan struct{}), grown: make(chan struct{})}
	p.cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + os.Getenv("HOME")}, env...)
	p.cmd.Stdout, p.cmd.Stderr = p, p
	// The kernel kills the program when the thread that started it is gone, so this goroutine keeps its thread.
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	started := make(chan error)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := p.cmd.Start()
		started <- err
		if err == nil {
			p.exit = p.cmd.Wait()
			close(p.exited)
		}
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("cannot start %s: %w", p.name, err)
	}
	return p, nil
}

// Write takes what the program says; exec.Cmd calls it.
func (p *Process) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.text = append(p.text, b...)
	close(p.grown)
	p.grown = make(chan struct{})
	return len(b), nil
}

// Line returns the first whole line the program has said or says that contains text.
func (p *Process) Line(ctx context.Context, text string) (string, error) {
	for {
		p.mu.Lock()
		said, grown := string(p.text), p.grown
		p.mu.Unlock()
		for line := range strings.Lines(said) {
			if strings.Contains(line, text) && strings.HasSuffix(line, "\n") {
				return strings.TrimSpace(line), nil
			}
		}
		select {
		case <-grown:
		case <-p.exited:
			return "", fmt.Errorf("%s ended before it said %q (%v):\n%s", p.name, text, p.exit, p.Said())
		case <-ctx.Done():
			return "", fmt.Errorf("%s has not said %q: %w; it said:\n%s", p.name, text, context.Cause(ctx), p.Said())
		}
	}
}

// Said is all that the program has said.
func (p *Process) Said() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return string(p.text)
}

// Done is closed when the program has ended.
func (p *Process) Done() <-chan struct{} { return p.exited }

// Stop sends SIGTERM, and SIGKILL if that does not end the program; it returns how it ended.
func (p *Process) Stop() error {
	p.cmd.Process.Signal(syscall.SIGTERM) // it may have ended already
	select {
	case <-p.exited:
	case <-time.After(stopLimit):
		p.cmd.Process.Kill()
		<-p.exited
		return fmt.Errorf("%s did not end within %s of SIGTERM", p.name, stopLimit)
	}
	if p.exit != nil {
		return fmt.Errorf("%s: %w", p.name, p.exit)
	}
	return nil
}

// Broker starts a perch-broker on a free loopback port and returns its address, as tcp://127.0.0.1:PORT.
func Broker(ctx context.Context, path string) (*Process, string, error) {
	p, err := Start(path, []string{"--listen", "tcp://127.0.0.1:0"}, nil)
	if err != nil {
		return nil, "", err
	}
	line, err := p.Line(ctx, "msg=listening")
	if err != nil {
		return nil, "", errors.Join(err, p.Stop())
	}
	for field := range strings.FieldsSeq(line) {
		if url, ok := strings.CutPrefix(field, "url="); ok {
			return p, url, nil
		}
	}
	return nil, "", errors.Join(fmt.Errorf("%s does not say where it listens: %s", p.name, line), p.Stop())
}
