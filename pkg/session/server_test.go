package session_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rsocket/rsocket-go/core"

	"github.com/perchcam/perch/internal/simlink"
	"github.com/perchcam/perch/pkg/session"
)

// answer writes b to a new link of the server and returns the ERROR it is answered with.
func (w *world) answer(b []byte) (code core.ErrorCode, text string) {
	w.t.Helper()
	nc, _ := w.dial(w.t.Context())
	_, _ = nc.Write(b)
	got, _ := io.ReadAll(nc)
	if len(got) < 13 || got[7]>>2 != byte(core.FrameTypeError) {
		w.t.Fatalf("%q was answered with %x", b, got)
	}
	return core.ErrorCode(binary.BigEndian.Uint32(got[9:])), string(got[13:])
}

func framed(b ...byte) []byte {
	return append([]byte{byte(len(b) >> 16), byte(len(b) >> 8), byte(len(b))}, b...)
}

func TestFirstBytes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, simlink.Path{}, session.ServerConfig{})
		for name, c := range map[string]struct {
			bytes []byte
			code  core.ErrorCode
			text  string
		}{
			"HTTP":        {[]byte("GET / HTTP/1.1\r\n"), core.ErrorCodeInvalidSetup, "this is not an RSocket connection: "},
			"TLS":         {[]byte("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"), core.ErrorCodeInvalidSetup, "this is not an RSocket connection: "},
			"a request":   {framed(0, 0, 0, 1, 0x10, 0, 'x'), core.ErrorCodeInvalidSetup, "the first frame is neither SETUP nor RESUME"},
			"an ERROR":    {framed(0, 0, 0, 0, 0x2c, 0, 0, 0, 0, 1), core.ErrorCodeInvalidSetup, "the first frame is neither SETUP nor RESUME"},
			"half SETUP":  {framed(0, 0, 0, 0, 0x04, 0, 0, 1, 0, 0), core.ErrorCodeInvalidSetup, "a length is past the end"},
			"MIME length": {framed(append([]byte{0, 0, 0, 0, 0x04, 0, 0, 1, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1}, 200)...), core.ErrorCodeInvalidSetup, "a length is past the end"},
			"version 2":   {framed([]byte("\x00\x00\x00\x00\x04\x00\x00\x02\x00\x00\x00\x00\x00\x01\x00\x00\x00\x01\x00\x00")...), core.ErrorCodeUnsupportedSetup, "RSocket version 2"},
			"no lifetime": {framed([]byte("\x00\x00\x00\x00\x04\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00")...), core.ErrorCodeInvalidSetup, "must be positive"},
			"RESUME":      {framed([]byte("\x00\x00\x00\x00\x34\x00\x00\x01\x00\x00\x00\x01x" + strings.Repeat("\x00", 16))...), core.ErrorCodeRejectedResume, "unknown resume token"},
			"short token": {framed([]byte("\x00\x00\x00\x00\x34\x00\x00\x01\x00\x00\xff\xffx")...), core.ErrorCodeRejectedResume, "a length is past the end"},
		} {
			if code, text := w.answer(c.bytes); code != c.code || !strings.Contains(text, c.text) {
				t.Errorf("%s: answered %v %q, want %v %q", name, code, text, c.code, c.text)
			}
		}
		stats, sessions, _ := w.server.Stats()
		if sessions != 0 || stats.Garbage != 4 || stats.RefusedSetups != 4 || stats.RefusedResumes != 2 {
			t.Errorf("%d sessions, %+v", sessions, stats)
		}
	})
}

func TestFirstFrameDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, simlink.Path{}, session.ServerConfig{})
		nc, _ := w.dial(t.Context())
		begin := time.Now()
		for range 7 { // a slow loris
			_, _ = nc.Write([]byte{0})
			time.Sleep(time.Second)
		}
		_, _ = io.ReadAll(nc)
		if d := time.Since(begin); d != 7*time.Second { // it was over before we looked
			t.Errorf("over after %v", d)
		}
		if _, err := nc.Write([]byte{0}); err == nil {
			t.Error("a link that said nothing for 5 s was kept")
		}
	})
}

func TestSetupRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, simlink.Path{}, session.ServerConfig{Accept: func(*session.Conn) (session.Receiver, error) {
			return nil, session.Errorf(core.ErrorCodeRejectedSetup, "who are you")
		}})
		_, stop := w.client(resumable, &end{})
		err := stop()
		e, ok := errors.AsType[*session.Error](err)
		if !ok || e.Code != core.ErrorCodeRejectedSetup || e.Text != "who are you" || !errors.Is(err, session.ErrClosed) {
			t.Errorf("Run says %v", err)
		}
	})
}

func TestResumeSupersedesHalfOpenLink(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, simlink.Path{}, session.ServerConfig{})
		local := &end{}
		c, _ := w.client(resumable, local)
		s := c.Open(&half{local, nil})
		s.Send(request(core.FrameTypeRequestChannel, 10, "0"))
		c.Flush()
		synctest.Wait()
		old := w.link()
		old.Silence()
		s.Send(next("1"))
		c.Flush()
		_ = old.A.Close() // only the client knows
		time.Sleep(5 * time.Second)
		synctest.Wait()
		var got []string
		for _, f := range w.remote.seen() {
			got = append(got, f.data)
		}
		if strings.Join(got, " ") != "0 1" {
			t.Errorf("the server's end saw %q", got)
		}
		if l := strings.Join(w.remote.linked, " "); l != "up lost resumed" {
			t.Errorf("the server's end was linked %q", l)
		}
	})
}

func TestSessionExpires(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, simlink.Path{}, session.ServerConfig{SessionTime: time.Minute})
		local := &end{}
		c, stop := w.client(session.ClientConfig{Setup: session.Setup{Resume: true}, SessionTime: time.Hour}, local)
		s := c.Open(&half{local, nil})
		s.Send(request(core.FrameTypeRequestStream, 10, "x"))
		c.Flush()
		synctest.Wait()
		w.setDown(errDown)
		w.link().Reset()
		time.Sleep(59 * time.Second)
		if w.conn().Err() != nil {
			t.Fatal("the session is over before its time:", w.conn().Err())
		}
		time.Sleep(2 * time.Second)
		if err := w.conn().Err(); err == nil || !strings.Contains(err.Error(), "no link within the session time") {
			t.Error("the server's end says", err)
		}
		if w.remote.ended() == nil {
			t.Error("the stream was not told")
		}
		w.setDown(nil)
		time.Sleep(10 * time.Second)
		err := stop()
		if e, ok := errors.AsType[*session.Error](err); !ok || e.Code != core.ErrorCodeRejectedResume {
			t.Error("the client's end says", err)
		}
		if stats, n, kept := w.server.Stats(); stats.Expired != 1 || n != 0 || kept != 0 {
			t.Errorf("%d sessions and %d bytes left, %+v", n, kept, stats)
		}
	})
}

func TestStolenResumeLeavesSessionAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		refuse := false
		w := newWorld(t, simlink.Path{}, session.ServerConfig{})
		w2 := newWorld(t, simlink.Path{}, session.ServerConfig{MayResume: func(*session.Conn, session.NetConn) error {
			if refuse {
				return session.Errorf(core.ErrorCodeRejectedResume, "not you")
			}
			return nil
		}})
		_ = w
		local := &end{}
		c, _ := w2.client(resumable, local)
		refuse = true
		bad := session.ResumeFrame(c, 0, 0)
		if code, text := w2.answer(bad); code != core.ErrorCodeRejectedResume || text != "not you" {
			t.Errorf("answered %v %q", code, text)
		}
		refuse = false
		for _, pos := range [][2]uint64{{1, 0}, {0, 1}} {
			if code, _ := w2.answer(session.ResumeFrame(c, pos[0], pos[1])); code != core.ErrorCodeRejectedResume {
				t.Errorf("positions %v answered %v", pos, code)
			}
		}
		if !c.Up() || w2.conn().Err() != nil || !w2.conn().Up() {
			t.Error("a RESUME that was refused touched the session")
		}
	})
}

