package session_test

import (
	"encoding/binary"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rsocket/rsocket-go/core"

	"github.com/perchcam/perch/pkg/session"
	"github.com/perchcam/perch/pkg/session/sessiontest"
)

// echo answers each element of a stream, and each request, with itself. It is both Receiver and Owner of all.
type echo struct {
	mu     sync.Mutex
	linked []string
	ended  error
}

func (e *echo) Request(s *session.Stream, f session.Frame) session.Owner {
	o := &echoStream{s: s, e: e}
	o.Frame(f)
	return o
}
func (e *echo) Push([]byte) {}
func (e *echo) Settle()     {}
func (e *echo) Linked(up, resumed bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.linked = append(e.linked, fmt.Sprint(up, resumed))
}
func (e *echo) Ended(err error) { e.ended = err }

type echoStream struct {
	s *session.Stream
	e *echo
}

func (o *echoStream) Frame(f session.Frame) {
	if d := f.Data(); f.Type() == core.FrameTypePayload || f.Type() == core.FrameTypeRequestChannel {
		o.s.Send(session.Message{Type: core.FrameTypePayload, Flags: core.FlagNext, Data: append([]byte(nil), d...)})
		o.s.Session().Flush()
	}
}
func (o *echoStream) Left(int)    {}
func (o *echoStream) Writable()   {}
func (o *echoStream) Ended(error) {}

// caller sends numbered elements and keeps what comes back.
type caller struct {
	echo
	mu   sync.Mutex
	got  []uint32
	left int
	over error
}

func (c *caller) Frame(f session.Frame) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if f.Type() == core.FrameTypePayload && len(f.Data()) >= 4 {
		c.got = append(c.got, binary.BigEndian.Uint32(f.Data()))
	}
}
func (c *caller) Left(n int) { c.mu.Lock(); c.left += n; c.mu.Unlock() }
func (c *caller) Writable()  {}
func (c *caller) Ended(err error) {
	c.mu.Lock()
	c.over = err
	c.mu.Unlock()
}

func TestElementsCrossCuts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, server := &caller{}, &echo{}
		c, _, n := sessiontest.Pair(t, session.ClientConfig{Setup: session.Setup{Resume: true}}, &client.echo, server)
		s := c.Open(client)
		s.Send(session.Message{Type: core.FrameTypeRequestChannel, N: 1 << 30, Data: u32(0)})
		c.Flush()
		const elements = 200
		for i := uint32(1); i < elements; i++ {
			s.Send(session.Message{Type: core.FrameTypePayload, Flags: core.FlagNext, Data: append(u32(i), make([]byte, 5000)...), Mark: true})
			c.Flush()
			if i%20 == 0 {
				n.Cut()
				time.Sleep(time.Second)
			}
		}
		synctest.Wait()
		time.Sleep(10 * time.Second)
		synctest.Wait()
		client.mu.Lock()
		defer client.mu.Unlock()
		if len(client.got) != elements {
			t.Fatalf("%d of %d came back: %v, %+v, %v", len(client.got), elements, client.over, c.Stats(), c.Err())
		}
		for i, v := range client.got {
			if v != uint32(i) {
				t.Fatalf("element %d is %d", i, v)
			}
		}
		if client.left != elements-1 {
			t.Errorf("%d left", client.left)
		}
		if st := c.Stats(); st.Links < 5 || st.FramesAgain == 0 {
			t.Errorf("stats %+v: the link was not cut under way", st)
		}
	})
}

func u32(n uint32) []byte { return binary.BigEndian.AppendUint32(nil, n) }
