package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"net"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/perchcam/perch/pkg/api"
	"github.com/perchcam/perch/pkg/broker/access"
	"github.com/perchcam/perch/pkg/client"
	"github.com/perchcam/perch/pkg/client/clienttest"
	"github.com/perchcam/perch/pkg/link"
	"github.com/perchcam/perch/pkg/peer"
	"github.com/perchcam/perch/pkg/wire"
)

func TestMain(m *testing.M) { testscript.Main(m, map[string]func(){"perch": main}) }

// TestScripts runs sessions that a person could have typed. Each has a broker of its own on loopback, named by
// PERCH_BROKER, and the devices it asks for:
//
//	guarded               there is another broker, which admits by credentials: viewer.token, operator.token, admin.token
//	device NAME [SEQ]     a device joins, whose camera counts from SEQ
//	farm NAME             a device joins that has sensors, an output and a log
//	still NAME            a device joins whose camera has taken one picture
//	silent NAME           a device joins that never answers
//	comes NAME ADDR FILE  a device connects to ADDR, as the lines in FILE tell it to
//	port NAME             sets a variable to a free port
//	away NAME             it loses its link
//	reboot NAME           it loses its power, and has it again
//	proxied               perch reaches the broker by a proxy
//	cut                   whose connections break
//	gone                  the broker stops
//	restart               another one takes its place, which knows nothing
//	exits CODE perch …    as exec, with this exit code
//	asked NAME ROUTE      waits until the device is asked
//	canceled NAME ROUTE   waits until the device hears that nobody wants its answer any more
//	files DIR N           waits until there are N files
//	lines FILE N          waits until it has N lines
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata",
		Setup: func(env *testscript.Env) error {
			w := clienttest.Listen(env.T().(testing.TB))
			env.Values[world{}] = &stage{World: w, t: env.T().(testing.TB), devices: map[string]*clienttest.Device{}, canceled: make(chan string, 100)}
			env.Setenv("PERCH_BROKER", w.URL())
			env.Setenv("GORACE", "atexit_sleep_ms=0") // a second for each command otherwise
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"guarded":  guarded,
			"device":   command((*stage).join),
			"farm":     command((*stage).joinFarm),
			"still":    command((*stage).joinStill),
			"silent":   command((*stage).joinSilent),
			"comes":    comes,
			"port":     port,
			"away":     command(func(s *stage, args []string) error { s.devices[args[0]].Network().Down(true); return nil }),
			"reboot":   command(func(s *stage, args []string) error { s.devices[args[0]].Reboot(); return nil }),
			"proxied":  proxied,
			"cut":      command(func(s *stage, _ []string) error { s.proxy.cut(); return nil }),
			"gone":     command(func(s *stage, _ []string) error { s.Stop(); return nil }),
			"restart":  command(func(s *stage, _ []string) error { s.Restart(); return nil }),
			"asked":    command((*stage).asked),
			"canceled": command((*stage).waitCanceled),
			"files":    files,
			"lines":    lines,
			"exits":    exits,
		},
	})
}

type world struct{}

// stage is what a script plays on.
type stage struct {
	*clienttest.World
	t        testing.TB
	auth     wire.Auth // of devices
	devices  map[string]*clienttest.Device
	canceled chan string
	proxy    *proxy // nil before proxied
}

// proxied sends perch's connections by a proxy.
func proxied(ts *testscript.TestScript, _ bool, _ []string) {
	s := ts.Value(world{}).(*stage)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	ts.Check(err)
	s.proxy = &proxy{to: strings.TrimPrefix(s.URL(), "tcp://")}
	var serving sync.WaitGroup
	serving.Go(func() { s.proxy.serve(l) })
	ts.Defer(func() {
		_ = l.Close()
		s.proxy.cut()
		serving.Wait()
	})
	ts.Setenv("PERCH_BROKER", "tcp://"+l.Addr().String())
}

// proxy carries connections to an address, and breaks them.
type proxy struct {
	to string

	mu    sync.Mutex // guards the following
	conns []net.Conn
}

func (p *proxy) serve(l net.Listener) {
	var carrying sync.WaitGroup
	defer carrying.Wait()
	for {
		near, err := l.Accept()
		if err != nil {
			return
		}
		far, err := net.Dial("tcp", p.to)
		if err != nil {
			_ = near.Close()
			continue
		}
		p.mu.Lock()
		p.conns = append(p.conns, near, far)
		p.mu.Unlock()
		for _, pair := range [2][2]net.Conn{{near, far}, {far, near}} {
			carrying.Go(func() {
				_, _ = io.Copy(pair[0], pair[1])
				_ = pair[0].Close()
			})
		}
	}
}

// cut resets all connections.
func (p *proxy) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.conns {
		_ = c.(*net.TCPConn).SetLinger(0)
		_ = c.Close()
	}
	p.conns = nil
}

// command makes a command of what happens on a stage.
func command(do func(s *stage, args []string) error) func(*testscript.TestScript, bool, []string) {
	return func(ts *testscript.TestScript, _ bool, args []string) {
		ts.Check(do(ts.Value(world{}).(*stage), args))
	}
}

