package agent

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/perchcam/perch/pkg/api"
	"github.com/perchcam/perch/pkg/link"
	"github.com/perchcam/perch/pkg/peer"
	"github.com/perchcam/perch/pkg/session"
	"github.com/perchcam/perch/pkg/wire"
)

type dialFunc func(ctx context.Context, u link.URL) (net.Conn, error)

// brokers goes the way to each broker: name, TCP, TLS, answer.
func (d *Doctor) brokers(ctx context.Context) (list []Finding) {
	running, state := d.service(ctx)
	if running {
		list = append(list, state)
	}
	for _, u := range d.config.Broker {
		list = append(list, d.broker(ctx, u, running)...)
	}
	return list
}

// service asks systemd how the agent does that runs as a service. running: it does, so that this device must not connect
// once more: the broker would take the second for a restart and end the session of the first.
func (d *Doctor) service(ctx context.Context) (running bool, f Finding) {
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	out, err := d.run(ctx, "systemctl", "show", "perch-agent", "--property=ActiveState,StatusText")
	if err != nil || !strings.Contains(out, "ActiveState=active") {
		return false, Finding{}
	}
	text := ""
	for line := range strings.SplitSeq(out, "\n") {
		if s, ok := strings.CutPrefix(line, "StatusText="); ok {
			text = s
		}
	}
	if strings.HasPrefix(text, string(link.Online)) {
		return true, fine("service", "it runs: %s", text)
	}
	return true, fail("service", "journalctl -u perch-agent -n 20 says more", "it runs and is not connected: %s", text)
}

func (d *Doctor) broker(ctx context.Context, u link.URL, running bool) []Finding {
	about := "broker"
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	list, ok := d.find(ctx, u)
	if !ok {
		return list
	}
	trust, err := d.files.trust(d.config)
	if err != nil {
		return list // said among the settings
	}
	var seen *tls.ConnectionState
	note := trust.VerifyConnection
	trust.VerifyConnection = func(s tls.ConnectionState) error {
		seen = &s
		if note != nil {
			return note(s)
		}
		return nil
	}
	clock := newClock(d.root)
	if u.Secure() {
		list = append(list, shown(trust, clock.Time())...)
	}
	nc, err := d.dial(&link.Dialer{TLS: trust, Clock: clock, Proxy: d.proxy})(ctx, u)
	if err != nil {
		return append(list, fail(about, advice(d.config, d.name(), u, err), "%v", err))
	}
	if seen != nil {
		list = append(list, certificate(*seen, d.config.BrokerPin != "", clock.Time()))
	}
	if running {
		_ = nc.Close() // the service's session says the rest
		return list
	}
	return append(list, d.hello(ctx, u, nc))
}

// find looks a broker's name up, unless a proxy will. ok: it can be dialed.
func (d *Doctor) find(ctx context.Context, u link.URL) (list []Finding, ok bool) {
	const about = "broker"
	if u.Secure() {
		proxy, err := d.proxy(&http.Request{URL: &url.URL{Scheme: "https", Host: u.HostPort()}})
		if err != nil {
			return []Finding{fail(about, "correct HTTPS_PROXY in "+File, "%v", err)}, false
		}
		if proxy != nil {
			return []Finding{fine(about, "%s is reached through the proxy %s", u, proxy.Redacted())}, true
		}
	}
	addrs, err := d.resolve(ctx, u.Host)
	if err != nil {
		next := "is the name right? what this machine's name servers say: getent hosts " + u.Host
		if strings.HasSuffix(u.Host, ".local") {
			next = "is that machine on, on this network, and does it answer to its name (avahi-daemon on Linux)? its address does as well as its name"
		}
		return []Finding{fail(about, next, "%v", err)}, false
	}
	return []Finding{fine(about, "%s is at %s", u, strings.Join(addrs, ", "))}, true
}

// certificate says what the broker showed. now is what dates are judged by.
func certificate(s tls.ConnectionState, pinned bool, now time.Time) Finding {
	c := s.PeerCertificates[0]
	how := "signed by " + api.Text(c.Issuer.String())
	if pinned {
		how = "its key is the pinned one"
	}
	text := fmt.Sprintf("%s for %s, until %s, %s", tls.VersionName(s.Version), api.Text(namesOf(c)), c.NotAfter.UTC().Format(time.DateOnly), how)
	if left := c.NotAfter.Sub(now); !pinned && left < soon {
		return warn("certificate", "the broker needs a new certificate", "%s: in %d days", text, int(left.Hours()/24))
	}
	return fine("certificate", "%s", text)
}

// soon is when a certificate that ends is a matter for today.
const soon = 14 * 24 * time.Hour

