package link

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"slices"
	"time"

	"github.com/coder/websocket"
)

const (
	lenSize  = 3
	maxFrame = 1<<24 - 1
)

func (d *Dialer) webSocket(ctx context.Context, u URL) (net.Conn, error) {
	var below net.Conn
	take := func(nc net.Conn, err error) (net.Conn, error) {
		below = nc
		return nc, err
	}
	client := &http.Client{
		Transport: &http.Transport{
			DialContext:       func(ctx context.Context, _, _ string) (net.Conn, error) { return take(d.tcp(ctx, u)) },
			DialTLSContext:    func(ctx context.Context, _, _ string) (net.Conn, error) { return take(d.tls(ctx, u)) },
			DisableKeepAlives: true, // a connection that was not upgraded is of no use
		},
		// Where a broker is says its address, not whoever answers there.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	ws, resp, err := websocket.Dial(ctx, u.String(), &websocket.DialOptions{HTTPClient: client})
	if err != nil {
		if resp != nil {
			return nil, fmt.Errorf("the answer is %s, not a WebSocket", resp.Status)
		}
		if e, ok := errors.AsType[*url.Error](err); ok {
			err = e.Err // without three layers that say what was done
		}
		if below != nil && ctx.Err() == nil {
			if _, ok := errors.AsType[net.Error](err); !ok {
				return nil, fmt.Errorf("it does not answer as a WebSocket does: should the address begin with %s://? (%w)", rawOf(u.Scheme), err)
			}
		}
		return nil, err
	}
	limit := d.MaxFrame
	if limit <= 0 {
		limit = maxFrame
	}
	return NewWebSocket(ws, below, limit), nil
}

// rawOf returns the scheme that is the same but for the WebSocket.
func rawOf(scheme string) string {
	if scheme == WSS {
		return TLS
	}
	return TCP
}

// NewWebSocket dresses a WebSocket as a connection of length-prefixed frames: one binary message is one frame without its
// length (Protocol.md, "Framing Protocol Usage"). below is the connection it runs on, for its addresses and options. A message
// of more than limit bytes ends the connection, and so does a deadline that passes.
//
// As with any net.Conn one goroutine may read while another writes, but only one of each.
func NewWebSocket(ws *websocket.Conn, below net.Conn, limit int) net.Conn {
	ws.SetReadLimit(int64(min(limit, maxFrame)))
	c := &wsConn{ws: ws, below: below}
	c.reading, c.readTimer = timed()
	c.writing, c.writeTimer = timed()
	return c
}

type wsConn struct {
	ws    *websocket.Conn
	below net.Conn

	reading, writing      context.Context // end when a deadline passes
	readTimer, writeTimer *time.Timer

	message []byte // owned by Read: a message with its length, reused
	rest    []byte // owned by Read: what of it has not been read
	part    []byte // owned by Write: the beginning of a frame
}

// timed returns a context that ends when the timer, which is stopped, fires.
func timed() (context.Context, *time.Timer) {
	ctx, cancel := context.WithCancel(context.Background())
	t := time.AfterFunc(time.Hour, cancel)
	t.Stop()
	return ctx, t
}

func (c *wsConn) Read(p []byte) (int, error) {
	if len(c.rest) == 0 {
		if err := c.next(); err != nil {
			return 0, c.explain(c.reading, err)
		}
	}
	n := copy(p, c.rest)
	c.rest = c.rest[n:]
	if len(c.rest) == 0 && cap(c.message) > 64<<10 {
		c.message = nil // one large message must not be kept for ever
	}
	return n, nil
}

// next receives a message. Its memory grows with what has arrived, not with what was announced.
func (c *wsConn) next() error {
	kind, r, err := c.ws.Reader(c.reading)
	if err != nil {
		return err
	}
	if kind != websocket.MessageBinary {
		_ = c.ws.Close(websocket.StatusUnsupportedData, "RSocket frames are binary messages")
		return errors.New("a text message came where RSocket frames are binary")
	}
	b := append(c.message[:0], make([]byte, lenSize)...)
	for {
		b = slices.Grow(b, 512)
		n, err := r.Read(b[len(b):cap(b)])
		b = b[:len(b)+n]
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
	}
	n := len(b) - lenSize
	b[0], b[1], b[2] = byte(n>>16), byte(n>>8), byte(n)
	c.message, c.rest = b, b
	return nil
}

func (c *wsConn) Write(p []byte) (int, error) {
	size := len(p)
	for len(p) > 0 {
		frame := c.part
		if len(frame) == 0 && len(p) >= lenSize && len(p) >= need(p) {
			frame, p = p[:need(p)], p[need(p):]
		} else {
			want := lenSize
			if len(c.part) >= lenSize {
				want = need(c.part)
			}
			n := min(want-len(c.part), len(p))
			c.part, p = append(c.part, p[:n]...), p[n:]
			if frame = c.part; len(frame) < lenSize || len(frame) < need(frame) {
				continue
			}
			c.part = nil
		}
		if err := c.ws.Write(c.writing, websocket.MessageBinary, frame[lenSize:]); err != nil {
			return size - len(p), c.explain(c.writing, err)
		}
	}
	return size, nil
}

// need is the size of a frame by its length.
func need(b []byte) int { return lenSize + int(b[0])<<16 + int(b[1])<<8 + int(b[2]) }

func (c *wsConn) explain(ctx context.Context, err error) error {
	switch websocket.CloseStatus(err) {
	case websocket.StatusNormalClosure, websocket.StatusGoingAway:
		return io.EOF
	}
	if ctx.Err() != nil {
		return os.ErrDeadlineExceeded
	}
	return err
}

// Close ends the connection without the WebSocket's own goodbye, for which it would have to wait: RSocket has one of its own.
func (c *wsConn) Close() error { return c.ws.CloseNow() }

// NetConn is the connection below, as of a tls.Conn.
func (c *wsConn) NetConn() net.Conn { return c.below }

func (c *wsConn) LocalAddr() net.Addr  { return c.below.LocalAddr() }
func (c *wsConn) RemoteAddr() net.Addr { return c.below.RemoteAddr() }

func (c *wsConn) SetDeadline(t time.Time) error {
	return errors.Join(c.SetReadDeadline(t), c.SetWriteDeadline(t))
}

func (c *wsConn) SetReadDeadline(t time.Time) error {
	set(c.readTimer, t)
	return nil
}

func (c *wsConn) SetWriteDeadline(t time.Time) error {
	set(c.writeTimer, t)
	return nil
}

func set(timer *time.Timer, t time.Time) {
	if t.IsZero() {
		timer.Stop()
	} else {
		timer.Reset(time.Until(t))
	}
}