func guarded(ts *testscript.TestScript, _ bool, _ []string) {
	s := ts.Value(world{}).(*stage)
	ts.Check(os.Mkdir(ts.MkAbs("access"), 0o700))
	store, err := access.Open(ts.MkAbs("access"))
	ts.Check(err)
	for _, role := range []access.Role{access.Device, access.Viewer, access.Operator, access.Admin} {
		token, err := store.Add(access.Credential{Name: string(role), Role: role, Devices: []string{"*"}})
		ts.Check(err)
		ts.Check(os.WriteFile(ts.MkAbs(string(role)+".token"), []byte(token), 0o600))
		if role == access.Device {
			s.auth = wire.Auth{Scheme: wire.AuthBearer, Secret: token}
		}
	}
	s.World = clienttest.ListenGuarded(s.t, store)
	ts.Setenv("PERCH_BROKER", s.URL())
}

func (s *stage) join(args []string) error {
	d := &clienttest.Device{Name: args[0]}
	if len(args) > 1 {
		var err error
		if d.Seq, err = strconv.ParseUint(args[1], 10, 64); err != nil {
			return err
		}
	}
	s.add(d)
	return nil
}

func (s *stage) joinStill(args []string) error {
	md, err := api.FrameHeader{Camera: "front", Boot: "b", Seq: 7, At: noon, Width: 64, Height: 48, Format: api.FormatJPEG}.Metadata()
	s.add(&clienttest.Device{Name: args[0], Stream: func(context.Context, string, []byte) iter.Seq2[peer.Payload, error] {
		return func(yield func(peer.Payload, error) bool) {
			yield(peer.Payload{Metadata: md, Data: clienttest.Grey(64, 48)}, nil)
		}
	}})
	return err
}

func (s *stage) joinSilent(args []string) error {
	s.add(silent(args[0]))
	return nil
}

// silent is a device that never answers.
func silent(name string) *clienttest.Device {
	return &clienttest.Device{Name: name, Answer: func(ctx context.Context, _ string, _ []byte) (peer.Payload, bool, error) {
		<-ctx.Done()
		return peer.Payload{}, true, ctx.Err()
	}}
}

func (s *stage) add(d *clienttest.Device) {
	if d.Auth == (wire.Auth{}) {
		d.Auth = s.auth
	}
	d.Canceled = func(route string) { s.canceled <- d.Name + " " + route }
	s.devices[d.Name] = s.Join(d)
}

// port finds a port that was free just now.
func port(ts *testscript.TestScript, _ bool, args []string) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	ts.Check(err)
	_, number, err := net.SplitHostPort(l.Addr().String())
	ts.Check(err)
	ts.Check(l.Close())
	ts.Setenv(args[0], number)
}

// comes does at a device what perch --direct told.
func comes(ts *testscript.TestScript, _ bool, args []string) {
	d := &clienttest.Device{Name: args[0]}
	said := ts.ReadFile(args[2])
	u, err := link.ParseURL("tcp://" + args[1])
	ts.Check(err)
	dialer := &link.Dialer{}
	if pin := regexp.MustCompile(`PERCH_BROKER_PIN=(\S+)`).FindStringSubmatch(said); pin != nil {
		u.Scheme = link.TLS
		dialer.TLS, err = client.Pinned(pin[1])
		ts.Check(err)
		token := regexp.MustCompile(`PERCH_TOKEN_FILE names: (\S+)`).FindStringSubmatch(said)
		d.Auth = wire.Auth{Scheme: wire.AuthBearer, Secret: token[1]}
	}
	d.Dial = func(ctx context.Context) (net.Conn, error) { return dialer.Dial(ctx, u) }
	ts.Value(world{}).(*stage).add(d)
}

// patience bounds what a script waits for.
const patience = 10 * time.Second

func (s *stage) asked(args []string) error {
	return eventually(strings.Join(args, " asked for "), func() bool { return slices.Contains(s.devices[args[0]].Asked(), args[1]) })
}

func (s *stage) waitCanceled(args []string) error {
	limit := time.After(patience)
	for want := strings.Join(args, " "); ; {
		select {
		case got := <-s.canceled:
			if got == want {
				return nil
			}
		case <-limit:
			return fmt.Errorf("no CANCEL came to %s", want)
		}
	}
}

func files(ts *testscript.TestScript, _ bool, args []string) {
	n, err := strconv.Atoi(args[1])
	ts.Check(err)
	ts.Check(eventually(args[1]+" files in "+args[0], func() bool {
		list, _ := os.ReadDir(ts.MkAbs(args[0]))
		return len(list) >= n
	}))
}

func lines(ts *testscript.TestScript, _ bool, args []string) {
	n, err := strconv.Atoi(args[1])
	ts.Check(err)
	ts.Check(eventually(args[1]+" lines in "+args[0], func() bool {
		text, _ := os.ReadFile(ts.MkAbs(args[0]))
		return bytes.Count(text, []byte("\n")) >= n
	}))
}

// eventually waits for another process.
func eventually(what string, ok func() bool) error {
	for limit := time.Now().Add(patience); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(limit) {
			return fmt.Errorf("never: %s", what)
		}
	}
	return nil
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
