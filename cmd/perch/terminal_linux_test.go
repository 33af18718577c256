package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/perchcam/perch/pkg/client/clienttest"
)

// terminalOf is a terminal that one command runs in.
type terminalOf struct {
	t   *testing.T
	cmd *exec.Cmd

	mu    sync.Mutex // guards the following
	shown bytes.Buffer
}

// inTerminal starts perch in a terminal of some columns and six lines.
func inTerminal(t *testing.T, w *clienttest.World, columns uint16, env string, args ...string) *terminalOf {
	t.Helper()
	control, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skip("there are no terminals here:", err)
	}
	n, err := unix.IoctlGetInt(int(control.Fd()), unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(int(control.Fd()), unix.TIOCSPTLCK, 0)
	}
	if err == nil {
		err = unix.IoctlSetWinsize(int(control.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: 6, Col: columns})
	}
	if err != nil {
		t.Fatal(err)
	}
	tty, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skip("there are no terminals here:", err)
	}
	x := &terminalOf{t: t, cmd: exec.Command("perch", args...)}
	x.cmd.Stdin, x.cmd.Stdout, x.cmd.Stderr = tty, tty, tty
	x.cmd.Env = append(os.Environ(), "PERCH_BROKER="+w.URL(), "GORACE=atexit_sleep_ms=0", env)
	x.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := x.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	_ = tty.Close()
	var reading sync.WaitGroup
	reading.Go(func() {
		b := make([]byte, 4096)
		for {
			n, err := control.Read(b)
			x.mu.Lock()
			x.shown.Write(b[:n])
			x.mu.Unlock()
			if err != nil { // the last program has left it
				return
			}
		}
	})
	t.Cleanup(func() {
		_ = x.cmd.Process.Kill()
		reading.Wait()
		_ = control.Close()
	})
	return x
}

// await waits until text is shown behind what was awaited before.
func (x *terminalOf) await(text string) {
	x.t.Helper()
	err := eventually(text, func() bool {
		x.mu.Lock()
		defer x.mu.Unlock()
		before, _, ok := strings.Cut(x.shown.String(), text)
		if ok {
			x.shown.Next(len(before) + len(text))
		}
		return ok
	})
	if err != nil {
		x.mu.Lock()
		defer x.mu.Unlock()
		x.t.Fatalf("%v; what is shown: %q", err, x.shown.String())
	}
}

// ends waits for the command's end.
func (x *terminalOf) ends() {
	x.t.Helper()
	if err := x.cmd.Wait(); err != nil {
		x.mu.Lock()
		defer x.mu.Unlock()
		x.t.Fatalf("%v; what is shown: %q", err, x.shown.String())
	}
}

// A terminal shows the devices in place: cut to its size, and new where something has changed.
func TestLiveDevices(t *testing.T) {
	w := clienttest.Listen(t)
	x := inTerminal(t, w, 60, "TERM=xterm", "devices", "--watch")
	x.await("no device is connected\r\n")
	w.Join(&clienttest.Device{Name: "hen-house"})
	x.await("\r\x1b[A\x1b[J") // one line up
	x.await("DEVICE      STATE    SINCE   UPTIME   VERSION   CAMERAS    …\r\n")
	x.await("hen-house   online   ")
	x.await("s      1h       1.0.0     front (patt…\r\n")
	d := w.Join(&clienttest.Device{Name: "gate"})
	x.await("\x1b[2A\x1b[J")
	x.await("gate        online ")
	d.Network().Down(true)
	x.await("gate        away ")
	for i := range 4 {
		w.Join(&clienttest.Device{Name: fmt.Sprintf("pi-%d", i)})
	}
	x.await("hen-house ")
	x.await("pi-0 ")
	x.await("… and 3 more\r\n")
	w.Stop() // the talk is above
	x.await("\x1b[5A\x1b[J")
	x.await("perch: the link to the broker is lost; trying again\r\nDEVICE ")
	if err := x.cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	x.ends()
}

// A picture goes to a terminal that can show it.
func TestSnapshotInTerminal(t *testing.T) {
	w := clienttest.Listen(t)
	w.Join(&clienttest.Device{Name: "hen-house"})
	x := inTerminal(t, w, 80, "TERM=xterm-kitty", "snapshot", "hen-house")
	x.await("\x1b_Ga=T,f=100,q=2,m=0;iVBORw0KGgo")
	x.await("\x1b\\")
	x.await("perch: hen-house: 64 x 48 jpeg, ")
	x.ends()
}

// Where a progress bar is shown, what is said stands above it.
func TestBarInTerminal(t *testing.T) {
	w := clienttest.Listen(t)
	s := &stage{World: w, devices: map[string]*clienttest.Device{}, canceled: make(chan string, 100)}
	for _, name := range []string{"gate", "hen-house"} {
		if err := s.join([]string{name}); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.joinSilent([]string{"coop"}); err != nil {
		t.Fatal(err)
	}
	x := inTerminal(t, w, 80, "TERM=xterm", "snapshot", "--all", "-o", t.TempDir(), "--timeout", "3s")
	x.await("2 of 3 pictures [")
	x.await("perch: coop: the snapshot took too long\r\n")
	x.await("perch: 2 pictures of 3 devices in ")
	x.await("perch: 1 of 3 devices failed")
	if err := x.cmd.Wait(); err == nil || x.cmd.ProcessState.ExitCode() != exitTimeout {
		t.Errorf("it ended with %v", err)
	}
}
