package link

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"time"
)

// ErrProxy is wrapped by what went wrong on the way to a proxy or in it.
var ErrProxy = errors.New("the proxy")

const maxAnswer = 64 << 10 // bytes of a proxy's header

// tunnel connects to u through an HTTP proxy, by CONNECT (RFC 9110, section 9.3.6).
func (d *Dialer) tunnel(ctx context.Context, u URL, proxy *url.URL) (net.Conn, error) {
	fail := func(err error) error { return fmt.Errorf("%w %s: %w", ErrProxy, proxy.Redacted(), err) }
	port := proxy.Port()
	switch {
	case proxy.Scheme != "http" && proxy.Scheme != "https":
		return nil, fail(fmt.Errorf("%s:// is not spoken here; http:// and https:// are", proxy.Scheme))
	case port == "" && proxy.Scheme == "https":
		port = "443"
	case port == "":
		port = "80"
	}
	nc, err := d.direct(ctx, proxy.Hostname(), port)
	if err != nil {
		return nil, fail(err)
	}
	if proxy.Scheme == "https" {
		cfg := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: proxy.Hostname()}
		if d.Clock != nil {
			cfg.Time = d.Clock.Time
		}
		nc = tls.Client(nc, cfg)
	}
	if err := connect(ctx, nc, u.HostPort(), proxy.User); err != nil {
		_ = nc.Close()
		return nil, fail(err)
	}
	return nc, nil
}

// connect asks the proxy at the other end of nc for a tunnel, and returns when it is there.
func connect(ctx context.Context, nc net.Conn, hostPort string, user *url.Userinfo) error {
	stop := context.AfterFunc(ctx, func() { _ = nc.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	req := &http.Request{Method: http.MethodConnect, URL: &url.URL{Opaque: hostPort}, Host: hostPort, Header: http.Header{}}
	if user != nil {
		password, _ := user.Password()
		req.SetBasicAuth(user.Username(), password)
		req.Header = http.Header{"Proxy-Authorization": req.Header["Authorization"]}
	}
	if err := req.Write(nc); err != nil {
		return err
	}
	// Nothing follows the answer before we have spoken, so the reader holds nothing back.
	answer, err := http.ReadResponse(bufio.NewReader(io.LimitReader(nc, maxAnswer)), req)
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case err != nil:
		return err
	case answer.StatusCode != http.StatusOK:
		return fmt.Errorf("it answers %s to CONNECT %s", answer.Status, hostPort)
	case !stop():
		return context.Cause(ctx)
	}
	return nil
}