// shown says whether the certificate that this device shows counts; nothing if it has none.
func shown(c *tls.Config, now time.Time) []Finding {
	const about, next = "own certificate", "make a new one, and put it where PERCH_TLS_CERT says"
	if len(c.Certificates) == 0 {
		return nil
	}
	leaf := c.Certificates[0].Leaf
	left, until := leaf.NotAfter.Sub(now), leaf.NotAfter.UTC().Format(time.DateOnly)
	switch {
	case left < 0:
		return []Finding{fail(about, next, "it counted until %s", until)}
	case now.Before(leaf.NotBefore):
		return []Finding{fail(about, "is this machine's clock right? timedatectl", "it counts from %s", leaf.NotBefore.UTC().Format(time.DateOnly))}
	case left < soon:
		return []Finding{warn(about, next, "it counts until %s: for %d days", until, int(left.Hours()/24))}
	}
	return []Finding{fine(about, "it counts until %s", until)}
}

// hello registers as this device, asks who the broker is, and says goodbye.
func (d *Doctor) hello(ctx context.Context, u link.URL, nc net.Conn) Finding {
	const about = "broker"
	name := d.name()
	auth, err := d.files.auth(d.config)
	if err != nil {
		_ = nc.Close()
		return fail(about, "", "%v", err)
	}
	md, err := introduce(d.config, api.Advert{Device: name, ID: d.machine.id, Boot: "check"}, auth)
	if err != nil {
		_ = nc.Close()
		return fail(about, "", "%v", err)
	}
	p, err := peer.New(peer.Config{})
	if err != nil {
		_ = nc.Close()
		return fail(about, "", "%v", err)
	}
	up := make(chan struct{}, 1)
	c, err := session.NewClient(session.ClientConfig{
		Dial:  func(context.Context) (net.Conn, error) { return nc, nil },
		Setup: session.Setup{MetadataMIME: wire.MIMEComposite, DataMIME: wire.MIMEOctetStream, Metadata: md},
	}, greeter{p, up})
	if err != nil {
		_ = nc.Close()
		return fail(about, "", "%v", err)
	}
	ended := make(chan error, 1)
	ctx, cancel := context.WithCancel(ctx)
	go func() { ended <- c.Run(ctx) }()
	defer func() {
		cancel()
		p.Wait()
	}()
	select {
	case err := <-ended:
		if e, ok := errors.AsType[*session.Error](err); ok {
			return fail(about, advice(d.config, name, u, err), "it refuses this device: %s", api.Text(e.Text))
		}
		if err == nil { // we said goodbye
			err = context.Cause(ctx)
		}
		next := "is it a broker that listens there? PERCH_DIALECT says which kind"
		if refused(err) {
			next = advice(d.config, name, u, err)
		}
		return fail(about, next, "it does not answer: %v", err)
	case <-up:
	}
	defer func() { cancel(); <-ended }()
	q, err := wire.Request{Route: api.RouteBrokerInfo}.Append(nil, d.config.Dialect)
	if err != nil {
		return fail(about, "", "%v", err)
	}
	asked, stop := context.WithTimeout(ctx, 2*time.Second) // a broker of rsocket-java waits for ever for a route that nobody has
	defer stop()
	v, err := p.Requester(c.Conn).RequestResponse(asked, peer.Payload{Metadata: q})
	if in, bad := api.Decode[api.BrokerInfo](v.Data); err == nil && bad == nil && in.Version != "" {
		return fine(about, "it takes this device as %s; it is Perch's, version %s", name, api.Text(in.Version))
	}
	return fine(about, "it takes this device as %s, in the dialect %s", name, d.config.Dialect)
}

type greeter struct {
	*peer.Peer
	up chan struct{}
}

func (g greeter) Linked(up, _ bool) {
	if up {
		g.up <- struct{}{}
	}
}

// resolve finds the addresses of a host.
func resolve(ctx context.Context, host string) ([]string, error) {
	if a, err := netip.ParseAddr(host); err == nil {
		return []string{a.String()}, nil
	}
	return link.Lookup(ctx, host)
}

// LoadFile sets the variables of a file in the form of systemd's EnvironmentFile= (systemd.exec(5)), for who runs the program by
// hand. Those that are set already stay.
func LoadFile(path string) error {
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(b)) {
		line = strings.TrimSpace(line)
		name, value, ok := strings.Cut(line, "=")
		if name = strings.TrimSpace(name); !ok || line[0] == '#' || line[0] == ';' {
			continue
		}
		if _, set := os.LookupEnv(name); set {
			continue
		}
		value = strings.TrimSpace(value)
		if n := len(value); n >= 2 && (value[0] == '"' || value[0] == '\'') && value[n-1] == value[0] {
			value = value[1 : n-1]
		}
		if err := os.Setenv(name, value); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
	}
	return nil
}
