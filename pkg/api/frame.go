package api

import (
	"errors"
	"fmt"
	"time"

	"github.com/perchcam/perch/pkg/wire"
)

// ErrNoHeader is a picture whose metadata has no FrameHeader.
var ErrNoHeader = errors.New("the picture came without a header")

// FrameHeader says what a picture's bytes are. It is an entry of type MIMEFrame in the payload's metadata.
type FrameHeader struct {
	Camera  string    `json:"camera"`
	Boot    string    `json:"boot"`
	Seq     uint64    `json:"seq"`     // of the camera's pictures since boot
	At      time.Time `json:"at"`      // when it was taken, by the device's clock
	MonoNS  int64     `json:"mono_ns"` // the same on the device's monotonic clock: ages are measured with this one
	Synced  bool      `json:"synced"`  // whether the device's clock was set by NTP
	Width   int       `json:"width"`   // pixels
	Height  int       `json:"height"`
	Format  string    `json:"format"`
	Skipped uint64    `json:"skipped"`           // pictures this viewer did not get since its last one, at its own wish or pace
	Failed  uint64    `json:"failed,omitempty"`  // of these, pictures that the camera counted and did not give, or not whole
	Lost    uint64    `json:"lost,omitempty"`    // pictures of KeepAll that could not be kept since the last one
	Settled bool      `json:"settled,omitempty"` // whether exposure and colour had settled
	Key     bool      `json:"key,omitempty"`     // FormatH264: decoding can begin here
}

// Check implements Checker.
func (h FrameHeader) Check() error {
	if err := CheckName("camera", h.Camera); err != nil {
		return err
	}
	if h.Width < 1 || h.Width > maxSide || h.Height < 1 || h.Height > maxSide {
		return fmt.Errorf("%d×%d is no size of a picture", h.Width, h.Height)
	}
	if err := checkText("boot", h.Boot); err != nil {
		return err
	}
	return checkText("format", h.Format)
}

// ParseHeader reads a header's JSON.
func ParseHeader(data []byte) (FrameHeader, error) {
	return unmarshal[FrameHeader](data, MaxHeader, "picture's header")
}

// Metadata returns the header as composite metadata of one entry.
func (h FrameHeader) Metadata() ([]byte, error) {
	body, err := marshal(h, MaxHeader, "picture's header")
	if err != nil {
		return nil, err
	}
	return wire.AppendEntry(nil, MIMEFrame, body)
}

// HeaderOf finds the header in a payload's composite metadata. ErrNoHeader says that there is none.
func HeaderOf(md []byte) (FrameHeader, error) {
	e, ok, err := wire.Find(md, MIMEFrame)
	switch {
	case err != nil:
		return FrameHeader{}, err
	case !ok:
		return FrameHeader{}, ErrNoHeader
	}
	return ParseHeader(e.Body)
}
