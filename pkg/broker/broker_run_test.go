package broker

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rsocket/rsocket-go/core"

	"github.com/perchcam/perch/pkg/broker/access"
	"github.com/perchcam/perch/pkg/peer"
	"github.com/perchcam/perch/pkg/session"
	"github.com/perchcam/perch/pkg/wire"
)

func TestListenRefusals(t *testing.T) {
	for url, text := range map[string]string{
		"tcp://0.0.0.0:7878":      "serves this machine only",
		"tcp://:7878":             "serves this machine only",
		"tcp://192.0.2.1:7878":    "serves this machine only",
		"tcp://example.com:7878":  "serves this machine only",
		"tcp://[::]:7878":         "serves this machine only",
		"tcp://127.0.0.1":         "it has no port",
		"ws://127.0.0.1:0/{x":     "a brace or a space",
		"127.0.0.1:7878":          "it must say how, such as tcp://127.0.0.1:7878",
		"udp://127.0.0.1:7878":    "must begin with tcp://, tls://",
		"tcp://127.0.0.1:1/x":     "all it may have",
		"ws://0.0.0.0:80/rsocket": "serves this machine only",
	} {
		if _, err := New(Config{Listen: []string{url}}); err == nil || !strings.Contains(err.Error(), text) {
			t.Errorf("%s: %v", url, err)
		}
	}
	for _, url := range []string{"tcp://127.0.0.1:7878", "tcp://[::1]:0", "tcp://localhost:1", "tcp://127.9.9.9:0", "ws://127.0.0.1:0/rsocket"} {
		if _, err := New(Config{Listen: []string{url}}); err != nil {
			t.Error(err)
		}
	}
}

// Run on real sockets: it listens, serves, and ends in good order.
func TestRun(t *testing.T) {
	var out bytes.Buffer
	log := slog.New(slog.NewTextHandler(&out, nil))
	b, err := New(Config{Listen: []string{"tcp://127.0.0.1:0", "tcp://127.0.0.1:0"}, Log: log})
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Listen(); err != nil {
		t.Fatal(err)
	}
	for _, url := range b.URLs() {
		if line := "level=INFO msg=listening url=" + url + "\n"; !strings.Contains(out.String(), line) || strings.HasSuffix(url, ":0") {
			t.Errorf("no line %q in\n%s", line, &out)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	var work sync.WaitGroup
	work.Go(func() {
		if err := b.Run(ctx, context.Background()); err != nil {
			t.Error(err)
		}
	})
	ends := make(chan error, 2)
	run := func(setup session.Setup, h peer.Handler) peer.Requester {
		p, err := peer.New(peer.Config{Handler: h})
		if err != nil {
			t.Fatal(err)
		}
		c, err := session.NewClient(session.ClientConfig{Setup: setup, Dial: func(ctx context.Context) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "tcp", strings.TrimPrefix(b.URLs()[0], "tcp://"))
		}}, p)
		if err != nil {
			t.Fatal(err)
		}
		work.Go(func() { ends <- c.Run(context.Background()) })
		return p.Requester(c.Conn)
	}
	run(composed(deviceSetup("cam", "id", 1), true), echo)
	l := run(composed(laptopSetup(), true), nil)
	md := to("cam", "x", waitTag("5s"))
	if _, err := l.RequestResponse(t.Context(), peer.Payload{Metadata: md}); err != nil { // it may not be there yet
		t.Fatal(err)
	}
	big := bytes.Repeat([]byte("picture"), 100_000)
	if v, err := l.RequestResponse(t.Context(), peer.Payload{Metadata: md, Data: big}); err != nil || !bytes.Equal(v.Data, big) {
		t.Fatalf("%d bytes, %v", len(v.Data), err)
	}
	cancel()
	work.Wait()
	for range 2 {
		wantError(t, <-ends, core.ErrorCodeConnectionError, "draining")
	}
}

