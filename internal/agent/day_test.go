package agent

import (
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/perchcam/perch/pkg/camera"
	"github.com/perchcam/perch/pkg/camera/cameratest"
	"github.com/perchcam/perch/pkg/link"
	"github.com/perchcam/perch/pkg/session"
	"github.com/perchcam/perch/pkg/session/sessiontest"
)

// perHour is how many lines a failure that lasts may cost. A card wears out by what is written to it.
const perHour = 20

// A day in which no broker can be had: the log stays short and names the remedy, and the watchdog is fed all the while.
func TestADayWithoutABroker(t *testing.T) {
	refused := &session.Error{Code: session.CodeRejectedSetup, Text: "these credentials are not known"}
	cases := []struct {
		name string
		err  func() error
		next string
	}{
		{"down", func() error { return &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED} }, "does a broker listen there"},
		{"no name", func() error { return &net.DNSError{Err: "no such host", Name: "one", IsNotFound: true} }, "perch-agent check"},
		{"expired", func() error { // the text is another each minute
			return fmt.Errorf("by this machine's clock it is %s: %w", time.Now(), x509.CertificateInvalidError{Reason: x509.Expired})
		}, "PERCH_BROKER_PIN"},
		{"another key", func() error { return link.ErrPin }, "compare PERCH_BROKER_PIN"},
		{"no token", func() error { return refused }, "PERCH_TOKEN_FILE"},
		{"no RSocket", func() error { return io.ErrUnexpectedEOF }, "perch-agent check"},
	}
	for i, c := range cases {
		for _, brokers := range []string{"tcp://one", "tcp://one,tcp://two,tcp://three"} {
			t.Run(c.name, func(t *testing.T) {
				hours := 6
				if i == 0 {
					hours = 24
				}
				synctest.Test(t, func(t *testing.T) { hoursWithout(t, hours, brokers, c.err, c.next) })
			})
		}
	}
}

func hoursWithout(t *testing.T, hours int, brokers string, failure func() error, next string) {
	setenv(t, map[string]string{"PERCH_BROKER": brokers, "PERCH_CAMERAS": "yard=pattern", "PERCH_DEVICE": "nest"})
	cfg, err := Load()
	if err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	a, err := New(Options{Config: cfg, Version: "1", Log: slog.NewTextHandler(&log, nil)})
	if err != nil {
		t.Fatal(err)
	}
	broker := &sessiontest.Net{}
	var said *session.Error
	if broker.Server, err = session.NewServer(session.ServerConfig{Accept: func(*session.Conn) (session.Receiver, error) { return nil, said }}); err != nil {
		t.Fatal(err)
	}
	conf := a.linkConfig(nil)
	conf.Events = nil // neither this machine's network nor its clock counts
	tries := 0
	conf.Dial = func(ctx context.Context, u link.URL) (net.Conn, error) {
		tries++
		err := failure()
		if e, ok := errors.AsType[*session.Error](err); ok {
			said = e
			return broker.Dial(ctx)
		}
		return nil, fmt.Errorf("cannot connect to %s: %w", u, err)
	}
	if a.link, err = link.New(conf); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ran := make(chan error, 1)
	go func() { ran <- a.Run(ctx) }()

	const grace = 10 * time.Second
	for range hours * 360 {
		time.Sleep(grace)
		if err := errors.Join(a.link.Alive(grace), a.cameras.alive(grace)); err != nil {
			t.Fatalf("the watchdog is not fed: %v", err)
		}
	}
	cancel()
	if err := <-ran; err != nil {
		t.Error(err)
	}
	broker.Server.Close(context.Background(), session.CodeConnectionClose, "test is over")
	synctest.Wait()
	if n := strings.Count(log.String(), "\n"); n > perHour*hours || n < 3 {
		t.Errorf("%d lines in %d hours", n, hours)
	}
	if tries < hours*60 {
		t.Errorf("%d tries in %d hours", tries, hours)
	}
	if !strings.Contains(log.String(), next) || !strings.Contains(log.String(), "perch-agent check") {
		t.Errorf("the log does not say what to do, %q:\n%.2000s", next, log.String())
	}
}

// Hours in which somebody looks at cameras that are absent, and at one that comes and goes.
func TestHoursWithoutACamera(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		sources := map[string]*cameratest.Source{}
		open := func(s camera.Spec) (camera.Source, error) {
			src := &cameratest.Source{}
			src.Break(fmt.Errorf("cannot open %s: %w", s.Address, camera.ErrAbsent))
			sources[s.Name] = src
			return src, nil
		}
		specs := []camera.Spec{pattern("absent"), pattern("flaky")}
		c, err := newCameras(specs, open, Search{}, slog.New(slog.NewTextHandler(&log, nil)))
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		var running sync.WaitGroup
		running.Go(func() { c.run(ctx, func() {}, func() {}) })
		for _, k := range c.list() {
			running.Go(func() {
				for ctx.Err() == nil {
					asked, stop := context.WithTimeout(ctx, 10*time.Second)
					_, _ = k.Snapshot(asked, camera.SnapshotOptions{})
					stop()
					select {
					case <-time.After(time.Second):
					case <-ctx.Done():
					}
				}
			})
		}
		const hours = 6
		for minute := range hours * 60 {
			time.Sleep(time.Minute)
			if minute%2 == 0 {
				sources["flaky"].Mend()
			} else {
				sources["flaky"].Break(camera.ErrAbsent)
			}
			if err := c.alive(10 * time.Second); err != nil {
				t.Fatalf("the watchdog is not fed: %v", err)
			}
		}
		cancel()
		running.Wait()
		for _, name := range []string{"absent", "flaky"} {
			n := strings.Count(log.String(), "camera="+name)
			if n > perHour*hours || n < 1 {
				t.Errorf("%d lines about the camera %s in %d hours", n, name, hours)
			}
			t.Logf("%s: %d lines", name, n)
		}
	})
}

// A device that finds no camera says so once, however often it looks.
func TestNoCameraIsSaidOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		f := newShelf()
		c, err := newCameras([]camera.Spec{{Kind: camera.KindAuto}}, nil, f.search(), slog.New(slog.NewTextHandler(&log, nil)))
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		var running sync.WaitGroup
		running.Go(func() { c.run(ctx, func() {}, func() {}) })
		for range 10 {
			synctest.Wait()
			f.more <- struct{}{}
		}
		synctest.Wait()
		cancel()
		running.Wait()
		if n := strings.Count(log.String(), "\n"); n != 1 || !strings.Contains(log.String(), "no camera is found") {
			t.Errorf("it says\n%s", log.String())
		}
	})
}
