package broker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rsocket/rsocket-go/core"

	"github.com/perchcam/perch/pkg/api"
	"github.com/perchcam/perch/pkg/broker/access"
	"github.com/perchcam/perch/pkg/peer"
	"github.com/perchcam/perch/pkg/session"
	"github.com/perchcam/perch/pkg/wire"
)

// Config says where a broker listens and what its limits are. Zero values mean the defaults.
type Config struct {
	Listen  []string // URLs, such as tcp://127.0.0.1:7878; port 0 takes a free one
	Ops     string   // HOST:PORT of this machine for /metrics, /healthz and /readyz; "": none
	Version string   // for broker.info
	Log     *slog.Logger

	Access   *access.Store // credentials; nil: there are none, and the broker serves this machine only
	TLS      TLS           // for tls:// and wss://
	Insecure bool          // takes credentials over links that others can read

	// For WebSockets: the names under which a browser may know the broker, beside those it listens on; and the pages that
	// may connect to it, beside those of its own host, such as https://*.example.org.
	Hosts, Origins []string
	// Page makes what is served beside the WebSockets at a path, such as the live page. nil: nothing is.
	Page func(path string) (http.Handler, error)

	Wait    time.Duration // how long a request waits for a device that is away; 2 s. A request may ask for up to MaxWait
	MaxWait time.Duration // 60 s
	Grace   time.Duration // how long streams may go on after the broker was told to stop; 5 s

	Budget      int // bytes that may wait for one session; 32 MiB
	Streams     int // streams one session may have open; 1024
	Sessions    int // 20,000
	PerHolder   int // sessions with one credential; 256
	Connections int // links, with those that have not said anything; 25,000

	GuessWait time.Duration // who shows wrong credentials again and again waits so long for each answer, at most; 5 s

	Session     session.Options // frames and what is kept for a RESUME
	FirstFrame  time.Duration   // for SETUP or RESUME, with TLS and the request for a WebSocket before it; 5 s
	SessionTime time.Duration   // without a link; 2 min
	RetainTotal int64           // bytes kept for RESUME in all; 512 MiB
}

// Broker switches frames between laptops and devices. Run runs it; Serve gives it a single link.
type Broker struct {
	cfg      Config
	log      *slog.Logger
	started  time.Time
	server   *session.Server
	registry *registry
	console  *peer.Peer
	counters counters
	refusals repeats // log lines about links that were refused,
	slow     quiet   // about receivers that do not read,
	unread   quiet   // and about credentials that cannot be read
	failures failures

	refusing atomic.Int64  // links that are told that there are too many
	routes   atomic.Int64  // requests that are not through
	draining atomic.Bool   // no new sessions and requests
	stopping chan struct{} // closed when it is true
	idle     chan struct{} // told when routes falls to 0 while draining,
	unlinked chan struct{} // and when the last link is gone

	listeners []*listener  // owned by Listen and Run
	opsAt     net.Listener // likewise; nil: none

	mu    sync.Mutex // guards the following
	legs  map[*session.Conn]*leg
	held  map[string]int // sessions by credential
	links map[net.Conn]struct{}
}

