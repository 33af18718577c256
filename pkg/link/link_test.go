package link

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rsocket/rsocket-go/core"

	"github.com/perchcam/perch/pkg/session"
	"github.com/perchcam/perch/pkg/session/sessiontest"
)

// quiet is a Receiver that serves nothing.
type quiet struct{}

func (quiet) Request(s *session.Stream, _ session.Frame) session.Owner {
	s.Fail(core.ErrorCodeInvalid, "nothing is served here")
	return nil
}
func (quiet) Push([]byte)      {}
func (quiet) Settle()          {}
func (quiet) Linked(_, _ bool) {}
func (quiet) Ended(error)      {}

// bench is a Link and its broker in a synctest bubble.
type bench struct {
	*Link
	net  *sessiontest.Net
	kick func()
	log  bytes.Buffer
	stop func()

	mu     sync.Mutex      // guards the following
	setups []string        // metadata of each SETUP that the broker took
	conns  []*session.Conn // and its sessions
	states []State
	dials  []URL
}

func newBench(t *testing.T, server session.ServerConfig, change func(*Config)) *bench {
	b := &bench{net: &sessiontest.Net{}}
	server.Accept = func(c *session.Conn) (session.Receiver, error) {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.setups = append(b.setups, string(c.Setup().Metadata))
		b.conns = append(b.conns, c)
		return quiet{}, nil
	}
	srv, err := session.NewServer(server)
	if err != nil {
		t.Fatal(err)
	}
	b.net.Server = srv
	n := 0
	cfg := Config{
		Brokers: []URL{{Scheme: TCP, Host: "one", Port: 1}},
		Dial: func(ctx context.Context, u URL) (net.Conn, error) {
			b.mu.Lock()
			b.dials = append(b.dials, u)
			b.mu.Unlock()
			return b.net.Dial(ctx)
		},
		Setup: func() (session.Setup, error) {
			n++
			return session.Setup{Metadata: fmt.Appendf(nil, "setup %d", n)}, nil
		},
		Receiver: quiet{},
		Events: func(ctx context.Context, kick func()) error {
			b.kick = kick
			<-ctx.Done()
			return nil
		},
		Changed: func(s State) {
			b.mu.Lock()
			defer b.mu.Unlock()
			b.states = append(b.states, s)
		},
		Log: slog.New(slog.NewTextHandler(&b.log, nil)),
	}
	if change != nil {
		change(&cfg)
	}
	if b.Link, err = New(cfg); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ran := make(chan error, 1)
	go func() { ran <- b.Run(ctx) }()
	b.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ran; err != nil {
			t.Errorf("Run: %v", err)
		}
		srv.Close(context.Background(), core.ErrorCodeConnectionClose, "test is over")
		synctest.Wait()
	})
	return b
}

func (b *bench) phases() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	var list []string
	for _, s := range b.states {
		list = append(list, string(s.Phase))
	}
	return strings.Join(list, " ")
}

func (b *bench) dialed() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.dials)
}

func bubble(t *testing.T, f func(t *testing.T)) {
	t.Helper()
	synctest.Test(t, f)
}

func TestLinkResumesAndBeginsAnew(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBench(t, session.ServerConfig{SessionTime: time.Minute}, func(c *Config) { c.SessionTime = time.Minute })
		defer b.stop()
		time.Sleep(20 * time.Second)
		b.net.Cut()
		time.Sleep(time.Second)
		synctest.Wait()
		if s := b.State(); s.Phase != Online || s.Resumes != 1 || len(b.setups) != 1 {
			t.Fatalf("after a cut: %+v, %d setups", s, len(b.setups))
		}
		b.net.Down(true)
		time.Sleep(10 * time.Second)
		if s := b.State(); s.Phase != Away || s.Resumes != 1 {
			t.Fatalf("while the network is down: %+v", s)
		}
		time.Sleep(time.Hour)
		if s := b.State(); s.Phase != Offline || s.Err == nil {
			t.Fatalf("after the session time: %+v", s)
		}
		b.net.Down(false)
		time.Sleep(time.Minute)
		synctest.Wait()
		if s := b.State(); s.Phase != Online || s.Resumes != 0 || s.Err != nil {
			t.Fatalf("when the network is back: %+v", s)
		}
		if len(b.setups) != 2 || b.setups[0] == b.setups[1] {
			t.Errorf("the broker heard %q: each session needs a SETUP of its own", b.setups)
		}
		if got := b.phases(); !strings.HasPrefix(got, "online away online away offline offline") || !strings.HasSuffix(got, "offline online") {
			t.Errorf("phases: %s", got)
		}
		if err := b.Alive(10 * time.Second); err != nil {
			t.Errorf("Alive: %v", err)
		}
	})
}

func TestLinkSaysGoodbye(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBench(t, session.ServerConfig{}, nil)
		time.Sleep(time.Second)
		synctest.Wait()
		b.stop()
		if e, ok := errors.AsType[*session.Error](b.conns[0].Err()); !ok || e.Code != core.ErrorCodeConnectionClose {
			t.Errorf("the broker heard %v", e)
		}
	})
}

