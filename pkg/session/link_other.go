//go:build !linux

package session

const fastLinks = false

func (r *reader) tryRead(uintptr) bool { return true }

// vectors is not used here: all links are written through net.Conn.
type vectors struct{}

func (v *vectors) add([]byte)    {}
func (v *vectors) done() bool    { return true }
func (v *vectors) stalled() bool { return true }
func (v *vectors) reset()        {}

func (l *link) write(*batch, bool) error { return nil }
