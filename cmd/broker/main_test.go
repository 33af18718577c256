package main

import (
	"bufio"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"perch-broker": main})
}

// TestScripts plays what a person types and compares what is seen.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{Dir: "testdata"})
}

// It says where it listens once it does, serves there, and ends in good order when it is told to.
func TestServe(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	cmd := exec.CommandContext(t.Context(), self)
	cmd.Args = []string{"perch-broker", "--listen", "tcp://127.0.0.1:0"} // see testscript.Main
	cmd.Stderr = w
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	w.Close()
	lines := bufio.NewScanner(r)
	if !lines.Scan() {
		t.Fatal("it says nothing")
	}
	_, url, ok := strings.Cut(lines.Text(), "level=INFO msg=listening url=tcp://")
	if !ok {
		t.Fatalf("the first line is %q", lines.Text())
	}
	nc, err := net.Dial("tcp", url)
	if err != nil {
		t.Fatal(err)
	}
	nc.Close()

	// The port is taken.
	busy := exec.CommandContext(t.Context(), self)
	busy.Args = []string{"perch-broker", "--listen", "tcp://" + url}
	out, err := busy.CombinedOutput()
	if busy.ProcessState.ExitCode() != exitFailed || !strings.Contains(string(out), "cannot listen on tcp://"+url) {
		t.Errorf("a second one ends with %v: %s", err, out)
	}

	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	var last string
	for lines.Scan() {
		last = lines.Text()
	}
	if err := cmd.Wait(); err != nil || !strings.HasSuffix(last, "msg=stopped") {
		t.Errorf("it ends with %v, and last says %q", err, last)
	}
}