func TestLinkBeginsAnewAfterItsSessionWasClosedHere(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBench(t, session.ServerConfig{}, nil)
		defer b.stop()
		time.Sleep(time.Second)
		b.Conn().Close(core.ErrorCodeConnectionClose, "once more")
		time.Sleep(time.Second)
		synctest.Wait()
		if s := b.State(); s.Phase != Online || len(b.setups) != 2 {
			t.Errorf("%+v after %d setups", s, len(b.setups))
		}
	})
}

func TestLinkWithoutResumption(t *testing.T) {
	for mode, want := range map[Resume]string{ResumeAuto: "online", ResumeOff: "online", ResumeRequire: "offline"} {
		t.Run(mode.String(), func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				b := newBench(t, session.ServerConfig{NoResume: true}, func(c *Config) { c.Resume = mode })
				defer b.stop()
				time.Sleep(50 * time.Millisecond)
				if s := b.State(); string(s.Phase) != want {
					t.Errorf("%+v, want %s at once", s, want)
				}
				if mode == ResumeRequire && !strings.Contains(b.State().Err.Error(), "resum") {
					t.Errorf("it does not say why: %v", b.State().Err)
				}
			})
		})
	}
}

func TestLinkRedialsWhenKicked(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBench(t, session.ServerConfig{}, nil)
		defer b.stop()
		b.net.Down(true)
		time.Sleep(time.Hour) // the waits are half a minute by now
		synctest.Wait()
		b.net.Down(false)
		began := time.Now()
		b.kick()
		for b.State().Phase != Online && time.Since(began) < time.Minute {
			time.Sleep(time.Millisecond)
		}
		if d := time.Since(began); d > 10*time.Millisecond {
			t.Errorf("online %v after the event, want at once", d)
		}
	})
}

func TestLinkTriesEveryBroker(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBench(t, session.ServerConfig{}, func(c *Config) {
			c.Brokers = append(c.Brokers, URL{Scheme: TCP, Host: "two", Port: 2})
			below := c.Dial
			c.Dial = func(ctx context.Context, u URL) (net.Conn, error) {
				nc, err := below(ctx, u)
				if err == nil && u.Host == "one" {
					nc.Close()
					return nil, errors.New("one is down")
				}
				return nc, err
			}
		})
		defer b.stop()
		time.Sleep(10 * time.Millisecond)
		if s := b.State(); s.Phase != Online || s.Broker.Host != "two" {
			t.Errorf("%+v: the second broker is there, and no reason to wait", s)
		}
	})
}

func TestLinkWritesLittleInAnOutage(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBench(t, session.ServerConfig{}, nil)
		defer b.stop()
		time.Sleep(time.Minute)
		b.net.Down(true)
		const hours = 24
		time.Sleep(hours * time.Hour)
		synctest.Wait()
		lines := strings.Count(b.log.String(), "\n")
		if lines > 14*hours || lines < 9*hours {
			t.Errorf("%d lines in %d hours", lines, hours)
		}
		if tries := b.dialed(); tries < hours*120*2/3 || tries > hours*120*3/2 {
			t.Errorf("%d tries in %d hours", tries, hours)
		}
		if err := b.Alive(10 * time.Second); err != nil {
			t.Errorf("a broker that is down must not starve the watchdog: %v", err)
		}
	})
}

func TestAliveSeesADeadlock(t *testing.T) {
	bubble(t, func(t *testing.T) {
		stuck := make(chan struct{})
		b := newBench(t, session.ServerConfig{}, func(c *Config) { c.Receiver = blocking{stuck: stuck} })
		defer b.stop()
		defer close(stuck)
		time.Sleep(time.Second)
		synctest.Wait()
		b.conns[0].Push([]byte("push"))
		for range 20 {
			time.Sleep(10 * time.Second)
			if err := b.Alive(10 * time.Second); err != nil {
				return
			}
		}
		t.Error("a Receiver that never returns is not noticed")
	})
}

type blocking struct {
	quiet
	stuck chan struct{}
}

func (b blocking) Push([]byte) { <-b.stuck }

func TestSparseIsBoundedPerHour(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var buf bytes.Buffer
		log := slog.New(slog.NewTextHandler(&buf, nil))
		s := newSparse()
		for i := range 3600 {
			s.log(log, slog.LevelInfo, strconv.Itoa(i%2), "flapping")
			time.Sleep(time.Second)
		}
		if n := strings.Count(buf.String(), "\n"); n > 16 {
			t.Errorf("%d lines in an hour", n)
		}
		buf.Reset()
		time.Sleep(time.Hour)
		for range 60 {
			s.log(log, slog.LevelInfo, "same", "again")
			time.Sleep(time.Second)
		}
		if n := strings.Count(buf.String(), "\n"); n != 1 {
			t.Errorf("the same thing is said %d times in a minute", n)
		}
		buf.Reset()
		time.Sleep(sparseEvery)
		s.log(log, slog.LevelInfo, "same", "again")
		if !strings.Contains(buf.String(), "held_back=") {
			t.Error("what was held back is not counted")
		}
	})
}
