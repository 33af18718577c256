package proc

import (
	"context"
	"strings"
	"testing"
)

func TestLineWaitsForAWholeLine(t *testing.T) {
	p, err := Start("/bin/sh", []string{"-c", "printf 'one=1 tw'; echo 'o=2'; echo $SECRET$KEPT; exec sleep 60"}, []string{"KEPT=kept"})
	if err != nil {
		t.Fatal(err)
	}
	line, err := p.Line(t.Context(), "one=")
	if err != nil || line != "one=1 two=2" {
		t.Errorf("got %q, %v; want the whole line", line, err)
	}
	if _, err := p.Line(t.Context(), "kept"); err != nil {
		t.Error(err)
	}
	if err := p.Stop(); err == nil || !strings.Contains(err.Error(), "terminated") {
		t.Errorf("Stop says %v; want that a signal ended it", err)
	}
}

func TestLineOfAnEndedProgram(t *testing.T) {
	p, err := Start("/bin/sh", []string{"-c", "echo last words; exit 3"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	_, err = p.Line(t.Context(), "never said")
	if err == nil || !strings.Contains(err.Error(), "exit status 3") || !strings.Contains(err.Error(), "last words") {
		t.Errorf("got %v; want its status and what it said", err)
	}
	if err := p.Stop(); err == nil {
		t.Error("Stop of a program that failed says nothing")
	}
}

func TestLineGivesUpWithItsContext(t *testing.T) {
	p, err := Start("/bin/sh", []string{"-c", "echo hello; exec sleep 60"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Stop()
	if _, err := p.Line(t.Context(), "hello"); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := p.Line(ctx, "never said"); err == nil || !strings.Contains(err.Error(), "hello") {
		t.Errorf("got %v; want what it did say", err)
	}
}

func TestEnvironmentIsOnlyWhatIsGiven(t *testing.T) {
	t.Setenv("PERCH_BROKER", "tcp://somewhere")
	p, err := Start("/usr/bin/env", nil, []string{"PERCH_DEVICE=x"})
	if err != nil {
		t.Fatal(err)
	}
	<-p.Done()
	if said := p.Said(); !strings.Contains(said, "PERCH_DEVICE=x\n") || strings.Contains(said, "PERCH_BROKER") {
		t.Errorf("its environment was:\n%s", said)
	}
}
