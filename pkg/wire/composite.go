package wire

import "iter"

// maxEntry is the most that a 24-bit length can say.
const maxEntry = 1<<24 - 1

// Entry is one part of composite metadata.
type Entry struct {
	Type   MIME
	Body   []byte
	Offset int // of Body, in bytes from the start of the metadata
}

// Entries walks composite metadata in order. A malformed entry is yielded once, as an error, and ends the walk.
func Entries(md []byte) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		r := reader{b: md}
		for len(r.b) > 0 {
			e := r.entry()
			if r.err != nil {
				yield(Entry{}, r.err)
				return
			}
			if !yield(e, nil) {
				return
			}
		}
	}
}

func (r *reader) entry() Entry {
	mime := r.mime()
	n := r.u24("entry length")
	at := r.at
	return Entry{Type: mime, Body: r.take(n, "entry"), Offset: at}
}

// Find returns the first entry of the named type. A malformed entry before it is an error.
func Find(md []byte, name string) (Entry, bool, error) {
	for e, err := range Entries(md) {
		if err != nil {
			return Entry{}, false, err
		}
		if e.Type.Is(name) {
			return e, true, nil
		}
	}
	return Entry{}, false, nil
}

// AppendEntry appends one entry, its type by id where the public list has one.
func AppendEntry(dst []byte, name string, body []byte) ([]byte, error) {
	if len(body) > maxEntry {
		return dst, cannot("entry "+name, ErrTooLong)
	}
	out, err := appendMIME(dst, name)
	if err != nil {
		return dst, err
	}
	return append(appendU24(out, len(body)), body...), nil
}

// AppendEntryID appends one entry of a well-known type.
func AppendEntryID(dst []byte, id ID, body []byte) ([]byte, error) {
	if len(body) > maxEntry {
		return dst, cannot("entry "+id.String(), ErrTooLong)
	}
	dst = append(dst, 0x80|byte(id))
	return append(appendU24(dst, len(body)), body...), nil
}