// Draining refuses what is new, lets what is under way end, and tells everybody.
func TestDrain(t *testing.T) {
	open(t, Config{Grace: 5 * time.Second}, func(h *house) {
		release := make(chan struct{})
		cam := h.camera("cam", peer.Funcs{Response: func(context.Context, peer.Payload) (peer.Payload, error) {
			<-release
			return peer.Payload{Data: []byte("whole")}, nil
		}})
		l := h.laptop()
		answers := make(chan string, 1)
		go func() {
			got, err := l.ask(to("cam", "x"))
			answers <- fmt.Sprint(got, err)
		}()
		synctest.Wait()
		before := time.Now()
		drained := make(chan time.Duration)
		go func() {
			h.drain(h.ctx)
			drained <- time.Since(before)
		}()
		synctest.Wait()
		_, err := l.ask(to("cam", "x"))
		wantError(t, err, core.ErrorCodeRejected, "the broker is stopping")
		late := h.connect(laptopSetup(), false, nil)
		err = <-late.ran
		late.ran <- err
		wantError(t, err, core.ErrorCodeConnectionError, "draining")
		time.Sleep(time.Second)
		close(release)
		if got := <-answers; got != "whole<nil>" {
			t.Errorf("what was under way: %s", got)
		}
		if d := <-drained; d < time.Second || d > 2500*time.Millisecond {
			t.Errorf("draining took %v", d)
		}
		for _, e := range []*end{cam, l} {
			wantError(t, e.ended(), core.ErrorCodeConnectionError, "draining")
		}
	})
}

// Everybody hears that the broker drains, also those who are writing at that very moment.
func TestDrainIsHeard(t *testing.T) {
	s := newShop(t, Config{Listen: []string{"tcp://127.0.0.1:0"}})
	var work sync.WaitGroup
	defer work.Wait()
	const many = 24 // more would starve one another of the second that the broker waits for them to read its last words
	ends := make(chan error, many)
	for range many {
		p, err := peer.New(peer.Config{})
		if err != nil {
			t.Fatal(err)
		}
		c, err := session.NewClient(session.ClientConfig{
			Setup: composed(laptopSetup(), true), SessionTime: 5 * time.Second,
			Dial: func(ctx context.Context) (net.Conn, error) {
				return new(net.Dialer).DialContext(ctx, "tcp", s.listeners[0].Addr().String())
			},
		}, p)
		if err != nil {
			t.Fatal(err)
		}
		work.Go(func() { ends <- c.Run(context.Background()) })
		work.Go(func() {
			for c.Err() == nil {
				_ = p.Requester(c.Conn).FireAndForget(t.Context(), peer.Payload{Metadata: to("nobody", "x"), Data: make([]byte, 10_000)})
			}
		})
	}
	for deadline := time.Now().Add(20 * time.Second); s.counters[sessionsAccepted].Load() < many || s.counters[requests].Load() < 20*many; {
		if time.Sleep(time.Millisecond); time.Now().After(deadline) {
			t.Fatal("not all are there in time")
		}
	}
	before := time.Now()
	s.stop()
	s.work.Wait()
	if took := time.Since(before); took > 3*time.Second {
		t.Errorf("it took %v", took)
	}
	for range many {
		err := <-ends
		if e, ok := errors.AsType[*session.Error](err); !ok || e.Text != "draining" {
			t.Errorf("a session ended with %v", err)
		}
	}
}

func TestDrainGivesUp(t *testing.T) {
	open(t, Config{Grace: 5 * time.Second}, func(h *house) {
		_, _ = h.rawCamera("cam")
		l := h.laptop()
		asked := make(chan error, 1)
		go func() {
			_, err := l.ask(to("cam", "x"))
			asked <- err
		}()
		synctest.Wait()
		before := time.Now()
		h.drain(h.ctx)
		if d := time.Since(before); d < 5*time.Second || d > 7*time.Second {
			t.Errorf("draining took %v", d)
		}
		if err := <-asked; err == nil {
			t.Error("what was under way was answered")
		}
	})
}

// Garbage is known from its first bytes, answered, and costs one log line.
func TestGarbage(t *testing.T) {
	var out bytes.Buffer
	log := slog.New(slog.NewTextHandler(&out, nil))
	open(t, Config{Log: log}, func(h *house) {
		var taps []*tap
		for _, text := range []string{
			"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
			"SSH-2.0-OpenSSH_9.2p1\r\n",
			"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", // TLS
			strings.Repeat("\x00", 64),
			strings.Repeat("\xff", 64),
		} {
			p := h.tap()
			_, _ = p.nc.Write([]byte(text))
			got := p.frames()
			if !slices.Equal(got, []string{"ERROR 0"}) || !strings.Contains(p.text[0], "not an RSocket connection") {
				t.Errorf("%.10q: %v %q", text, got, p.text)
			}
			taps = append(taps, p)
		}
		time.Sleep(2 * time.Second)
		for i, p := range taps {
			if p.frames(); p.end != io.EOF {
				t.Errorf("link %d ended with %v", i, p.end)
			}
		}
		if lines := strings.Count(out.String(), "connection refused"); lines != 1 {
			t.Errorf("%d lines:\n%s", lines, &out)
		}
		for _, pause := range []time.Duration{2 * time.Second, 10 * time.Minute} { // who tries again is told of again after ten minutes
			p := h.tap()
			_, _ = p.nc.Write([]byte("GET / HTTP/1.1\r\n"))
			time.Sleep(pause)
			p.frames()
		}
		p := h.tap()
		_, _ = p.nc.Write([]byte("GET / HTTP/1.1\r\n"))
		time.Sleep(2 * time.Second)
		p.frames()
		if lines := strings.Count(out.String(), "connection refused"); lines != 2 || !strings.Contains(out.String(), "others=6") {
			t.Errorf("the lines that were held back are not told:\n%s", &out)
		}
		if n := h.counters[sessionsRefused].Load(); n != 8 {
			t.Errorf("%d were counted", n)
		}
	})
}

