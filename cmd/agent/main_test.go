package main

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"perch-agent": main})
}

// What a person who types perch-agent sees: testdata/*.txt.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata",
		Setup: func(env *testscript.Env) error {
			for _, line := range os.Environ() { // testscript passes few variables on, and none of ours may be among them
				if name, _, _ := strings.Cut(line, "="); strings.HasPrefix(name, "PERCH_") {
					env.Setenv(name, "")
				}
			}
			return nil
		},
		Condition: func(cond string) (bool, error) {
			path, ok := strings.CutPrefix(cond, "exists:")
			if !ok {
				return false, fmt.Errorf("unknown condition %s", cond)
			}
			_, err := os.Stat(path)
			return err == nil, nil
		},
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			// exits CODE ARGS…: run perch-agent and compare its exit code.
			"exits": func(ts *testscript.TestScript, neg bool, args []string) {
				if neg || len(args) < 1 {
					ts.Fatalf("usage: exits CODE ARGS...")
				}
				err := ts.Exec("perch-agent", args[1:]...)
				code := "0"
				if err != nil {
					code = strings.TrimPrefix(err.Error(), "exit status ")
				}
				if code != args[0] {
					ts.Fatalf("exit code %s, want %s", code, args[0])
				}
			},
		},
	})
}

func TestWrap(t *testing.T) {
	got := strings.Join(wrap("one two  three fourteen x", 9), "|")
	if want := "one two|three|fourteen|x"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
