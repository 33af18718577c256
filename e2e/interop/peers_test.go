//go:build interop

package interop

import (
	"context"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/perchcam/perch/e2e/proc"
)

// starter starts a peer that knows the conversation.
type starter func(t testing.TB, role, url string, options ...string) *Foreign

// converse has both sides ask everything; large: 5 MB too.
func converse(t *testing.T, start starter, scheme, role string, terms Terms, large bool, options ...string) {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var e *End
	var f *Foreign
	if role == "client" {
		l := Listen(t, scheme, terms)
		f = start(t, role, l.URL, options...)
		e = l.End()
	} else {
		addr := scheme + "://" + freePort(t)
		f = start(t, role, addr, options...)
		e = Dial(t, addr, terms)
	}
	e.Ask.talk(ctx, f)
	f.Must(t, "", "talk")
	for end := time.Now().Add(5 * time.Second); e.canceled.Load() == 0 || e.forgotten.Load() != 1; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("we saw %d CANCELs and %d fire-and-forgets", e.canceled.Load(), e.forgotten.Load())
		}
	}
	if !large {
		return
	}
	f.Must(t, "", "fetch 5000000")
	if err := e.Ask.fetch(ctx, 5_000_000); err != nil {
		t.Error(err)
	}
}

const cuts = 12

// resume has both sides ask while the link is cut again and again.
func resume(t *testing.T, start starter, role string, how How) {
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	defer cancel()
	var e *End
	var f *Foreign
	var r *Relay
	if role == "client" {
		l := Listen(t, "tcp", Terms{Resume: true})
		r = relayTo(t, hostPort(l.URL), how)
		f = start(t, role, "tcp://"+r.Addr(), "resume", "fragment=1000")
		e = l.End()
	} else {
		addr := freePort(t)
		f = start(t, role, "tcp://"+addr, "resume")
		r = relayTo(t, addr, how)
		e = Dial(t, "tcp://"+r.Addr(), Terms{Resume: true})
	}
	var work sync.WaitGroup
	ours := func(what string, do func() error) {
		work.Go(func() {
			if err := do(); err != nil {
				t.Errorf("%s: %v", what, err)
			}
		})
	}
	ours("our stream", func() error { return e.Ask.watch(ctx, 200, 20_000, 4) })
	ours("our channel", func() error { return e.Ask.echo(ctx, 100, 5_000, 4) })
	ours("our response", func() error { return e.Ask.fetch(ctx, 5_000_000) })
	f.Must(t, "200", "watch 200 20000 4")
	f.Must(t, "101", "echo 100 5000 4")
	f.Must(t, "", "fetch 5000000")
	work.Wait()
	if n := r.Links(); n < cuts {
		t.Errorf("the link was made %d times: too few cuts", n)
	}
	s := e.Conn.Stats()
	t.Logf("%d links, %d frames sent again of %d, %d bytes of %d", s.Links, s.FramesAgain, s.FramesSent, s.BytesAgain, s.BytesSent)
	if t.Failed() {
		all := strings.SplitAfter(r.Log(0), "\n")
		t.Logf("the end of what crossed:\n%s", strings.Join(all[max(0, len(all)-60):], ""))
	}
}

// relayTo cuts the first links at random bytes of either side.
func relayTo(t testing.TB, target string, how How) *Relay {
	t.Helper()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 1))
	r := NewRelay(t, target)
	r.Plan(func(link int) Cut {
		if link > cuts {
			return Cut{}
		}
		// Not within the first bytes: rsocket-js does not notice that a link is lost between its RESUME and RESUME_OK.
		return Cut{From: Side(rnd.IntN(2)), After: 1000 + rnd.IntN(300_000), How: how}
	})
	return r
}

// hostPort is a URL without its scheme.
func hostPort(url string) string {
	_, addr, _ := strings.Cut(url, "://")
	return addr
}

// laptops has a foreign laptop ask our broker over TCP and over a WebSocket.
func laptops(t *testing.T, start starter) {
	tcp, ws := perchBroker(t)
	for _, url := range []string{tcp, ws} {
		t.Run(url[:strings.Index(url, ":")], func(t *testing.T) {
			laptop(t, start(t, "client", url), agent(t, tcp, "hen-house"))
		})
	}
}