// Links that say nothing, or not enough, are gone after the deadline; others are served meanwhile.
func TestSlowLinks(t *testing.T) {
	open(t, Config{FirstFrame: 5 * time.Second}, func(h *house) {
		h.camera("cam", named("cam"))
		l := h.laptop()
		var taps []*tap
		for i := range 200 {
			p := h.tap()
			taps = append(taps, p)
			if i%2 == 0 {
				go func() { // one byte of a SETUP a second
					for _, b := range []byte{0, 0, 60, 0, 0, 0, 0, 4, 0, 0, 1, 0, 0} {
						if _, err := p.nc.Write([]byte{b}); err != nil {
							return
						}
						time.Sleep(time.Second)
					}
				}()
			}
		}
		time.Sleep(2 * time.Second)
		if got, err := l.ask(to("cam", "x")); got != "cam" || err != nil {
			t.Errorf("%q, %v", got, err)
		}
		time.Sleep(4 * time.Second)
		for i, p := range taps {
			if p.frames(); p.end == nil {
				t.Fatalf("link %d is still there", i)
			}
		}
		if n := len(h.links); n != 2 {
			t.Errorf("%d links are left", n)
		}
	})
}

func TestLimits(t *testing.T) {
	open(t, Config{Sessions: 3, Connections: 5}, func(h *house) {
		h.camera("cam", named("cam"))
		l := h.laptop()
		h.laptop()
		e := h.connect(laptopSetup(), false, nil)
		err := <-e.ran
		e.ran <- err
		wantError(t, err, core.ErrorCodeRejectedSetup, "3 sessions, which is its limit")
		h.tap()
		h.tap()
		synctest.Wait() // until both are counted
		p := h.tap()
		p.frames()
		time.Sleep(2 * time.Second)
		if got := p.frames(); !slices.Equal(got, []string{"ERROR 0"}) || p.end != io.EOF || h.counters[linksRefused].Load() != 1 {
			t.Errorf("one link too many ended with %v %v", got, p.end)
		}
		if got, err := l.ask(to("cam", "x")); got != "cam" || err != nil {
			t.Errorf("%q, %v", got, err)
		}
	})
}

