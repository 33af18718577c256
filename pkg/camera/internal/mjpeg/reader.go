package mjpeg

import (
	"bytes"
	"errors"
	"fmt"
	"io"
)

// chunk is how much is read at a time; a pipe of Linux holds as much.
const chunk = 64 << 10

// Reader cuts a stream of pictures into pictures.
type Reader struct {
	r    io.Reader
	max  int
	buf  []byte // memory; buf[from:to] has been read and not given out
	from int
	to   int

	// Began, if not nil, is called when the first bytes of a picture have come.
	Began func()
	// Torn, if not nil, is called for each picture that is passed over.
	Torn func()
}

// NewReader reads pictures of at most max bytes from r.
func NewReader(r io.Reader, max int) *Reader { return &Reader{r: r, max: max} }

// Next gives the next whole picture, which is valid until the next call. It
// passes over what is none. At the end of the stream it gives io.EOF, or
// io.ErrUnexpectedEOF in the middle of a picture.
func (r *Reader) Next() ([]byte, Layout, error) {
	var w walker
	began := false
	for {
		have := r.buf[r.from:r.to]
		if w.at == 0 && len(have) >= 2 && !isStart(have) {
			r.resync()
			continue
		}
		if len(have) > 0 && !began {
			began = true
			if r.Began != nil {
				r.Began()
			}
		}
		err := w.walk(have)
		switch {
		case err == nil:
			r.from += w.End
			return have[:w.End], w.Layout, nil
		case errors.Is(err, ErrTorn), len(have) >= r.max:
			if r.Torn != nil {
				r.Torn()
			}
			r.from += 2 // past this SOI, to the next
			r.resync()
			w, began = walker{}, false
			continue
		}
		if err := r.fill(); err != nil {
			if errors.Is(err, io.EOF) && w.at > 0 {
				err = io.ErrUnexpectedEOF
			}
			return nil, Layout{}, err
		}
	}
}

// isStart tells whether b begins like a picture.
func isStart(b []byte) bool { return b[0] == 0xff && b[1] == markSOI }

// resync drops bytes up to the next SOI that a marker follows.
func (r *Reader) resync() {
	have := r.buf[r.from:r.to]
	if k := bytes.Index(have, []byte{0xff, markSOI, 0xff}); k >= 0 {
		r.from += k
		return
	}
	// The last two bytes may be the beginning of one.
	switch n := len(have); {
	case n >= 2 && isStart(have[n-2:]):
		r.from = r.to - 2
	case n >= 1 && have[n-1] == 0xff:
		r.from = r.to - 1
	default:
		r.from = r.to
	}
}

// fill reads more.
func (r *Reader) fill() error {
	if r.from > 0 { // keep what is left at the front
		r.to = copy(r.buf, r.buf[r.from:r.to])
		r.from = 0
	}
	if len(r.buf)-r.to < chunk {
		grown := make([]byte, min(max(2*len(r.buf), 2*chunk), r.max+chunk))
		copy(grown, r.buf[:r.to])
		r.buf = grown
	}
	for range 100 {
		n, err := r.r.Read(r.buf[r.to:])
		r.to += n
		if n > 0 || err != nil {
			if n > 0 {
				return nil
			}
			return err
		}
	}
	return fmt.Errorf("cannot read pictures: %w", io.ErrNoProgress)
}
