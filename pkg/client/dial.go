package client

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"

	"github.com/perchcam/perch/pkg/link"
)

// dialer returns what makes links to cfg.Broker.
func dialer(cfg Config) (func(context.Context) (net.Conn, error), error) {
	u, err := link.ParseURL(cfg.Broker)
	if err != nil {
		return nil, invalid(err)
	}
	if cfg.Auth.Scheme != "" && !u.Secure() && !u.Loopback() && !cfg.Insecure {
		return nil, invalid(fmt.Errorf("credentials do not travel over plain %s to another machine: use tls:// or wss://", u.Scheme))
	}
	d := &link.Dialer{TLS: cfg.TLS, Proxy: http.ProxyFromEnvironment}
	return func(ctx context.Context) (net.Conn, error) {
		nc, err := d.Dial(ctx, u)
		if err != nil {
			return nil, &dialError{errors.Unwrap(err)} // the address is in our own sentence
		}
		return nc, nil
	}, nil
}

// dialError is why there is no link.
type dialError struct{ err error }

func (e *dialError) Error() string { return e.err.Error() }
func (e *dialError) Unwrap() error { return e.err }

// reason is what a person needs to know of why there is no session.
func reason(err error) string {
	if e, ok := errors.AsType[*dialError](err); ok {
		err = e.err
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return "no answer in time"
	}
	if e, ok := errors.AsType[*net.OpError](err); ok && e.Err != nil && !errors.Is(err, link.ErrProxy) {
		err = e.Err
		if inner := errors.Unwrap(err); inner != nil {
			err = inner // without the system call's name
		}
	}
	return err.Error()
}
