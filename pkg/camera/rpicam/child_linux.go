package rpicam

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/perchcam/perch/pkg/camera"
)

// child is a running program in a process group of its own. The order is
// start, read out, end.
type child struct {
	cmd    *exec.Cmd
	out    *os.File
	said   chan string // what it said on standard error, as one line, when that is closed
	err    *os.File
	unhook func() bool   // of the context
	killed chan struct{} // closed when the context's end has killed it
	state  error         // how it exited; valid after end
}

// start runs a program until it ends or ctx does.
func start(ctx context.Context, path string, args ...string) (*child, error) {
	fail := func(err error) (*child, error) {
		return nil, fmt.Errorf("cannot start %s: %w", path, err)
	}
	out, outW, err := os.Pipe()
	if err != nil {
		return fail(err)
	}
	defer outW.Close()
	errR, errW, err := os.Pipe()
	if err != nil {
		out.Close()
		return fail(err)
	}
	defer errW.Close()
	widen(out)
	c := &child{cmd: exec.Command(path, args...), out: out, err: errR, said: make(chan string, 1), killed: make(chan struct{})}
	c.cmd.Env = environment(os.Environ())
	c.cmd.Stdout, c.cmd.Stderr = outW, errW // files, so that Wait has nothing to copy and cannot hang on a grandchild
	c.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := c.cmd.Start(); err != nil {
		out.Close()
		errR.Close()
		return fail(err)
	}
	go func() { c.said <- summary(errR) }()
	c.unhook = context.AfterFunc(ctx, func() {
		defer close(c.killed)
		c.kill()
	})
	return c, nil
}

// kill ends the whole group at once. The kernel closes the camera for it;
// libcamera's own way of stopping can hang (picamera2 issue 1264). The group
// exists until the child has been reaped, so this never hits a stranger.
func (c *child) kill() { syscall.Kill(-c.cmd.Process.Pid, syscall.SIGKILL) } // ESRCH: all gone

// grace is how long a program that has closed its output may take to exit.
const grace = 500 * time.Millisecond

// end kills what is left, reaps it, and says why it ended. cause is what
// reading its output came to.
func (c *child) end(cause error) error {
	exited := errors.Is(cause, io.EOF) || errors.Is(cause, io.ErrUnexpectedEOF)
	if exited {
		c.expire()
	}
	if !c.unhook() {
		<-c.killed
	}
	c.kill()
	c.state = c.cmd.Wait()
	c.out.Close()
	c.err.Close() // a grandchild that left the group may hold the other end
	said := <-c.said
	if !exited {
		return cause
	}
	return complaint(filepath.Base(c.cmd.Path), said, c.state)
}

// expire waits until the program has exited, without reaping it, so that its
// group can still be killed by its number.
func (c *child) expire() {
	fired := make(chan struct{})
	late := time.AfterFunc(grace, func() {
		defer close(fired)
		c.kill()
	})
	for errors.Is(unix.Waitid(unix.P_PID, c.cmd.Process.Pid, nil, unix.WEXITED|unix.WNOWAIT, nil), unix.EINTR) {
	}
	if !late.Stop() {
		<-fired
	}
}

// ok tells whether the program ended well.
func (c *child) ok() bool { return c.state == nil }

var (
	ansi   = regexp.MustCompile(`\x1b\[[0-9;]*[A-Za-z]`)
	header = regexp.MustCompile(`^\[\d+:\d+:\d+\.\d+\] \[\d+\]\s*`) // [0:02:11.883943943] [1650]
	alarm  = regexp.MustCompile(`(?i)error|fail|fatal|exception|timed? ?out|in use|busy|cannot|unable|unrecogni|invalid`)
)

// summary reads standard error to its end and gives the line that matters:
// the last that sounds like an error, else the last. libcamera greets with
// several lines on every start and complains in many.
func summary(r io.Reader) string {
	var last, worst string
	lines := bufio.NewReaderSize(r, 1024)
	for {
		line, err := lines.ReadSlice('\n')
		text := ansi.ReplaceAllString(string(line), "")
		text = header.ReplaceAllString(text, "")
		text = strings.TrimSpace(strings.Map(func(r rune) rune {
			if r < ' ' || r == 0x7f {
				return ' '
			}
			return r
		}, strings.ToValidUTF8(text, "?")))
		if text != "" {
			if len(text) > 200 {
				text = strings.ToValidUTF8(text[:200], "") + "…"
			}
			last = text
			if alarm.MatchString(text) {
				worst = text
			}
		}
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			break
		}
	}
	if worst != "" {
		return worst
	}
	return last
}

// complaint makes the error of a program that ended by itself. The program
// tells a missing and a busy camera by its words only (rpicam-apps
// core/rpicam_app.cpp, libcamera pipeline_handler.cpp).
func complaint(program, said string, state error) error {
	how := "ended by itself"
	if state != nil {
		how = "ended with " + state.Error()
	}
	if said != "" {
		how += ": " + said
	}
	low := strings.ToLower(said)
	has := func(words ...string) bool {
		for _, w := range words {
			if strings.Contains(low, w) {
				return true
			}
		}
		return false
	}
	switch {
	case has("no cameras available", "selected camera is not available"):
		return fmt.Errorf("%w (%s %s)", camera.ErrAbsent, program, how)
	case has("in use by another process", "failed to acquire camera", "resource busy"):
		return fmt.Errorf("%w (%s %s)", camera.ErrBusy, program, how)
	case has("permission denied"):
		return fmt.Errorf("%w (%s %s)", camera.ErrDenied, program, how)
	}
	return fmt.Errorf("%s %s", program, how)
}

// environment keeps this program's secrets from the child.
func environment(env []string) []string {
	var kept []string
	for _, e := range env {
		name, _, _ := strings.Cut(e, "=")
		switch {
		case strings.HasPrefix(name, "PERCH_"), name == "CREDENTIALS_DIRECTORY", name == "NOTIFY_SOCKET",
			strings.HasPrefix(name, "WATCHDOG_"), strings.HasPrefix(name, "LISTEN_"):
			continue
		}
		kept = append(kept, e)
	}
	return kept
}

// widen makes a pipe hold a whole picture, so that the program need not wait
// for us in the middle of one. Where the limit is lower, it stays as it is.
func widen(f *os.File) {
	c, err := f.SyscallConn()
	if err != nil {
		return
	}
	c.Control(func(fd uintptr) { unix.FcntlInt(fd, unix.F_SETPIPE_SZ, 1<<20) })
}
