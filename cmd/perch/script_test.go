package main

import (
	"context"
	"errors"
	"os/exec"
	"strconv"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/perchcam/perch/pkg/client/clienttest"
	"github.com/perchcam/perch/pkg/peer"
)

func TestMain(m *testing.M) { testscript.Main(m, map[string]func(){"perch": main}) }

// TestScripts runs sessions that a person could have typed. Each has a broker of its own on loopback, named by
// PERCH_BROKER, and the devices it asks for:
//
//	device NAME           a device joins
//	silent NAME           a device joins that never answers
//	away NAME             it loses its link
//	gone                  the broker stops
//	exits CODE perch …    as exec, with this exit code
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata",
		Setup: func(env *testscript.Env) error {
			w := clienttest.Listen(env.T().(testing.TB))
			env.Values[world{}] = &stage{w, map[string]*clienttest.Device{}}
			env.Setenv("PERCH_BROKER", w.URL())
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"device": func(ts *testscript.TestScript, _ bool, args []string) { join(ts, &clienttest.Device{Name: args[0]}) },
			"silent": func(ts *testscript.TestScript, _ bool, args []string) {
				join(ts, &clienttest.Device{Name: args[0], Answer: silence})
			},
			"away": func(ts *testscript.TestScript, _ bool, args []string) {
				at(ts).devices[args[0]].Network().Down(true)
			},
			"gone":  func(ts *testscript.TestScript, _ bool, _ []string) { at(ts).Stop() },
			"exits": exits,
		},
	})
}

type world struct{}

type stage struct {
	*clienttest.World
	devices map[string]*clienttest.Device
}

func at(ts *testscript.TestScript) *stage { return ts.Value(world{}).(*stage) }

func join(ts *testscript.TestScript, d *clienttest.Device) { at(ts).devices[d.Name] = at(ts).Join(d) }

func silence(ctx context.Context, _ string, _ []byte) (peer.Payload, bool, error) {
	<-ctx.Done()
	return peer.Payload{}, true, ctx.Err()
}

func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE COMMAND…")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	code := 0
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		e, ok := errors.AsType[*exec.ExitError](err)
		if !ok {
			ts.Fatalf("%v", err)
		}
		code = e.ExitCode()
	}
	if code != want {
		ts.Fatalf("exit code %d, not %d", code, want)
	}
}
