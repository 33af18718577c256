package wire

import "iter"

// MIMEs walks the body of a data type entry (0x7A, exactly one type) or of an accept entry (0x7B, the types a requester
// takes, preferred first).
func MIMEs(body []byte) iter.Seq2[MIME, error] {
	return func(yield func(MIME, error) bool) {
		r := reader{b: body}
		for len(r.b) > 0 {
			m := r.mime()
			if !yield(m, r.err) || r.err != nil {
				return
			}
		}
	}
}

// AppendMIMEs appends the body of a data type or accept entry.
func AppendMIMEs(dst []byte, names ...string) ([]byte, error) {
	out := dst
	for _, name := range names {
		var err error
		if out, err = appendMIME(out, name); err != nil {
			return dst, err
		}
	}
	return out, nil
}

// ParseMIMEType reads the body of a data type entry.
func ParseMIMEType(body []byte) (MIME, error) {
	r := reader{b: body}
	m := r.mime()
	if r.err == nil && len(r.b) > 0 {
		r.fail("data type", r.at, ErrTrailing)
	}
	return m, r.err
}
