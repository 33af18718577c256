package session

import "github.com/rsocket/rsocket-go/core"

// sane checks every length in a received frame, so that nothing above and no decoder below has to.
// ignore: the frame is to be passed over (Protocol.md, "Handling the Unexpected").
//
// Seen in rsocket-go v0.8.16, 2026-11: 18 places that panic on a malformed length.
func sane(f Frame) (ignore bool, err error) {
	t, body, id := f.Type(), f.body(), f.StreamID()
	need, stream := 0, true
	switch t {
	case core.FrameTypeRequestResponse, core.FrameTypeRequestFNF, core.FrameTypePayload, core.FrameTypeCancel:
	case core.FrameTypeRequestStream, core.FrameTypeRequestChannel, core.FrameTypeRequestN:
		need = 4
	case core.FrameTypeError:
		need, stream = 4, id != 0
	case core.FrameTypeKeepalive:
		need, stream = 8, false
	case core.FrameTypeMetadataPush:
		stream = false
	default:
		if f.Has(core.FlagIgnore) {
			return true, nil
		}
		return false, protocolError("frame of type 0x%02x is not expected here", uint16(t))
	}
	if stream != (id != 0) {
		return true, nil
	}
	if len(body) < need {
		return false, protocolError("%v frame of %d bytes is too short", t, f.Size())
	}
	if f.hasMetadata() {
		p := f.payload()
		if len(p) < 3 || u24(p) > len(p)-3 {
			return false, protocolError("%v frame: metadata length is past the end of the frame", t)
		}
	}
	return false, nil
}