// New checks cfg and returns a broker that does nothing yet.
func New(cfg Config) (*Broker, error) {
	def(&cfg.Wait, 2*time.Second)
	def(&cfg.MaxWait, time.Minute)
	def(&cfg.Grace, 5*time.Second)
	def(&cfg.FirstFrame, 5*time.Second)
	def(&cfg.GuessWait, 5*time.Second)
	def(&cfg.Budget, 32<<20)
	def(&cfg.Streams, 1024)
	def(&cfg.Sessions, 20_000)
	def(&cfg.PerHolder, 256)
	def(&cfg.Connections, 25_000)
	def(&cfg.Session.Batch, 64<<10) // with 32 KiB unsent in the kernel the measured best for a switch
	def(&cfg.Session.NotSent, 32<<10)
	for name, n := range map[string]int64{
		"the bytes that may wait": int64(cfg.Budget), "streams": int64(cfg.Streams), "sessions": int64(cfg.Sessions),
		"sessions with one credential": int64(cfg.PerHolder), "links": int64(cfg.Connections),
		"the bytes of a frame": int64(cfg.Session.MaxFrame), "the bytes that a session keeps": int64(cfg.Session.Retain),
		"the bytes that all keep": cfg.RetainTotal, "the time for the first frame": int64(cfg.FirstFrame), "the time of a session": int64(cfg.SessionTime),
	} {
		if n < 0 {
			return nil, fmt.Errorf("the limit of %s is negative", name)
		}
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	b := &Broker{
		cfg: cfg, log: cfg.Log, started: time.Now(), registry: newRegistry(), legs: map[*session.Conn]*leg{},
		links: map[net.Conn]struct{}{}, idle: make(chan struct{}, 1), unlinked: make(chan struct{}, 1),
		held: map[string]int{}, stopping: make(chan struct{}), failures: failures{most: cfg.GuessWait},
	}
	for _, url := range cfg.Listen {
		l, err := parseListener(url, &cfg)
		if err != nil {
			return nil, err
		}
		b.listeners = append(b.listeners, l)
	}
	if err := b.secure(); err != nil {
		return nil, err
	}
	if cfg.Ops != "" {
		if err := parseOps(cfg.Ops); err != nil {
			return nil, err
		}
	}
	cfg.Session.Log = cfg.Log
	var err error
	b.server, err = session.NewServer(session.ServerConfig{
		Options: cfg.Session, Accept: b.accept, MayResume: b.mayResume,
		FirstFrame: cfg.FirstFrame, SessionTime: cfg.SessionTime, RetainTotal: cfg.RetainTotal,
	})
	if err != nil {
		return nil, err
	}
	c := console{b}
	b.console, err = peer.New(peer.Config{Handler: peer.Funcs{Response: c.response, Stream: c.stream}, Log: cfg.Log})
	return b, err
}

func def[T int | int64 | time.Duration](v *T, otherwise T) {
	if *v == 0 {
		*v = otherwise
	}
}

// secure gives the listeners what TLS needs.
func (b *Broker) secure() error {
	i := slices.IndexFunc(b.listeners, (*listener).secure)
	if i < 0 {
		return nil
	}
	if b.cfg.TLS.Cert == "" || b.cfg.TLS.Key == "" {
		return fmt.Errorf("cannot listen on %s: it needs a certificate and its key", b.listeners[i].url)
	}
	certs, err := newCerts(b.cfg.TLS, b.log)
	if err != nil {
		return err
	}
	for _, l := range b.listeners {
		if l.secure() {
			l.tls = certs.config()
		}
	}
	return nil
}

// Listen opens the listeners; Run does it where it was not done. URLs tells the ports that were given.
func (b *Broker) Listen() error {
	for _, l := range b.listeners {
		if err := l.open(); err != nil {
			b.unlisten()
			return err
		}
		b.log.Info("listening", "url", l.String())
	}
	if b.cfg.Ops != "" {
		ln, err := net.Listen("tcp", b.cfg.Ops)
		if err != nil {
			b.unlisten()
			return fmt.Errorf("cannot serve metrics on %s: %w", b.cfg.Ops, err)
		}
		b.opsAt = ln
		b.log.Info("metrics", "url", "http://"+ln.Addr().String()+"/metrics")
	}
	return nil
}

func (b *Broker) unlisten() {
	for _, l := range b.listeners {
		l.close()
	}
}

// URLs returns where the broker listens.
func (b *Broker) URLs() (urls []string) {
	for _, l := range b.listeners {
		urls = append(urls, l.String())
	}
	return urls
}

// Run serves until ctx is over, then stops in this order: no new links, sessions and requests; streams under
// way may go on for the grace period, so that pictures arrive whole; then every session is told CONNECTION_ERROR
// "draining", after which agents come back, and links are closed. It returns when all goroutines have ended. A
// second context, stop, cuts the grace period short.
func (b *Broker) Run(ctx, stop context.Context) error {
	if len(b.listeners) > 0 && b.listeners[0].Listener == nil {
		if err := b.Listen(); err != nil {
			return err
		}
	}
	var work sync.WaitGroup
	guarding, relax := context.WithCancel(context.Background())
	defer relax()
	if b.cfg.Access != nil {
		work.Go(func() { b.guard(guarding) })
	}
	failed := make(chan error, len(b.listeners)+1)
	if b.opsAt != nil { // until the very end, so that one can see it drain
		work.Go(func() {
			if err := newOps(b).run(guarding, b.opsAt); err != nil {
				failed <- err
			}
		})
	}
	for _, l := range b.listeners {
		work.Go(func() {
			serve := func(nc net.Conn) { work.Go(func() { b.Serve(nc) }) }
			var err error
			if l.web() {
				err = b.serveWeb(l, &work)
			} else {
				err = l.accept(b.log, serve)
			}
			if err != nil {
				failed <- err
			}
		})
	}
	var err error
	select {
	case <-ctx.Done():
	case err = <-failed:
	}
	b.unlisten()
	b.drain(stop)
	relax()
	work.Wait()
	return err
}

// drain ends everything.
func (b *Broker) drain(stop context.Context) {
	if !b.draining.Swap(true) {
		close(b.stopping)
	}
	if n := b.routes.Load(); n > 0 {
		b.log.Info("draining", "streams", n, "grace", b.cfg.Grace)
		grace := time.NewTimer(b.cfg.Grace)
		defer grace.Stop()
		for b.routes.Load() > 0 {
			select {
			case <-b.idle:
				continue
			case <-grace.C:
			case <-stop.Done():
			}
			break
		}
	}
	last, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	b.server.Close(last, core.ErrorCodeConnectionError, "draining")
	// They hang up when they have heard it. Who closes first loses it for those who are writing: see session's lingering.
	b.mu.Lock()
	for len(b.links) > 0 && last.Err() == nil {
		b.mu.Unlock()
		select {
		case <-b.unlinked:
		case <-last.Done():
		}
		b.mu.Lock()
	}
	for nc := range b.links { // those that have no session, and those that do not take our last words
		_ = nc.Close()
	}
	b.mu.Unlock()
	b.console.Wait()
}

func (b *Broker) routeDone() {
	if b.routes.Add(-1) == 0 && b.draining.Load() {
		select {
		case b.idle <- struct{}{}:
		default:
		}
	}
}

// refusingMost is how many links too many are told so at once; others are closed without a word.
const refusingMost = 100

// Serve takes one link until it is lost.
func (b *Broker) Serve(nc net.Conn) {
	b.mu.Lock()
	full := len(b.links) >= b.cfg.Connections
	if !full {
		b.links[nc] = struct{}{}
	}
	b.mu.Unlock()
	if full {
		b.counters.add(linksRefused)
		defer b.refusing.Add(-1)
		if b.refusing.Add(1) > refusingMost {
			_ = nc.Close()
			return
		}
		session.Refuse(nc, session.Errorf(core.ErrorCodeRejectedSetup, "the broker has %d links, which is its limit", b.cfg.Connections))
		return
	}
	defer func() {
		b.mu.Lock()
		delete(b.links, nc)
		last := len(b.links) == 0 && b.draining.Load()
		b.mu.Unlock()
		if last {
			select {
			case b.unlinked <- struct{}{}:
			default:
			}
		}
	}()
	remote := nc.RemoteAddr()
	err := b.server.Serve(nc)
	e, ok := errors.AsType[*session.Error](err)
	if !ok {
		return
	}
	switch e.Code {
	case core.ErrorCodeInvalidSetup, core.ErrorCodeUnsupportedSetup, core.ErrorCodeRejectedSetup, core.ErrorCodeRejectedResume:
		b.counters.add(sessionsRefused)
		if more, ok := b.refusals.may(originOf(remote).host()+e.Text, time.Now()); ok {
			b.log.Warn("connection refused", "remote", remote, "code", e.Code, "err", api.Text(e.Text), "others", more)
		}
	}
}

// accept decides whether a session begins, and as what.
func (b *Broker) accept(c *session.Conn) (session.Receiver, error) {
	who, advert, err := readCard(c.Setup())
	if err != nil {
		return nil, err
	}
	if b.draining.Load() {
		return nil, session.Errorf(core.ErrorCodeConnectionError, "draining")
	}
	grant, err := b.admit(&who, originOf(c.RemoteAddr()))
	if err != nil {
		return nil, err
	}
	who.auth = wire.Auth{} // it has done its work
	c.ForgetSetup()
	l := &leg{b: b, conn: c, card: who, grant: grant, read: metadataOf(c.Setup().MetadataMIME)}
	if err := b.enter(l); err != nil {
		return nil, err
	}
	var old *leg
	if who.device != "" {
		if old, err = b.registry.join(l, advert); err != nil {
			b.forget(l)
			return nil, err
		}
	}
	b.counters.add(sessionsAccepted)
	if b.cfg.Access != nil {
		b.log.Info("session admitted", "credential", grant.Credential, "role", grant.Role, "device", who.device, "remote", c.RemoteAddr())
	}
	switch {
	case who.device == "":
		b.log.Debug("laptop connected", "remote", c.RemoteAddr())
	case old == nil:
		b.log.Info("device online", "device", who.device, "remote", c.RemoteAddr())
	default:
		b.log.Info("device online anew", "device", who.device, "remote", c.RemoteAddr())
		b.counters.add(sessionsReplaced)
		old.conn.Close(core.ErrorCodeConnectionError, "the same device has connected anew")
	}
	return l, nil
}

// enter notes a session, unless there are too many.
func (b *Broker) enter(l *leg) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	name := l.grant.Credential
	switch {
	case len(b.legs) >= b.cfg.Sessions:
		return session.Errorf(core.ErrorCodeRejectedSetup, "the broker has %d sessions, which is its limit", b.cfg.Sessions)
	case name != "" && b.held[name] >= b.cfg.PerHolder:
		return session.Errorf(core.ErrorCodeRejectedSetup, "there are %d sessions with these credentials, which is the limit", b.held[name])
	}
	b.legs[l.conn] = l
	if name != "" {
		b.held[name]++
	}
	return nil
}

