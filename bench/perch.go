package main

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"time"

	"github.com/perchcam/perch/pkg/link"
	"github.com/perchcam/perch/pkg/peer"
	"github.com/perchcam/perch/pkg/session"
	"github.com/perchcam/perch/pkg/wire"
)

// Perch's own ends: the engine and the session that agent, CLI and Go programs use.

// dialURL makes links to a broker. For tls:// the one authority it trusts is in ca.
func dialURL(broker, ca string) (func(context.Context) (net.Conn, error), error) {
	u, err := link.ParseURL(broker)
	if err != nil {
		return nil, err
	}
	d := &link.Dialer{}
	if ca != "" {
		if d.TLS, err = trust(ca); err != nil {
			return nil, err
		}
	}
	return func(ctx context.Context) (net.Conn, error) { return d.Dial(ctx, u) }, nil
}

// dialed is a session that dials, and runs until close.
type dialed struct {
	*peer.Peer
	*session.Client
	up     chan struct{}
	linked bool
	cancel context.CancelFunc
}

func (d *dialed) Linked(up, _ bool) {
	if up && !d.linked {
		d.linked = true
		close(d.up)
	}
}

func (d *dialed) Ended(error) {}

// dialBroker begins a session and waits until the broker has answered. how is a list with commas: "off" is a session that
// cannot be resumed, anything else the name of a file with the authority to trust.
func dialBroker(broker, how string, h peer.Handler, metadata []byte) (*dialed, error) {
	setup := session.Setup{Resume: true, MetadataMIME: wire.MIMEComposite, DataMIME: wire.MIMEOctetStream, Metadata: metadata}
	ca := ""
	for w := range strings.SplitSeq(how, ",") {
		if w == "off" {
			setup.Resume = false
		} else if w != "" {
			ca = w
		}
	}
	dial, err := dialURL(broker, ca)
	if err != nil {
		return nil, err
	}
	d := &dialed{up: make(chan struct{})}
	if d.Peer, err = peer.New(peer.Config{Handler: h}); err != nil {
		return nil, err
	}
	if d.Client, err = session.NewClient(session.ClientConfig{Setup: setup, Dial: dial}, d); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	d.cancel = cancel
	go func() { _ = d.Run(ctx) }()
	select {
	case <-d.up:
		return d, nil
	case <-d.Done():
		cancel()
		return nil, d.Err()
	case <-time.After(20 * time.Second):
		cancel()
		return nil, fmt.Errorf("the broker does not answer")
	}
}

func perchDevice(broker, how string) error {
	data := zeros()
	answer := peer.Funcs{Response: func(_ context.Context, req peer.Payload) (peer.Payload, error) {
		if len(req.Data) != 4 {
			return peer.Payload{}, peer.Errorf(peer.CodeInvalid, "how many bytes?")
		}
		return peer.Payload{Data: data[:binary.BigEndian.Uint32(req.Data)]}, nil
	}}
	md, err := deviceMetadata(deviceName)
	if err != nil {
		return err
	}
	d, err := dialBroker(broker, how, answer, md)
	if err != nil {
		return err
	}
	defer d.cancel()
	say(ready{})
	return stay()
}

type perchLaptop struct {
	d  *dialed
	md []byte
}

func newPerchLaptop(broker, how string) (asker, error) {
	setup, err := wire.Setup{Dialect: wire.RSocketBroker, ID: wire.NewUUID().String(), Service: "laptop"}.Append(nil)
	if err != nil {
		return nil, err
	}
	md, err := address(deviceName)
	if err != nil {
		return nil, err
	}
	d, err := dialBroker(broker, how, nil, setup)
	if err != nil {
		return nil, err
	}
	return &perchLaptop{d, md}, nil
}

func (l *perchLaptop) ask(size int) error {
	v, err := l.d.Requester(l.d.Conn).RequestResponse(context.Background(), peer.Payload{Metadata: l.md, Data: sized(size)})
	if err == nil && len(v.Data) != size {
		err = fmt.Errorf("%d of %d bytes", len(v.Data), size)
	}
	return err
}

func (l *perchLaptop) another() asker { return l }
func (l *perchLaptop) close()         { l.d.cancel() }

// broker starts a perch-broker. Its URL is in the child's addr.
func (l *lab) broker(listen string, args ...string) (*child, error) {
	return l.brokerIn(l.bin, listen, args...)
}

func (l *lab) brokerIn(bin, listen string, args ...string) (*child, error) {
	c, err := program("perch-broker", filepath.Join(bin, "perch-broker"), nil, append([]string{"--listen", listen, "--log-level", "warn"}, args...)...)
	if err != nil {
		return nil, err
	}
	c.addr = listen
	_, addr, _ := strings.Cut(listen, "://")
	if err := listening(l.ctx, addr); err != nil {
		_ = c.stop()
		return nil, fmt.Errorf("perch-broker does not listen: %w\n%s", err, c.errs)
	}
	return c, nil
}

// trust reads an authority's certificate, and shows the client certificate beside it, if there is one.
func trust(ca string) (*tls.Config, error) {
	pool, err := certPool(ca)
	if err != nil {
		return nil, err
	}
	cfg := &tls.Config{RootCAs: pool, ServerName: "localhost", MinVersion: tls.VersionTLS12}
	if cert, err := tls.LoadX509KeyPair(filepath.Join(filepath.Dir(ca), "client.pem"), filepath.Join(filepath.Dir(ca), "client.key")); err == nil {
		cfg.Certificates = []tls.Certificate{cert}
	}
	return cfg, nil
}