// What a laptop gets wrong on its streams hurts itself only.
func TestHostileLaptop(t *testing.T) {
	open(t, Config{}, func(h *house) {
		h.camera("cam", named("cam"))
		l := h.laptop()
		md := to("cam", "x")
		withMetadata := func(more ...byte) []byte {
			return append([]byte{byte(len(md) >> 16), byte(len(md) >> 8), byte(len(md))}, append(md, more...)...)
		}
		for name, attack := range map[string]func(p *tap){
			"metadata longer than the frame": func(p *tap) {
				p.send(1, core.FrameTypeRequestResponse, core.FlagMetadata, 0xff, 0xff, 0xff)
			},
			"too short for n": func(p *tap) { p.send(1, core.FrameTypeRequestStream, 0, 1) },
			"no n": func(p *tap) {
				p.send(1, core.FrameTypeRequestStream, core.FlagMetadata, append([]byte{0, 0, 0, 0}, withMetadata()...)...)
			},
			"an even stream":     func(p *tap) { p.send(2, core.FrameTypeRequestResponse, core.FlagMetadata, withMetadata()...) },
			"a second SETUP":     func(p *tap) { p.setup(nil) },
			"frames of no one":   func(p *tap) { p.send(77, core.FrameTypePayload, flagN|flagC, 1); p.send(77, core.FrameTypeCancel, 0) },
			"an unknown frame":   func(p *tap) { p.send(1, 0x22, 0, 1, 2, 3) },
			"a lease":            func(p *tap) { p.send(0, core.FrameTypeLease, 0, 0, 0, 0, 1, 0, 0, 0, 1) },
			"a push of nonsense": func(p *tap) { p.send(0, core.FrameTypeMetadataPush, core.FlagMetadata, 0xff, 0xff) },
			"an address in two fragments": func(p *tap) {
				p.send(1, core.FrameTypeRequestResponse, core.FlagMetadata|core.FlagFollow, append([]byte{0, 0, 20}, md[:20]...)...)
				p.send(1, core.FrameTypePayload, core.FlagMetadata|flagN, append([]byte{0, 0, byte(len(md) - 20)}, md[20:]...)...)
			},
			"a request again and again": func(p *tap) {
				for range 100 {
					p.send(1, core.FrameTypeRequestResponse, core.FlagMetadata, withMetadata()...)
				}
			},
			"a request that never ends": func(p *tap) {
				p.send(1, core.FrameTypeRequestResponse, core.FlagMetadata|core.FlagFollow, withMetadata()...)
				for range 100 {
					p.send(1, core.FrameTypePayload, core.FlagFollow|flagN)
				}
			},
		} {
			p := h.tap()
			p.setup(nil)
			attack(p)
			t.Log(name, p.frames(), p.text)
			if got, err := l.ask(md); got != "cam" || err != nil {
				t.Fatalf("%s: the other laptop got %q, %v", name, got, err)
			}
			_ = p.nc.Close()
			synctest.Wait()
			h.wantCalm()
		}
	})
}

// A laptop that uploads to a device that does not read fills its queue up to the budget and no further.
func TestUploadToDeafDevice(t *testing.T) {
	open(t, Config{Budget: 1 << 20}, func(h *house) {
		setup := deviceSetup("cam", "id-cam", 1)
		h.deaf().setup(&setup)
		l := h.rawLaptop()
		l.stall(1 << 20)
		st := l.request(session.Message{Type: core.FrameTypeRequestResponse, Metadata: to("cam", "x"), Data: make([]byte, 8<<20)})
		synctest.Wait()
		cam, _ := h.registry.find(&wire.Target{Device: []byte("cam")}, &access.All)
		if n := cam.queued(); n < 1<<19 {
			t.Errorf("%d bytes wait for a device that does not read", n)
		}
		l.stall(0)
		want := []string{"ERROR CANCELED too much is waiting for the other side to be read"}
		if log := st.log(); !slices.Equal(log, want) {
			t.Errorf("the laptop got %q", log)
		}
		if n := cam.queued(); n > 0 {
			t.Errorf("%d bytes wait after the request was canceled", n)
		}

		// Requests are refused while too much waits, not queued.
		for range 2 {
			l.request(session.Message{Type: core.FrameTypeRequestResponse, Metadata: to("cam", "x"), Data: make([]byte, 900<<10)})
			synctest.Wait()
		}
		st = l.request(session.Message{Type: core.FrameTypeRequestResponse, Metadata: to("cam", "x"), Data: make([]byte, 10<<10)})
		if log := st.log(); len(log) == 1 && !strings.HasPrefix(log[0], `ERROR REJECTED device "cam" is busy`) {
			t.Errorf("the laptop got %q", log)
		}
		if n := cam.queued(); n > 1<<20+1<<15 {
			t.Errorf("%d bytes wait, with a budget of 1 MiB", n)
		}
		h.stopWaiting(l)
	})
}

func FuzzDispatch(f *testing.F) {
	f.Add(uint8(4), uint16(0x100), to("cam", "camera.snapshot"))
	f.Add(uint8(6), uint16(0x100), to("", "broker.watch"))
	f.Add(uint8(7), uint16(0x1c0), []byte{0xfe, 0, 0, 2, 1, 'x'})
	f.Fuzz(func(t *testing.T, kind uint8, flags uint16, md []byte) {
		open(t, Config{}, func(h *house) {
			h.camera("cam", named("cam"))
			p := h.tap()
			p.setup(nil)
			p.send(1, core.FrameType(kind&0x3f), core.FrameFlag(flags&0x3ff), md...)
			p.send(1, core.FrameTypePayload, core.FrameFlag(flags&0x3ff), md...)
			p.send(1, core.FrameTypeCancel, 0)
			_ = p.nc.Close()
			synctest.Wait()
			h.wantCalm()
		})
	})
}
