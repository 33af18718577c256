package session_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"github.com/rsocket/rsocket-go/core"

	"github.com/perchcam/perch/internal/simlink"
	"github.com/perchcam/perch/pkg/session"
)

// setupBytes is a SETUP with its length; token "": not to be resumed.
func setupBytes(token string) []byte {
	flags := byte(0)
	if token != "" {
		flags = 0x80
		token = string([]byte{0, byte(len(token))}) + token
	}
	return framed(append([]byte{0, 0, 0, 0, 0x04, flags, 0, 1, 0, 0, 0, 0, 0x4e, 0x20, 0, 1, 0x5f, 0x90}, token+"\x00\x00"...)...)
}

// frameBytes is a frame with its length.
func frameBytes(id uint32, t core.FrameType, flags core.FrameFlag, body string) []byte {
	b := binary.BigEndian.AppendUint32(nil, id)
	b = binary.BigEndian.AppendUint16(b, uint16(t)<<10|uint16(flags))
	return framed(append(b, body...)...)
}

var position0 = strings.Repeat("\x00", 8)

// TestPeerThatNeverReads: however much it says, what is to be told to it does not pile up.
func TestPeerThatNeverReads(t *testing.T) {
	const bound = 1 << 20
	for name, c := range map[string]struct {
		rounds int
		say    []byte
	}{
		"KEEPALIVEs to be answered":   {100, frameBytes(0, core.FrameTypeKeepalive, core.FlagRespond, position0+strings.Repeat("x", 60_000))},
		"large KEEPALIVEs":            {3, frameBytes(0, core.FrameTypeKeepalive, core.FlagRespond, position0+strings.Repeat("x", 2<<20))},
		"payloads to be acknowledged": {600, frameBytes(99, core.FrameTypePayload, core.FlagNext, strings.Repeat("x", 33_000))},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, simlink.Path{Buffer: 4096}, session.ServerConfig{})
				nc, _ := w.dial(t.Context())
				_, _ = nc.Write(setupBytes("token"))
				for i := range c.rounds {
					if _, err := nc.Write(c.say); err != nil {
						return // thrown out: that is a bound too
					}
					time.Sleep(20 * time.Millisecond)
					if n, frames := session.Control(w.conn()); n > bound || frames > 300 {
						t.Fatalf("%d frames of %d bytes wait after %d rounds", frames, n, i+1)
					}
				}
			})
		})
	}
}

// TestPushToALinkThatIsFull: METADATA_PUSH is dropped rather than piled up; it may be lost anyway.
func TestPushToALinkThatIsFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, simlink.Path{Buffer: 4096}, session.ServerConfig{})
		_, _ = w.client(resumable, &end{})
		w.setDown(errDown)
		w.link().Silence()
		for range 1000 {
			w.conn().Push(make([]byte, 10_000))
		}
		if n, _ := session.Control(w.conn()); n > 1<<20 {
			t.Errorf("%d bytes wait", n)
		}
		if n := w.conn().Stats().PushesLost; n < 900 {
			t.Errorf("%d were counted as lost", n)
		}
	})
}

// TestRefusalsThatNobodyReads: requests that are refused are in no table, but their ERRORs have to wait somewhere.
func TestRefusalsThatNobodyReads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		refused := 0
		w := newWorld(t, simlink.Path{Buffer: 4096}, session.ServerConfig{Accept: func(*session.Conn) (session.Receiver, error) {
			return &refuser{n: &refused}, nil
		}})
		nc, _ := w.dial(t.Context())
		_, _ = nc.Write(setupBytes(""))
		id := uint32(1)
		for range 200 {
			var b bytes.Buffer
			for range 1000 {
				b.Write(frameBytes(id, core.FrameTypeRequestResponse, 0, ""))
				id += 2
			}
			if _, err := nc.Write(b.Bytes()); err != nil {
				break
			}
		}
		synctest.Wait()
		if _, n, _ := w.server.Stats(); n != 0 || refused > 100_000 {
			t.Errorf("%d sessions, which refused %d requests", n, refused)
		}
	})
}

type refuser struct {
	end
	n *int
}

func (r *refuser) Request(s *session.Stream, _ session.Frame) session.Owner {
	*r.n++
	s.Fail(core.ErrorCodeRejected, "no")
	return nil
}

// TestRequestsThatGiveUpWithoutALink: those who asked for a moment to send and left are forgotten.
func TestRequestsThatGiveUpWithoutALink(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, simlink.Path{}, session.ServerConfig{})
		local := &end{}
		c, _ := w.client(resumable, local)
		w.setDown(errDown)
		w.link().Reset()
		synctest.Wait()
		stays := c.Open(&half{local, nil})
		stays.Await()
		for range 10_000 {
			s := c.Open(&half{local, nil})
			if s.Await() {
				t.Fatal("there is no link")
			}
			s.Cancel()
		}
		if n := session.Waiting(c); n > 200 {
			t.Errorf("%d streams wait, of which one still wants to", n)
		}
		w.setDown(nil)
		time.Sleep(10 * time.Second)
		if n, _ := local.told(); n != 1 {
			t.Errorf("%d were told that they may send", n)
		}
	})
}

