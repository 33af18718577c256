package main

import (
	"bytes"
	"encoding/json"
	"io"
	"strings"
	"testing"
)

// pipe reads from one string and keeps what is written.
type pipe struct {
	io.Reader
	bytes.Buffer
}

func (p *pipe) Read(b []byte) (int, error)  { return p.Reader.Read(b) }
func (p *pipe) Write(b []byte) (int, error) { return p.Buffer.Write(b) }

// broken ends a port's input with an error: its end of file only means that no host is there.
type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, io.ErrClosedPipe }

func TestServe(t *testing.T) {
	port := &pipe{Reader: io.MultiReader(strings.NewReader(`ipt":"cut off by a reset"}

{"id":7,"script":"echo out; echo err >&2; exit 3","seconds":10}
{"id":8,"script":"sleep 5 & echo left running","seconds":10}
{"id":9,"script":"exec sleep 60","seconds":1}
`), broken{})}
	if err := serve(port); err != io.ErrClosedPipe {
		t.Fatalf("serve ended with %v", err)
	}
	want := []answer{
		{ID: 7, Exit: 3, Out: "out\nerr\n"},
		{ID: 8, Out: "left running\n"},
		{ID: 9, Exit: -1, Error: "not done after 1 s"},
	}
	for _, w := range want {
		line, err := port.ReadBytes('\n')
		if err != nil {
			t.Fatal(err)
		}
		var got answer
		if err := json.Unmarshal(line, &got); err != nil {
			t.Fatal(err)
		}
		if got != w {
			t.Errorf("got %+v, want %+v", got, w)
		}
	}
}

func TestPatientReadsOverEndOfFile(t *testing.T) {
	r := patient{io.MultiReader(&eofs{3}, strings.NewReader("x"))}
	b := make([]byte, 1)
	if n, err := r.Read(b); n != 1 || err != nil || b[0] != 'x' {
		t.Errorf("got %d %v %q", n, err, b)
	}
}

// eofs returns n empty reads with no error, as a port does that is polled.
type eofs struct{ n int }

func (e *eofs) Read([]byte) (int, error) {
	if e.n--; e.n < 0 {
		return 0, io.EOF
	}
	return 0, nil
}
