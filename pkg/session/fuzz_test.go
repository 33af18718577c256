package session_test

import (
	"context"
	"io"
	"net"
	"testing"
	"time"

	"github.com/rsocket/rsocket-go/core"

	"github.com/perchcam/perch/pkg/session"
)

// spoken is a link on which b was said, in pieces of n bytes, and then the end; what is answered goes nowhere.
type spoken struct {
	b []byte
	n int
}

func (s *spoken) Read(p []byte) (int, error) {
	if len(s.b) == 0 {
		return 0, io.EOF
	}
	n := copy(p, s.b[:min(s.n, len(s.b))])
	s.b = s.b[n:]
	return n, nil
}
func (*spoken) Write(p []byte) (int, error)      { return len(p), nil }
func (*spoken) Close() error                     { return nil }
func (*spoken) LocalAddr() net.Addr              { return nil }
func (*spoken) RemoteAddr() net.Addr             { return nil }
func (*spoken) SetDeadline(time.Time) error      { return nil }
func (*spoken) SetReadDeadline(time.Time) error  { return nil }
func (*spoken) SetWriteDeadline(time.Time) error { return nil }

// looker looks at all there is of each frame, answers each request with what it got, and fails those that begin with 'f'.
type looker struct{ s *session.Stream }

func (looker) Request(s *session.Stream, f session.Frame) session.Owner {
	looker{s}.Frame(f)
	if d := f.Data(); len(d) > 0 && d[0] == 'f' {
		s.Fail(core.ErrorCodeRejected, string(d))
		return nil
	}
	return looker{s}
}

func (l looker) Frame(f session.Frame) {
	md, _ := f.Metadata()
	if n := len(md) + len(f.Data()); n > f.Size() {
		panic("a frame has more in it than it is long")
	}
	_, _, _ = f.N(), f.Flags(), f.StreamID()
	switch f.Type() {
	case core.FrameTypeCancel:
		l.s.Cancel()
	case core.FrameTypeRequestN:
		l.s.Request(f.N())
	case core.FrameTypeError:
		l.s.Forget()
	default:
		l.s.Put(f, true)
		l.s.Await()
	}
}
func (looker) Push([]byte)      {}
func (looker) Settle()          {}
func (looker) Linked(_, _ bool) {}
func (looker) Left(int)         {}
func (looker) Writable()        {}
func (looker) Ended(error)      {}

// FuzzServer takes any bytes, as the first on a link and after a good SETUP, whole and in pieces: nothing panics, and
// when all is closed nothing is kept.
func FuzzServer(f *testing.F) {
	f.Add([]byte("GET / HTTP/1.1\r\n\r\n"), uint8(0))
	f.Add(setupBytes("token"), uint8(3))
	f.Add(frameBytes(0, core.FrameTypeResume, 0, "\x00\x01\x00\x00\x00\x05token"+position0+position0), uint8(1))
	f.Add(frameBytes(0, core.FrameTypeKeepalive, core.FlagRespond, position0+"x"), uint8(255))
	for _, t := range []core.FrameType{core.FrameTypeRequestResponse, core.FrameTypeRequestFNF, core.FrameTypePayload} {
		f.Add(append(frameBytes(1, t, core.FlagMetadata, "\x00\x00\x02mdf"), frameBytes(1, core.FrameTypeCancel, 0, "")...), uint8(7))
	}
	for _, t := range []core.FrameType{core.FrameTypeRequestStream, core.FrameTypeRequestChannel, core.FrameTypeRequestN, core.FrameTypeError} {
		f.Add(append(frameBytes(1, t, core.FlagMetadata, "\x00\x00\x00\x05\x00\x00\x02mdx"), frameBytes(1, core.FrameTypePayload, core.FlagNext, "y")...), uint8(7))
	}
	f.Fuzz(func(t *testing.T, b []byte, pieces uint8) {
		srv, err := session.NewServer(session.ServerConfig{Accept: func(*session.Conn) (session.Receiver, error) { return looker{}, nil }})
		if err != nil {
			t.Fatal(err)
		}
		n := int(pieces) + 1
		_ = srv.Serve(&spoken{b, n})
		for _, token := range []string{"", "token"} {
			_ = srv.Serve(&spoken{append(setupBytes(token), b...), n})
		}
		srv.Close(context.Background(), core.ErrorCodeConnectionClose, "fuzzed")
		if _, sessions, kept := srv.Stats(); sessions != 0 || kept != 0 {
			t.Errorf("%d sessions and %d bytes are left", sessions, kept)
		}
	})
}

// FuzzClient takes any bytes as what a server answers, to SETUP and to RESUME.
func FuzzClient(f *testing.F) {
	f.Add([]byte{}, uint8(0))
	f.Add(frameBytes(0, core.FrameTypeResumeOK, 0, position0), uint8(3))
	f.Add(append(frameBytes(0, core.FrameTypeResumeOK, 0, position0), frameBytes(2, core.FrameTypeRequestResponse, 0, "x")...), uint8(20))
	f.Add(frameBytes(0, core.FrameTypeError, 0, "\x00\x00\x00\x04no"), uint8(9))
	f.Fuzz(func(t *testing.T, b []byte, pieces uint8) {
		links := 0
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		kick := make(chan struct{}, 4)
		c, err := session.NewClient(session.ClientConfig{Setup: session.Setup{Resume: true}, Kick: kick, Dial: func(context.Context) (net.Conn, error) {
			if links++; links > 2 {
				cancel()
				return nil, io.EOF
			}
			kick <- struct{}{}
			return &spoken{b, int(pieces) + 1}, nil
		}}, looker{})
		if err != nil {
			t.Fatal(err)
		}
		_ = c.Run(ctx)
		if s := c.Stats(); s.Retained != 0 || s.Queued != 0 {
			t.Errorf("left: %+v", s)
		}
	})
}