// TestTotalOfLinkedSessions: sessions with links can keep too much too, if the other ends take everything and
// acknowledge nothing.
func TestTotalOfLinkedSessions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, simlink.Path{}, session.ServerConfig{RetainTotal: 1 << 20})
		for i := range 4 {
			nc, _ := w.dial(t.Context())
			go func() { _, _ = io.Copy(io.Discard, nc) }()
			_, _ = nc.Write(setupBytes("token" + string(rune('a'+i))))
			_, _ = nc.Write(frameBytes(1, core.FrameTypeRequestStream, 0, "\x7f\xff\xff\xff"))
			synctest.Wait()
			s := w.remote.stream(i)
			for range 40 + i { // the first keeps least
				s.Send(next(string(make([]byte, 10_000))))
			}
			s.Session().Flush()
			synctest.Wait()
		}
		stats, n, kept := w.server.Stats()
		if kept > 1<<20 || stats.Evicted != 2 || n != 2 {
			t.Errorf("%d bytes kept by %d sessions, %+v", kept, n, stats)
		}
		if err := w.conns[0].Err(); err != nil {
			t.Error("the one that kept least went:", err)
		}
	})
}

// TestAnnouncedFrame: memory for a frame comes with its bytes, not with its length.
func TestAnnouncedFrame(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, simlink.Path{}, session.ServerConfig{})
		nc, _ := w.dial(t.Context())
		big := frameBytes(1, core.FrameTypeRequestResponse, 0, string(bytes.Repeat([]byte("0123456789"), 1_000_000)))
		_, _ = nc.Write(append(setupBytes(""), big[:10]...))
		for sent := 10; ; {
			synctest.Wait()
			held := session.HeldByReader(w.conn())
			if held > 128<<10 && held > 9*sent {
				t.Fatalf("%d bytes are held for %d that came", held, sent)
			}
			if sent == len(big) {
				break
			}
			n := min(len(big), 2*sent+1)
			_, _ = nc.Write(big[sent:n])
			sent = n
		}
		if got := w.remote.seen(); len(got) != 1 || got[0].data != string(big[9:]) {
			t.Error("the frame is not what was sent")
		}
	})
}

// TestHastySetup: how often a client wants to be asked is bounded, whatever its SETUP says.
func TestHastySetup(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, simlink.Path{}, session.ServerConfig{})
		nc, _ := w.dial(t.Context())
		b := setupBytes("")
		copy(b[3+10:], []byte{0, 0, 0, 1, 0, 0, 0xff, 0xff}) // each millisecond
		_, _ = nc.Write(b)
		_, _ = nc.Write(frameBytes(1, core.FrameTypeRequestStream, 0, "\x00\x00\x00\x01"))
		var got bytes.Buffer
		go func() { _, _ = io.Copy(&got, nc) }()
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if n := got.Len(); n > 1000 {
			t.Errorf("%d bytes in two seconds", n)
		}
	})
}

// TestErrorTextIsCutBetweenRunes: an ERROR frame is not fragmented, and its text stays UTF-8.
func TestErrorTextIsCutBetweenRunes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, simlink.Path{}, session.ServerConfig{Options: session.Options{MTU: 64}})
		local := &end{}
		c, _ := w.client(resumable, local)
		for i := range 3 {
			s := c.Open(&half{local, nil})
			s.Send(request(core.FrameTypeRequestResponse, 0, ""))
			c.Flush()
			synctest.Wait()
			w.remote.stream(i).Fail(core.ErrorCodeApplicationError, strings.Repeat("x", i)+strings.Repeat("€", 40))
			w.conn().Flush()
			synctest.Wait()
			if got := local.seen()[i].data; !utf8.ValidString(got) || len(got) < 50 {
				t.Errorf("arrived: %q", got)
			}
		}
	})
}

// TestCloseOfAServerIsBounded by its context, though the other ends take nothing.
func TestCloseOfAServerIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, simlink.Path{}, session.ServerConfig{})
		_, _ = w.client(resumable, &end{})
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		begin := time.Now()
		w.server.Close(ctx, core.ErrorCodeConnectionClose, "goodbye")
		if time.Since(begin) > 100*time.Millisecond || w.conn().Err() == nil {
			t.Errorf("Close took %v, the session says %v", time.Since(begin), w.conn().Err())
		}
	})
}
