package session_test

import (
	"bytes"
	"encoding/binary"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rsocket/rsocket-go/core"

	"github.com/perchcam/perch/internal/simlink"
	"github.com/perchcam/perch/pkg/session"
)

// TestPositionRidesAlong: on a link where much goes both ways, positions are told with what leaves anyway; where
// nothing does, by themselves after a pause, or when they stand for much.
func TestPositionRidesAlong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, simlink.Path{Buffer: 4 << 20}, session.ServerConfig{})
		nc, _ := w.dial(t.Context())
		var got bytes.Buffer
		go func() { _, _ = io.Copy(&got, nc) }()
		heard := func() (payloads int, positions []uint64) {
			synctest.Wait()
			for b := got.Next(got.Len()); len(b) > 0; {
				n := 3 + int(b[0])<<16 + int(b[1])<<8 + int(b[2])
				switch core.FrameType(b[7] >> 2) {
				case core.FrameTypePayload:
					payloads++
				case core.FrameTypeKeepalive:
					positions = append(positions, binary.BigEndian.Uint64(b[9:]))
				}
				b = b[n:]
			}
			return payloads, positions
		}
		element := frameBytes(1, core.FrameTypePayload, core.FlagNext, string(make([]byte, 33_000)))
		_, _ = nc.Write(setupBytes("token"))
		open := frameBytes(1, core.FrameTypeRequestChannel, 0, "\x7f\xff\xff\xff")
		_, _ = nc.Write(append(open, element...))
		if n, at := heard(); n != 0 || len(at) != 0 {
			t.Errorf("%d payloads and positions %d though nobody had anything to say", n, at)
		}
		pos := uint64(len(open) - 3 + len(element) - 3)
		s := w.remote.stream(0)
		s.Send(next("x"))
		s.Session().Flush()
		if n, at := heard(); n != 1 || len(at) != 1 || at[0] != pos {
			t.Errorf("%d payloads and positions %d, want one with %d", n, at, pos)
		}
		for range 40 {
			_, _ = nc.Write(element)
		}
		pos += 32 * uint64(len(element)-3) // the first that make a MiB
		if n, at := heard(); n != 0 || len(at) != 1 || at[0] != pos {
			t.Errorf("%d payloads and positions %d, want %d by itself", n, at, pos)
		}
		time.Sleep(60 * time.Millisecond)
		_, _ = nc.Write(element)
		if _, at := heard(); len(at) != 1 || at[0] != pos+8*uint64(len(element)-3) { // the ninth is not whole when its beginning is read
			t.Errorf("after a pause: positions %d", at)
		}
	})
}
