package camera

import (
	"sync/atomic"
	"time"
)

// shot is one frame that was copied out of the camera's buffers.
type shot struct {
	seq           uint64
	nth           uint64        // its number in this run of the camera, from 0
	mono          time.Duration // when it was taken
	arrived       time.Duration // when we had it
	format        Format
	width, height int
	data          []byte // of a raw one, as unpack makes it
	failed        uint64 // the hub's, when it came
	refs          int    // users of a raw data; the Hub's mu guards it
}

// passes tells whether the shot is, as it is, the picture that r asks for.
func (s *shot) passes(r rendition) bool {
	return s.format == H264 || s.format.isJPEG() && r == rendition{}
}

// rendition says how a viewer wants its pictures made. The zero value is the
// size and quality that the camera gives.
type rendition struct {
	width, height int // box that the picture must fit in; 0 is free
	quality       int // 0 leaves it to the camera, else 5 … 95 in steps of 5
}

// newRendition clamps and rounds what was asked.
func newRendition(width, height, quality int) rendition {
	if quality != 0 {
		quality = min(max((quality+2)/5*5, 5), 95)
	}
	return rendition{max(width, 0), max(height, 0), quality}
}

// of gives r for a picture of w×h in its exact size, so that requests which
// come to the same share their work.
func (r rendition) of(w, h int) rendition {
	fw, fh := fit(w, h, r.width, r.height)
	if fw == w && fh == h {
		fw, fh = 0, 0
	}
	return rendition{fw, fh, r.quality}
}

// made is a finished picture.
type made struct {
	seq           uint64
	mono, arrived time.Duration
	format        Format
	width, height int
	data          []byte
	failed        uint64
}

// passed is the shot itself as a finished picture.
func passed(s *shot) made {
	return made{s.seq, s.mono, s.arrived, s.format, s.width, s.height, s.data, s.failed}
}

// line is one rendition that has viewers now: what was made last, and what is
// being made. The Hub's mu guards it.
type line struct {
	want  rendition
	users int
	last  made
	busy  *job
}

// job is a picture being made by one viewer; others may wait for it.
type job struct {
	line  *line
	shot  *shot       // until it has a bench a newer one may take its place; the Hub's mu guards it
	fixed bool        // no newer one may; and the line does not wait for it
	begun atomic.Bool // a viewer has taken it on
	done  chan struct{}
	made  made  // valid once done is closed
	err   error // likewise
}
