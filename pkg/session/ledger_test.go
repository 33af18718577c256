package session

import (
	"testing"

	"pgregory.net/rapid"
)

// sized returns a frame of n bytes.
func sized(n int) Frame { return newFrame(1, 0x0a, 0, make([]byte, n-headSize)) }

// TestLedgerAgainstModel drives a ledger and its peer's with random sends, deliveries, acknowledgements and cuts, and
// holds it against the simplest model of both: a list of frames and two counters.
func TestLedgerAgainstModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := ledger{retain: true}
		var sizes []int // of all frames ever sent
		delivered := 0  // frames the peer has
		position := func(n int) (pos uint64) {
			for _, s := range sizes[:n] {
				pos += uint64(s)
			}
			return pos
		}
		acked, onLink := 0, 0 // frames
		t.Repeat(map[string]func(*rapid.T){
			"send": func(t *rapid.T) {
				if l.replaying() {
					t.Skip("replays come first")
				}
				n := rapid.IntRange(headSize, 200).Draw(t, "size")
				f := sized(n)
				l.add(f)
				f.release()
				sizes = append(sizes, n)
				onLink = len(sizes)
			},
			"replay": func(t *rapid.T) {
				f, ok := l.replay()
				if ok != (onLink < len(sizes)) {
					t.Fatalf("replay says %v with %d of %d frames on the link", ok, onLink, len(sizes))
				}
				if ok {
					if f.Size() != sizes[onLink] {
						t.Fatalf("replayed %d bytes, frame %d has %d", f.Size(), onLink, sizes[onLink])
					}
					f.release()
					onLink++
				}
			},
			"deliver": func(t *rapid.T) {
				delivered = rapid.IntRange(delivered, max(delivered, onLink)).Draw(t, "delivered")
			},
			"ack": func(t *rapid.T) {
				acked = rapid.IntRange(acked, delivered).Draw(t, "acked")
				if err := l.ack(position(acked)); err != nil {
					t.Fatal(err)
				}
			},
			"cut": func(t *rapid.T) {
				if err := l.rewind(position(delivered)); err != nil {
					t.Fatal(err)
				}
				acked, onLink = delivered, delivered
			},
			"lie": func(t *rapid.T) {
				pos := rapid.Uint64Range(0, position(len(sizes))+100).Draw(t, "pos")
				border := false
				for n := acked; n <= len(sizes); n++ {
					border = border || pos == position(n)
				}
				if err := l.mayRewind(pos); (err == nil) != border {
					t.Fatalf("mayRewind(%d) with %d acknowledged: %v", pos, position(acked), err)
				}
			},
			"": func(t *rapid.T) {
				if l.sent != position(len(sizes)) || l.acked != position(acked) || l.kept.len() != len(sizes)-acked || uint64(l.bytes) != l.sent-l.acked {
					t.Fatalf("sent %d, acked %d, %d frames of %d bytes kept; want %d, %d, %d", l.sent, l.acked, l.kept.len(), l.bytes, position(len(sizes)), position(acked), len(sizes)-acked)
				}
			},
		})
	})
}

func TestLedgerRefuses(t *testing.T) {
	l := ledger{retain: true}
	l.add(sized(100))
	l.add(sized(50))
	for pos, want := range map[uint64]string{
		151: "acknowledged position 151 is beyond 150, which is all that was sent",
		99:  "acknowledged position 99 is inside a frame",
	} {
		if err := l.ack(pos); err == nil || err.Error() != want {
			t.Errorf("ack(%d) = %v, want %s", pos, err, want)
		}
	}
	if err := l.rewind(0); err != nil {
		t.Fatal(err)
	}
	if err := l.ack(100); err == nil {
		t.Error("an acknowledgement of a frame that is not on this link was taken")
	}
}

func TestLedgerKeepsNothingWithoutResumption(t *testing.T) {
	var l ledger
	l.add(sized(100))
	if l.bytes != 0 || l.kept.len() != 0 || l.sent != 100 {
		t.Errorf("kept %d bytes, sent %d", l.bytes, l.sent)
	}
	if err := l.ack(7); err != nil {
		t.Error("a position from a peer that counts is not our business without resumption:", err)
	}
}

// A RESUME_OK may arrive while the session is being ended: what was kept is gone by then.
func TestLedgerAfterDrop(t *testing.T) {
	l := ledger{retain: true}
	l.add(sized(100))
	l.add(sized(50))
	l.drop()
	if err := l.rewind(100); err == nil {
		t.Error("it goes on from a frame that is gone")
	}
}