func (b *Broker) forget(l *leg) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.legs, l.conn)
	if name := l.grant.Credential; name != "" {
		if b.held[name]--; b.held[name] == 0 {
			delete(b.held, name)
		}
	}
}

// legOf returns a session's leg, nil when it is over.
func (b *Broker) legOf(c *session.Conn) *leg {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.legs[c]
}

// ended is a leg's last word.
func (b *Broker) ended(l *leg, err error) {
	b.forget(l)
	if l.card.device != "" {
		b.log.Info("device left", "device", l.card.device, "err", api.Text(err.Error()))
	} else {
		b.log.Debug("laptop left", "remote", l.conn.RemoteAddr(), "err", api.Text(err.Error()))
	}
}

// repeats does what quiet does, and lets the same line through only every ten minutes: who is refused tries again.
type repeats struct {
	quiet
	said map[string]time.Time // guarded by quiet.mu
}

const (
	repeatAfter = 10 * time.Minute
	repeatsKept = 1000
)

func (r *repeats) may(line string, now time.Time) (held int, ok bool) {
	r.mu.Lock()
	at, again := r.said[line]
	if again = again && now.Sub(at) < repeatAfter; again {
		r.held++
	}
	r.mu.Unlock()
	if again {
		return 0, false
	}
	if held, ok = r.quiet.may(now); !ok {
		return 0, false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.said == nil || len(r.said) >= repeatsKept {
		r.said = map[string]time.Time{}
	}
	r.said[line] = now
	return held, true
}

// quiet lets one line a second through and counts the others.
type quiet struct {
	mu   sync.Mutex
	next time.Time
	held int
}

func (q *quiet) may(now time.Time) (held int, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if now.Before(q.next) {
		q.held++
		return 0, false
	}
	held, q.held, q.next = q.held, 0, now.Add(time.Second)
	return held, true
}
