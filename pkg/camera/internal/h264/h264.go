// Package h264 cuts an H.264 byte stream (ITU-T H.264 annex B) into access
// units, one for each picture, and tells which of them decoding can begin with.
package h264

import (
	"bytes"
	"errors"
	"fmt"
	"io"
)

// NAL unit types (table 7-1).
const (
	nalSlice    = 1
	nalSliceEnd = 5 // 1 … 5 carry slices
	nalIDR      = 5
	nalSEI      = 6
	nalSPS      = 7
	nalPPS      = 8
	nalAUD      = 9
)

// Unit is what an access unit contains.
type Unit struct {
	Key    bool   // an IDR picture: decoding can begin here, with parameters
	Params []byte // its SPS and PPS with their start codes, nil unless both are there
}

// Scan looks into an access unit.
func Scan(b []byte) Unit {
	var u Unit
	var sps, pps bool
	var params []byte
	for start, nal := range nals(b) {
		switch b[nal] & 0x1f {
		case nalIDR:
			u.Key = true
		case nalSPS:
			sps = true
			params = append(params, b[start:nalEnd(b, nal)]...)
		case nalPPS:
			pps = true
			params = append(params, b[start:nalEnd(b, nal)]...)
		case nalSlice:
			if !sps {
				return u // an ordinary picture: its data need not be searched
			}
		}
		if u.Key {
			break // what follows are slices
		}
	}
	if sps && pps {
		u.Params = params
	}
	return u
}

// nals gives for each NAL unit where its start code begins and where its
// header is.
func nals(b []byte) func(func(int, int) bool) {
	return func(yield func(int, int) bool) {
		for at := 0; ; {
			k := bytes.Index(b[at:], []byte{0, 0, 1})
			if k < 0 || at+k+3 >= len(b) {
				return
			}
			start, nal := at+k, at+k+3
			if start > 0 && b[start-1] == 0 {
				start--
			}
			if !yield(start, nal) {
				return
			}
			at = nal
		}
	}
}

// nalEnd is where the NAL unit whose header is at nal ends.
func nalEnd(b []byte, nal int) int {
	k := bytes.Index(b[nal:], []byte{0, 0, 1})
	if k < 0 {
		return len(b)
	}
	if k > 0 && b[nal+k-1] == 0 {
		k--
	}
	return nal + k
}

// Reader cuts a byte stream into access units.
type Reader struct {
	r     io.Reader
	max   int
	buf   []byte // read and not given out, from the beginning of a unit
	given int    // bytes at the front of buf that the last Next gave out
	at    int    // everything before has been searched for start codes
	slice bool   // a slice has been found in the unit

	// Began, if not nil, is called when the first bytes of a unit have come.
	Began func()
}

// NewReader reads access units of at most max bytes from r.
func NewReader(r io.Reader, max int) *Reader { return &Reader{r: r, max: max} }

// Next gives the next access unit, which is valid until the next call. It is
// known to be whole when the next one begins, which is why a picture comes
// out one picture late. The last one is given before io.EOF.
func (r *Reader) Next() ([]byte, error) {
	r.buf = r.buf[:copy(r.buf, r.buf[r.given:])]
	r.given, r.at, r.slice = 0, 0, false
	if len(r.buf) > 0 && r.Began != nil {
		r.Began()
	}
	for {
		if end, ok := r.search(); ok {
			r.given = end
			return r.buf[:end], nil
		}
		if len(r.buf) >= r.max {
			return nil, fmt.Errorf("an H.264 picture of more than %d bytes", r.max)
		}
		empty := len(r.buf) == 0
		n, err := r.fill()
		if n > 0 && empty && r.Began != nil {
			r.Began()
		}
		if n == 0 && err != nil {
			if errors.Is(err, io.EOF) && r.slice {
				r.given = len(r.buf)
				return r.buf, nil
			}
			return nil, err
		}
	}
}

// search looks for the beginning of the next unit (7.4.1.2.3).
func (r *Reader) search() (int, bool) {
	for {
		k := bytes.Index(r.buf[r.at:], []byte{0, 0, 1})
		if k < 0 || r.at+k+4 >= len(r.buf) { // the header and a byte after it are looked at
			if k < 0 {
				r.at = max(r.at, len(r.buf)-2)
			}
			return 0, false
		}
		start, nal := r.at+k, r.at+k+3
		r.at = nal
		if start > 0 && r.buf[start-1] == 0 {
			start--
		}
		switch kind := r.buf[nal] & 0x1f; {
		case kind >= nalSlice && kind <= nalSliceEnd:
			// first_mb_in_slice is 0, written as one bit 1, in a picture's first slice.
			if r.slice && r.buf[nal+1]&0x80 != 0 {
				return start, true
			}
			r.slice = true
		case kind >= nalSEI && kind <= nalAUD:
			if r.slice {
				return start, true
			}
		}
	}
}

// fill reads more.
func (r *Reader) fill() (int, error) {
	const chunk = 64 << 10
	if cap(r.buf)-len(r.buf) < chunk {
		grown := make([]byte, len(r.buf), 2*cap(r.buf)+chunk)
		copy(grown, r.buf)
		r.buf = grown
	}
	n, err := r.r.Read(r.buf[len(r.buf):cap(r.buf)])
	r.buf = r.buf[:len(r.buf)+n]
	return n, err
}
