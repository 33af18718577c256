package camera

import (
	"fmt"

	"github.com/perchcam/perch/pkg/camera/internal/h264"
)

// maxGOP bounds what is kept from one key picture of H.264 to the next, in bytes.
const maxGOP = 8 << 20

// gop is a group of pictures of H.264: a key picture and what has come since,
// without a gap, so that it can be decoded. Empty means that the next key
// picture is waited for. The Hub's mu guards it.
type gop struct {
	shots  []*shot
	bytes  int
	params []byte // SPS and PPS, for key pictures that come without
}

// add takes the next picture, or gives the reason why it is of no use.
func (g *gop) add(s *shot) string {
	u := h264.Scan(s.data)
	if u.Params != nil {
		g.params = u.Params
	}
	switch {
	case u.Key && g.params == nil:
		g.clear()
		return DropNoKey
	case u.Key:
		g.clear()
		if u.Params == nil {
			s.data = append(append(make([]byte, 0, len(g.params)+len(s.data)), g.params...), s.data...)
		}
	case len(g.shots) == 0:
		return DropNoKey
	case s.seq != g.shots[len(g.shots)-1].seq+1: // one was lost: what follows cannot be decoded
		g.clear()
		return DropNoKey
	case g.bytes+len(s.data) > maxGOP:
		g.clear()
		return DropTooBig
	}
	g.shots = append(g.shots, s)
	g.bytes += len(s.data)
	return ""
}

// clear forgets the pictures. Its memory is not used again: viewers may have them.
func (g *gop) clear() { g.shots, g.bytes = nil, 0 }

// next is the picture after the one numbered seen: the very next, if the group
// has it, else the group's key picture. any lets it be one from before seen.
func (g *gop) next(seen uint64, follows, any bool) *shot {
	if len(g.shots) == 0 {
		return nil
	}
	first := g.shots[0]
	if follows && seen+1 > first.seq {
		if i := seen + 1 - first.seq; i < uint64(len(g.shots)) {
			return g.shots[i]
		}
		return nil
	}
	if any || first.seq > seen {
		return first
	}
	return nil
}

// chooseH264 is choose for a camera that gives H.264. What v has begun it gets
// without a gap, as long as it is not a whole group behind. A rate below the
// camera's means key pictures only, for nothing else can be left out.
func (v *Viewer) chooseH264() (made, *job, error) {
	h := v.hub
	if v.snapshot || v.opt.Format != H264 {
		return made{}, nil, fmt.Errorf("camera %s gives H264, of which no single pictures are made; set format=mjpeg for it: %w", h.cfg.Name, ErrUnsupported)
	}
	keysOnly := v.step > h.period*5/4
	begun := v.got || v.opt.From > 0
	s := h.gop.next(v.seen, begun && !keysOnly, !begun)
	if s == nil || keysOnly && !v.isDue(s.mono) {
		return made{}, nil, nil
	}
	if !begun { // it begins with this one, even if that was taken before it came
		v.seen = s.seq - 1
	}
	return passed(s), nil, nil
}
