package broker

import (
	"context"
	"errors"
	"net"
	"sync"
	"time"

	"github.com/rsocket/rsocket-go/core"

	"github.com/perchcam/perch/pkg/broker/access"
	"github.com/perchcam/perch/pkg/session"
	"github.com/perchcam/perch/pkg/wire"
)

// admit decides what a session may do that says who and whose link came from where.
func (b *Broker) admit(who *card, from origin) (access.Grant, error) {
	if b.cfg.Access == nil {
		return access.All, nil
	}
	token := ""
	switch who.auth.Scheme {
	case wire.AuthBearer, wire.AuthSimple:
		token = who.auth.Secret
	case "":
	default:
		return access.Grant{}, session.Errorf(core.ErrorCodeRejectedSetup, "credentials of the type %q are not understood: bearer and simple are", who.auth.Scheme)
	}
	g, err := b.cfg.Access.Admit(token, from.certificate)
	if errors.Is(err, access.ErrUnknown) {
		// They may have been added a moment ago, and who shows them is told that it worked.
		if changed, _ := b.cfg.Access.Reload(); changed { // guard tells of errors
			b.expel()
			g, err = b.cfg.Access.Admit(token, from.certificate)
		}
	}
	if err == nil && who.auth.Scheme == wire.AuthSimple && who.auth.User != g.Credential {
		err = access.ErrUnknown
	}
	if err != nil {
		b.failures.wait(b.stopping, from.host())
		return access.Grant{}, session.Errorf(core.ErrorCodeRejectedSetup, "%v", err)
	}
	switch {
	case g.Role == access.Enrol:
		who.device = "" // not before it has come back with what it gets
	case g.Role == access.Device && who.device == "":
		return g, session.Errorf(core.ErrorCodeRejectedSetup, "these credentials are a device's, and no device has registered")
	case g.Role == access.Device && !g.Covers(who.device):
		return g, session.Errorf(core.ErrorCodeRejectedSetup, "these credentials are not for device %q", who.device)
	case g.Role != access.Device && who.device != "":
		return g, session.Errorf(core.ErrorCodeRejectedSetup, "these credentials are not a device's")
	}
	return g, nil
}

// mayResume decides whether a session may go on over nc. Who only has its token has not enough: the link must be
// as secure as the one before, and have shown the same certificate. It waits as one who guesses.
func (b *Broker) mayResume(c *session.Conn, nc net.Conn) error {
	was, is := originOf(c.RemoteAddr()), originOf(nc.RemoteAddr())
	text := ""
	switch {
	case was.secure && !is.secure:
		text = "the session began over TLS"
	case was.certificate != is.certificate:
		text = "the session began with another certificate"
	default:
		return nil
	}
	b.failures.wait(b.stopping, is.host())
	return session.Errorf(core.ErrorCodeRejectedResume, "%s", text)
}

// guard ends the sessions whose credentials are revoked, changed or expired, as long as ctx lasts. The file is looked at
// once a second.
func (b *Broker) guard(ctx context.Context) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for n := 1; ; n++ {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		changed, err := b.cfg.Access.Reload()
		if err != nil {
			if more, ok := b.unread.may(time.Now()); ok {
				b.log.Error("going on with the credentials as they were", "err", err, "others", more)
			}
		}
		if changed || n%30 == 0 {
			b.expel()
		}
	}
}

// expel ends the sessions whose grants do not stand any more.
func (b *Broker) expel() {
	var gone []*leg
	b.mu.Lock()
	for _, l := range b.legs {
		if !b.cfg.Access.Stands(l.grant) && l.grant.Role != access.Enrol {
			gone = append(gone, l)
		}
	}
	b.mu.Unlock()
	for _, l := range gone {
		b.counters.add(sessionsExpelled)
		b.log.Info("session ended: its credentials do not count any more", "credential", l.grant.Credential, "remote", l.conn.RemoteAddr())
		l.conn.Close(core.ErrorCodeConnectionError, "the credentials were revoked")
	}
}

// failures makes those wait who show wrong credentials again and again: the answer to each takes twice as long as the one
// before, to the same address, up to Config.GuessWait. It costs no one else anything.
type failures struct {
	most time.Duration

	mu   sync.Mutex // guards the following
	from map[string]failed
}

type failed struct {
	n    int
	last time.Time
}

const (
	failuresKept = 10_000           // addresses
	failureFades = 30 * time.Second // and is forgotten
)

// wait notes a failure and waits for as long as it costs, or until stop is closed.
func (f *failures) wait(stop <-chan struct{}, host string) {
	f.mu.Lock()
	now := time.Now()
	if len(f.from) >= failuresKept || f.from == nil {
		f.from = map[string]failed{}
	}
	e := f.from[host]
	if now.Sub(e.last) > failureFades {
		e = failed{}
	}
	e.n, e.last = e.n+1, now
	f.from[host] = e
	f.mu.Unlock()
	pause := time.NewTimer(min(100*time.Millisecond<<min(e.n, 10), f.most))
	defer pause.Stop()
	select {
	case <-pause.C:
	case <-stop:
	}
}

var errPlain = errors.New("credentials would cross the network for all to read: use tls:// or wss://, or --insecure if the network is your own")
