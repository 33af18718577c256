package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// child is a process that was started here and ends with us. Children with a role of ours say one line of JSON when they
// are ready, and then answer each line of JSON on their standard input with one on their standard output.
type child struct {
	name string
	addr string // where it listens, if it said so
	cmd  *exec.Cmd
	in   io.WriteCloser
	out  *bufio.Reader
	errs *tail
	done chan struct{}
}

// tail keeps the last of what a child says on its standard error.
type tail struct {
	mu   sync.Mutex
	text []byte
}

func (t *tail) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.text = append(t.text, b...)
	if n := len(t.text); n > 64<<10 {
		t.text = append([]byte(nil), t.text[n-32<<10:]...)
	}
	return len(b), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(t.text)
}

// ready is the first line of a child with a role.
type ready struct{ Addr string }

const patience = time.Minute // for one answer of a child, beyond what it was asked to take

// program starts any program.
func program(name, path string, env []string, args ...string) (*child, error) {
	c := &child{name: name, cmd: exec.Command(path, args...), errs: &tail{}, done: make(chan struct{})}
	c.cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + os.Getenv("HOME")}, env...)
	c.cmd.Stderr = c.errs
	var err error
	if c.in, err = c.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := c.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	c.out = bufio.NewReaderSize(out, 1<<20)
	c.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	started := make(chan error)
	go func() {
		runtime.LockOSThread() // Pdeathsig is of the thread that started it
		err := c.cmd.Start()
		started <- err
		if err == nil {
			_ = c.cmd.Wait()
			close(c.done)
		}
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("cannot start %s: %w", name, err)
	}
	return c, nil
}

// start starts a child with a role and waits until it is ready.
func start(role string, args ...string) (*child, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	return startAs(self, role, args...)
}

// startAs starts one of another build of this program.
func startAs(self, role string, args ...string) (*child, error) {
	c, err := program(role, self, nil, append([]string{"role", role}, args...)...)
	if err != nil {
		return nil, err
	}
	var r ready
	if err := c.read(&r, patience); err != nil {
		return nil, errors.Join(err, c.stop())
	}
	c.addr = r.Addr
	return c, nil
}

// ask sends a command and reads the answer, for which the child may take as long as limit.
func (c *child) ask(command, answer any, limit time.Duration) error {
	b, err := json.Marshal(command)
	if err != nil {
		return err
	}
	if _, err := c.in.Write(append(b, '\n')); err != nil {
		return fmt.Errorf("%s has ended: %w\n%s", c.name, err, c.errs)
	}
	return c.read(answer, limit+patience)
}

func (c *child) read(v any, limit time.Duration) error {
	kill := time.AfterFunc(limit, func() { _ = c.cmd.Process.Kill() })
	defer kill.Stop()
	line, err := c.out.ReadBytes('\n')
	if err != nil {
		return fmt.Errorf("%s has ended, or said nothing for %s: %w\n%s", c.name, limit, err, c.errs)
	}
	var failed struct{ Error string }
	if json.Unmarshal(line, &failed) == nil && failed.Error != "" {
		return fmt.Errorf("%s: %s", c.name, failed.Error)
	}
	return json.Unmarshal(line, v)
}

func (c *child) pid() int { return c.cmd.Process.Pid }

// stop ends the child: children with a role end with their standard input.
func (c *child) stop() error {
	_ = c.in.Close()
	_ = c.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-c.done:
	case <-time.After(8 * time.Second):
		_ = c.cmd.Process.Kill()
		<-c.done
	}
	return nil
}

// kill is kill -9.
func (c *child) kill() {
	_ = c.cmd.Process.Kill()
	<-c.done
}

// crew stops what was started, the last first.
type crew []*child

func (c *crew) add(k *child, err error) (*child, error) {
	if err == nil {
		*c = append(*c, k)
	}
	return k, err
}

func (c *crew) stop() {
	for i := len(*c) - 1; i >= 0; i-- {
		_ = (*c)[i].stop()
	}
	*c = nil
}

// listening waits until something listens on addr.
func listening(ctx context.Context, addr string) error {
	for end := time.Now().Add(10 * time.Second); ; {
		nc, err := net.Dial("tcp", addr)
		if err == nil {
			return nc.Close()
		}
		if ctx.Err() != nil || time.Now().After(end) {
			return err
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// freeAddr is a loopback address on which nothing listens now.
func freeAddr() (string, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer ln.Close()
	return ln.Addr().String(), nil
}

// cpu is the time a process has run on a CPU.
func cpu(pid int) time.Duration {
	var sum time.Duration
	tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid))
	for _, t := range tasks {
		b, _ := os.ReadFile(t)
		if f := bytes.Fields(b); len(f) > 0 {
			ns, _ := strconv.ParseInt(string(f[0]), 10, 64)
			sum += time.Duration(ns)
		}
	}
	return sum
}

// memory is a field of /proc/PID/status, such as VmRSS, in bytes.
func memory(pid int, field string) int {
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	for line := range strings.Lines(string(b)) {
		if rest, ok := strings.CutPrefix(line, field+":"); ok {
			n, _ := strconv.Atoi(strings.Fields(rest)[0])
			return n << 10
		}
	}
	return 0
}

// The other side: what a child with a role does.

// say writes a line.
func say(v any) {
	b, err := json.Marshal(v)
	if err != nil {
		b, _ = json.Marshal(struct{ Error string }{err.Error()})
	}
	_, _ = os.Stdout.Write(append(b, '\n'))
}

// welcome says where ln listens, and does what is to be done for each connection in a goroutine of its own.
func welcome(ln net.Listener, do func(net.Conn)) {
	say(ready{Addr: ln.Addr().String()})
	go func() {
		for {
			nc, err := ln.Accept()
			if err != nil {
				return
			}
			go do(nc)
		}
	}()
}

// obey answers commands until the input ends. Without do it only waits for that.
func obey[C any](do func(C) (any, error)) error {
	in := bufio.NewScanner(os.Stdin)
	for in.Scan() {
		var c C
		err := json.Unmarshal(in.Bytes(), &c)
		var v any
		if err == nil {
			v, err = do(c)
		}
		if err != nil {
			v = struct{ Error string }{err.Error()}
		}
		say(v)
	}
	return in.Err()
}

// stay keeps a child alive until its input ends.
func stay() error {
	_, err := io.Copy(io.Discard, os.Stdin)
	return err
}