func TestServerEvictsTheLinklessSessionThatKeepsMost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, simlink.Path{}, session.ServerConfig{Options: session.Options{Retain: 1 << 20}, RetainTotal: 300_000})
		fill := func(n int) *session.Conn {
			local := &end{}
			c, _ := w.client(resumable, local)
			s := c.Open(&half{local, nil})
			s.Send(request(core.FrameTypeRequestStream, 1<<30, ""))
			c.Flush()
			synctest.Wait()
			far := w.remote.streams[len(w.remote.streams)-1]
			w.link().SilenceAB() // no acknowledgement comes back
			for range n {
				far.Send(next(string(make([]byte, 10_000))))
				far.Session().Flush()
			}
			synctest.Wait()
			w.setDown(errDown)
			w.link().Reset()
			synctest.Wait()
			w.setDown(nil)
			return far.Session()
		}
		less, more := fill(5), fill(15)
		third := fill(15)
		synctest.Wait()
		if more.Err() == nil && third.Err() == nil {
			t.Error("nothing was evicted")
		}
		if less.Err() != nil {
			t.Error("the one that keeps least went:", less.Err())
		}
		if stats, _, kept := w.server.Stats(); stats.Evicted == 0 || kept > 300_000 {
			t.Errorf("%d bytes kept, %+v", kept, stats)
		}
	})
}

// TestMalformedFrames sends each malformed frame after a good SETUP: CONNECTION_ERROR, and the server goes on.
func TestMalformedFrames(t *testing.T) {
	setup := []byte("\x00\x00\x00\x00\x04\x00\x00\x01\x00\x00\x00\x00\x4e\x20\x00\x01\x5f\x90\x00\x00")
	for name, b := range map[string][]byte{
		"PAYLOAD with metadata past its end":  {0, 0, 0, 1, 0x29, 0x20, 0xff, 0xff, 0xff},
		"REQUEST_RESPONSE with half a length": {0, 0, 0, 1, 0x11, 0x00, 0xff},
		"REQUEST_STREAM without n":            {0, 0, 0, 1, 0x18, 0x00, 0},
		"REQUEST_N without n":                 {0, 0, 0, 1, 0x20, 0x00},
		"KEEPALIVE without a position":        {0, 0, 0, 0, 0x0c, 0x80, 1},
		"ERROR without a code":                {0, 0, 0, 1, 0x2c, 0x00},
		"a second SETUP":                      setup,
		"an unknown type":                     {0, 0, 0, 1, 0xfc, 0x00},
		"LEASE":                               {0, 0, 0, 0, 0x08, 0, 0, 0, 0, 1, 0, 0, 0, 1},
		"a frame shorter than its header":     nil,
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, simlink.Path{}, session.ServerConfig{})
				code, text := w.answer(append(framed(setup...), framed(b...)...))
				if code != core.ErrorCodeConnectionError {
					t.Errorf("answered %v %q", code, text)
				}
				synctest.Wait()
				if _, n, _ := w.server.Stats(); n != 0 {
					t.Error("the session is still there")
				}
			})
		})
	}
}

func TestIgnored(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, simlink.Path{}, session.ServerConfig{})
		nc, _ := w.dial(t.Context())
		setup := []byte("\x00\x00\x00\x00\x04\x00\x00\x01\x00\x00\x00\x00\x4e\x20\x00\x01\x5f\x90\x00\x00")
		var b bytes.Buffer
		b.Write(framed(setup...))
		for _, f := range [][]byte{
			{0, 0, 0, 1, 0xfe, 0x00},                      // unknown type that may be ignored
			{0, 0, 0, 0, 0x10, 0x00},                      // a request on stream 0
			{0, 0, 0, 2, 0x10, 0x00},                      // with the server's parity
			{0, 0, 0, 9, 0x28, 0x20},                      // a payload of no stream
			{0, 0, 0, 9, 0x0c, 0, 0, 0, 0, 0, 0, 0, 0, 0}, // KEEPALIVE with a stream
			{0, 0, 0, 5, 0x10, 0x00, 'a'},
			{0, 0, 0, 5, 0x10, 0x00, 'b'}, // the same stream again
			{0, 0, 0, 3, 0x10, 0x00, 'c'}, // an id that went backwards
		} {
			b.Write(framed(f...))
		}
		_, _ = nc.Write(b.Bytes())
		synctest.Wait()
		if err := w.conn().Err(); err != nil {
			t.Fatal(err)
		}
		got := w.remote.seen()
		if len(got) != 2 || got[0].data != "a" || got[1].data != "b" { // b goes to a's owner, who knows what to do with it
			t.Errorf("seen %v", got)
		}
	})
}
