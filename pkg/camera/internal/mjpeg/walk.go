// Package mjpeg is JPEG pictures as cameras send them: one after the other,
// with leftovers behind them, without Huffman tables, or with a piece missing.
// It finds where a picture ends and whether it is whole, and does not decode.
package mjpeg

import (
	"bytes"
	"encoding/binary"
	"errors"
)

// Marker codes (ITU-T T.81 table B.1).
const (
	markSOF0 = 0xc0
	markDHT  = 0xc4
	markJPG  = 0xc8
	markDAC  = 0xcc
	markSOF  = 0xcf // the last SOFn
	markRST0 = 0xd0
	markRST7 = 0xd7
	markSOI  = 0xd8
	markEOI  = 0xd9
	markSOS  = 0xda
	markTEM  = 0x01
)

var (
	// ErrTorn: the picture is not whole.
	ErrTorn = errors.New("torn picture")
	// errShort: the picture is good so far, and goes on.
	errShort = errors.New("the picture goes on")
)

// Layout is what walking over a picture found.
type Layout struct {
	End           int // just after EOI
	Width, Height int
	scan          int  // where the first SOS marker begins
	tables        bool // Huffman tables come before it
}

// Walk walks over the picture at the start of b. It looks forward for the end
// rather than backward from the end of b, because drivers report the whole
// buffer as used and an older, longer picture's end may still be in it (seen
// with v4l2loopback). It finds what is cut off, what begins in the middle of
// another picture, and restart markers out of order.
func Walk(b []byte) (Layout, error) {
	var w walker
	if err := w.walk(b); err != nil {
		return Layout{}, ErrTorn
	}
	return w.Layout, nil
}

// walker walks over a picture that comes in pieces: walk is called with all
// of it so far and goes on where it stopped.
type walker struct {
	Layout
	at     int  // everything before has been walked over
	inScan bool // at is in entropy-coded data
	next   byte // the restart marker expected there
}

// walk gives nil at the end of the picture, errShort, or ErrTorn.
func (w *walker) walk(b []byte) error {
	if w.at == 0 {
		if len(b) < 2 {
			return errShort
		}
		if b[0] != 0xff || b[1] != markSOI {
			return ErrTorn
		}
		w.at = 2
	}
	for {
		if w.inScan {
			if err := w.skipScan(b); err != nil {
				return err
			}
		}
		if len(b) < w.at+2 {
			return errShort
		}
		if b[w.at] != 0xff {
			return ErrTorn
		}
		m := b[w.at+1]
		switch {
		case m == 0xff: // a fill byte (B.1.1.2)
			w.at++
			continue
		case m == markEOI:
			if w.scan == 0 {
				return ErrTorn
			}
			w.End = w.at + 2
			return nil
		case m == 0, m == markSOI, m == markTEM, m >= markRST0 && m <= markRST7:
			return ErrTorn // does not belong between segments
		}
		if len(b) < w.at+4 {
			return errShort
		}
		n := int(binary.BigEndian.Uint16(b[w.at+2:]))
		if n < 2 {
			return ErrTorn
		}
		if len(b) < w.at+2+n {
			return errShort
		}
		if err := w.segment(m, b[w.at+4:w.at+2+n]); err != nil {
			return err
		}
		w.at += 2 + n
	}
}

// segment takes note of one segment.
func (w *walker) segment(m byte, body []byte) error {
	switch {
	case m == markDHT:
		w.tables = w.tables || w.scan == 0
	case m >= markSOF0 && m <= markSOF && m != markDAC && m != markJPG:
		if len(body) < 6 || w.Width != 0 {
			return ErrTorn
		}
		w.Height, w.Width = int(binary.BigEndian.Uint16(body[1:])), int(binary.BigEndian.Uint16(body[3:]))
		if w.Height == 0 || w.Width == 0 {
			return ErrTorn
		}
	case m == markSOS:
		if w.Width == 0 {
			return ErrTorn
		}
		if w.scan == 0 {
			w.scan = w.at
		}
		w.inScan, w.next = true, markRST0
	}
	return nil
}

// skipScan walks over entropy-coded data to the marker that ends it.
func (w *walker) skipScan(b []byte) error {
	for {
		k := bytes.IndexByte(b[w.at:], 0xff)
		if k < 0 {
			w.at = len(b)
			return errShort
		}
		w.at += k
		if w.at+1 >= len(b) {
			return errShort
		}
		switch m := b[w.at+1]; {
		case m == 0: // a 0xff of the data, stuffed
			w.at += 2
		case m == 0xff:
			w.at++
		case m >= markRST0 && m <= markRST7:
			if m != w.next { // a piece is missing in the middle
				return ErrTorn
			}
			if w.next++; w.next > markRST7 {
				w.next = markRST0
			}
			w.at += 2
		default:
			w.inScan = false
			return nil
		}
	}
}

// Size is the length of what Append appends.
func (l Layout) Size() int {
	if l.tables {
		return l.End
	}
	return l.End + len(StandardTables)
}

// Append appends to dst the picture at the start of b, which l was found in,
// with the standard Huffman tables put in where the camera left them out.
func (l Layout) Append(dst, b []byte) []byte {
	if l.tables {
		return append(dst, b[:l.End]...)
	}
	dst = append(dst, b[:l.scan]...)
	dst = append(dst, StandardTables...)
	return append(dst, b[l.scan:l.End]...)
}