// laptop is what a foreign laptop asks of our broker.
func laptop(t *testing.T, f *Foreign, device *proc.Process) {
	pictures(t, f, "hen-house", 20, 4, "{}")
	said(t, device, "from=streaming to=idle") // which is what CANCEL comes to
	snapshot(t, f, "hen-house")
	pictures(t, f, "hen-house", 20, 4, `{"keep":"all"}`)
	if _, err := f.Do(t.Context(), "snapshot nowhere"); err == nil || !strings.Contains(err.Error(), "nowhere") {
		t.Errorf("a snapshot of a device that is not there: %v", err)
	}
}

// few cuts the first three links within pictures.
func few(link int) Cut {
	if link > 3 {
		return Cut{}
	}
	return Cut{From: FromServer, After: 77_777, How: []How{RST, FIN, RST}[link-1]}
}

// laptopResumes cuts a foreign laptop's link within a stream of all pictures.
func laptopResumes(t *testing.T, start starter) {
	url, _ := perchBroker(t)
	agent(t, url, "hen-house")
	r := NewRelay(t, hostPort(url))
	r.Plan(few)
	f := start(t, "client", "tcp://"+r.Addr(), "resume")
	pictures(t, f, "hen-house", 60, 4, `{"keep":"all"}`)
	if r.Links() != 4 {
		t.Errorf("%d links", r.Links())
	}
}

// standIn has a foreign server stand in for a broker, and our agent resume on it.
func standIn(t *testing.T, start starter) {
	addr := freePort(t)
	f := start(t, "server", "tcp://"+addr, "resume")
	r := NewRelay(t, addr)
	r.Plan(func(link int) Cut {
		c := few(link)
		c.From = FromClient // where the pictures are
		return c
	})
	p := agent(t, "tcp://"+r.Addr(), "hen-house")
	f.Must(t, "message/x.rsocket.broker.frame.v0 application/vnd.perch.advert.v1+json", "setup")
	snapshot(t, f, "hen-house")
	pictures(t, f, "hen-house", 60, 4, `{"keep":"all"}`)
	if r.Links() != 4 {
		t.Errorf("%d links; the agent said:\n%s", r.Links(), p.Said())
	}
}

// largeSnapshot has a foreign laptop that resumes take a picture of more than 5 MB, whose link is cut in the middle of it.
func largeSnapshot(t *testing.T, start starter) {
	path, hash := large(t)
	url, _ := perchBroker(t)
	agent(t, url, "hen-house", "PERCH_CAMERAS=still=replay:"+path)
	r := NewRelay(t, hostPort(url))
	r.Plan(func(link int) Cut {
		if link > 1 {
			return Cut{}
		}
		return Cut{From: FromServer, After: 2_500_000}
	})
	f := start(t, "client", "tcp://"+r.Addr(), "resume")
	if s, err := take(t.Context(), f, "hen-house"); err != nil || s.SHA256 != hash {
		t.Errorf("%d bytes came, %v", s.Bytes, err)
	}
	if r.Links() != 2 {
		t.Errorf("%d links", r.Links())
	}
}

// halfOpen has a link of both sides' streams become a black hole: whoever is the client finds out, and resumes while the server
// still believes in the old link.
func halfOpen(t *testing.T, start starter, role string) {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	hole := func(link int) Cut {
		if link > 1 {
			return Cut{}
		}
		return Cut{From: FromServer, After: 300_000, How: Silent}
	}
	var e *End
	var f *Foreign
	var r *Relay
	if role == "client" {
		l := Listen(t, "tcp", Terms{Resume: true})
		r = NewRelay(t, hostPort(l.URL))
		r.Plan(hole)
		f = start(t, role, "tcp://"+r.Addr(), "resume", "keepalive=300", "lifetime=1500")
		e = l.End()
	} else {
		addr := freePort(t)
		f = start(t, role, "tcp://"+addr, "resume")
		r = NewRelay(t, addr)
		r.Plan(hole)
		e = Dial(t, "tcp://"+r.Addr(), Terms{Resume: true})
	}
	ours := make(chan error, 1)
	go func() { ours <- e.Ask.watch(ctx, 100, 20_000, 4) }()
	f.Must(t, "100", "watch 100 20000 4")
	if err := <-ours; err != nil {
		t.Error(err)
	}
	// rsocket-java has a RESUME wait until it gives the old link up, so more tries than one may be needed.
	if r.Links() < 2 {
		t.Error("the link was not made again")
	}
}
