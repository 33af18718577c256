// Command ctl runs inside the virtual Pi and carries out what the test on the host asks, one request at a time.
//
// Requests and answers are JSON, one a line, on the virtio serial port named by the first argument. The port is opened
// once and stays open: it can be opened by one program only, and bytes that arrive while nobody has it open are lost.
// While no host program is connected, reads return end of file.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"time"
)

// request is what the host sends: a script for sh and the seconds it may take.
type request struct {
	ID      int    `json:"id"`
	Script  string `json:"script"`
	Seconds int    `json:"seconds"`
}

// answer is what goes back. Exit is the script's status, or -1 with Error when it could not be run to its end.
type answer struct {
	ID    int    `json:"id"`
	Exit  int    `json:"exit"`
	Out   string `json:"out"`
	Error string `json:"error,omitempty"`
}

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: ctl PORT")
		os.Exit(2)
	}
	port, err := os.OpenFile(os.Args[1], os.O_RDWR, 0)
	if err != nil {
		fmt.Fprintln(os.Stderr, "ctl:", err)
		os.Exit(1)
	}
	fmt.Fprintln(os.Stderr, "ctl:", serve(port))
	os.Exit(1)
}

// serve answers requests for ever; it returns the error that ended it.
func serve(port io.ReadWriter) error {
	in := bufio.NewReader(patient{port})
	for {
		line, err := in.ReadBytes('\n')
		if err != nil {
			return err
		}
		var req request
		if json.Unmarshal(line, &req) != nil {
			continue // the tail of a request sent to this guest before its last reset
		}
		out, err := json.Marshal(run(req))
		if err != nil {
			return err
		}
		if _, err := port.Write(append(out, '\n')); err != nil {
			return err
		}
	}
}

// run collects the output in a file, so that a script's background job does not hold the answer back.
func run(req request) answer {
	a := answer{ID: req.ID, Exit: -1}
	out, err := os.CreateTemp("/run", "ctl-*")
	if err != nil {
		a.Error = err.Error()
		return a
	}
	defer out.Close()
	defer os.Remove(out.Name())

	ctx, cancel := context.WithTimeout(context.Background(), time.Duration(req.Seconds)*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, "/bin/sh", "-c", req.Script)
	cmd.Stdout, cmd.Stderr = out, out
	err = cmd.Run()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		a.Exit = exit.ExitCode()
	} else if err != nil {
		a.Error = err.Error()
	} else {
		a.Exit = 0
	}
	if ctx.Err() != nil {
		a.Error = fmt.Sprintf("not done after %d s", req.Seconds)
	}
	text, err := os.ReadFile(out.Name())
	if err != nil && a.Error == "" {
		a.Error = err.Error()
	}
	a.Out = string(text)
	return a
}

// patient reads on where a virtio port says end of file because no host program is connected.
type patient struct{ r io.Reader }

func (p patient) Read(b []byte) (int, error) {
	for {
		n, err := p.r.Read(b)
		if n > 0 || (err != nil && err != io.EOF) {
			return n, err
		}
		time.Sleep(100 * time.Millisecond)
	}
}
