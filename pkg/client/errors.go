package client

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/perchcam/perch/pkg/api"
	"github.com/perchcam/perch/pkg/peer"
	"github.com/perchcam/perch/pkg/session"
	"github.com/perchcam/perch/pkg/wire"
)

// Kinds of an Error.
var (
	ErrUnreachable = errors.New("broker unreachable")
	ErrRefused     = errors.New("refused by the broker")   // it does not take us as we are, or our role may not ask for this
	ErrNoDevice    = errors.New("no such device")          // or none that we may see
	ErrAway        = errors.New("device away")             // its link is lost; it may come back
	ErrRejected    = errors.New("rejected")                // not processed: it may be asked again
	ErrInvalid     = errors.New("invalid request")         // asking it again will not help
	ErrFailed      = errors.New("failed at the other end") // processed, and failed
	ErrTimeout     = errors.New("timed out")
	ErrAnswer      = errors.New("invalid answer") // of the other end
	ErrClosed      = errors.New("client closed")
)

// Error is why a request failed.
type Error struct {
	Kind   error    // one of the above
	Text   string   // the sentence, safe for a terminal
	Device string   // "": it was none's
	Known  []string // ErrNoDevice: the names of some devices that there are
	Err    error    // the cause, nil for none
}

func (e *Error) Error() string { return e.Text }

// Unwrap lets errors.Is find the kind and the cause.
func (e *Error) Unwrap() []error {
	if e.Err == nil {
		return []error{e.Kind}
	}
	return []error{e.Kind, e.Err}
}

// lost says why there is no session.
func (c *Client) lost(err error) error {
	e, ok := errors.AsType[*session.Error](err)
	switch {
	case !ok:
		return &Error{Kind: ErrUnreachable, Text: fmt.Sprintf("cannot reach the broker at %s: %s", c.cfg.Broker, api.Text(reason(err))), Err: err}
	case e.Code == session.CodeRejectedSetup, e.Code == session.CodeUnsupportedSetup, e.Code == session.CodeInvalidSetup:
		return &Error{Kind: ErrRefused, Text: fmt.Sprintf("the broker at %s refuses the connection: %s", c.cfg.Broker, api.Text(e.Text)), Err: err}
	}
	return &Error{Kind: ErrUnreachable, Text: fmt.Sprintf("the broker at %s has ended the connection: %s", c.cfg.Broker, api.Text(e.Text)), Err: err}
}

// explain makes an Error of what ended a request. what is the request, as in "waiting for a snapshot".
func (c *Client) explain(ctx context.Context, what string, err error) error {
	if _, ok := errors.AsType[*Error](err); ok || err == nil {
		return err
	}
	if e, ok := errors.AsType[*peer.Error](err); ok && !over(err) {
		return &Error{Kind: kindOf(e), Text: api.Text(e.Text), Err: err}
	}
	switch {
	case over(err):
		return c.lost(err)
	case errors.Is(err, context.DeadlineExceeded), errors.Is(ctx.Err(), context.DeadlineExceeded):
		text := what + " took too long"
		if !c.up() {
			text += ": there is no link to the broker at " + c.cfg.Broker
		}
		return &Error{Kind: ErrTimeout, Text: text, Err: err}
	case ctx.Err() != nil:
		return err // whoever ended ctx knows why
	}
	return &Error{Kind: ErrAnswer, Text: fmt.Sprintf("%s: %s", what, api.Text(err.Error())), Err: err}
}

func kindOf(e *peer.Error) error {
	switch {
	case e.Code == peer.CodeRejected && strings.HasPrefix(e.Text, api.NotPermitted):
		return ErrRefused
	case e.Code == peer.CodeRejected:
		return ErrRejected
	case e.Code == peer.CodeInvalid:
		return ErrInvalid
	}
	return ErrFailed
}

// up reports whether there is a link now.
func (c *Client) up() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.conn != nil && c.conn.Up()
}

// lookUpLimit bounds what is asked to explain an error.
const lookUpLimit = time.Second

// explainDevice does the same for a device's request. A rejection may have several reasons, and only a person
// can tell them apart by its text: the broker is asked whether the device is there.
func (c *Client) explainDevice(ctx context.Context, device, what string, err error) error {
	err = c.explain(ctx, what, err)
	e, ok := errors.AsType[*Error](err)
	if !ok {
		return err
	}
	e.Device = device
	unknown := e.Kind == ErrRejected || e.Kind == ErrInvalid && c.cfg.Dialect == wire.Alibaba // as Alibaba's broker has it
	if !unknown {
		return e
	}
	ctx, cancel := context.WithTimeout(ctx, lookUpLimit)
	defer cancel()
	there, failed := c.Registry(ctx, device)
	switch {
	case failed != nil: // not Perch's broker, or it is gone
	case len(there.Devices) == 0:
		e.Kind = ErrNoDevice
		list, _ := c.Devices(ctx)
		for _, d := range list {
			e.Known = append(e.Known, api.Text(d.Name))
		}
	case there.Devices[0].State == api.StateAway:
		e.Kind = ErrAway
	}
	return e
}
