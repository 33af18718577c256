package session

import (
	"io"
	"syscall"
	"unsafe"
)

// Other systems would do as well, but this was seen to work on Linux only.
const fastLinks = true

// tryRead is reader.try: one read that does not block. A link that has nothing gives its block back.
func (r *reader) tryRead(fd uintptr) bool {
	if r.blk == nil {
		r.blk, r.r, r.w = newBlock(r.ask), 0, 0
	}
	for {
		n, err := syscall.Read(int(fd), r.blk.b[r.w:])
		switch {
		case err == syscall.EINTR:
			continue
		case err == syscall.EAGAIN:
			if r.w == r.r {
				r.drop()
			}
			return false
		case err == nil && n == 0:
			err = io.EOF
		}
		r.n, r.err = n, err
		return true
	}
}

// vectors is a batch as writev(2) wants it.
type vectors struct {
	iov  []syscall.Iovec
	i    int // the first that has not been written whole
	wait bool
	full bool // the socket did not take all of it at once
	err  error
	try  func(uintptr) bool
}

func (v *vectors) add(b []byte) {
	if len(b) > 0 {
		e := syscall.Iovec{Base: &b[0]}
		e.SetLen(len(b))
		v.iov = append(v.iov, e)
	}
}

func (v *vectors) done() bool { return v.i == len(v.iov) }

// stalled reports whether the socket did not take all of it at once.
func (v *vectors) stalled() bool { return v.full }

func (v *vectors) reset() {
	clear(v.iov)
	v.iov, v.i, v.full, v.err = v.iov[:0], 0, false, nil
}

// tryWrite is vectors.try: it writes what the socket takes, and waits for the rest only if it is to.
func (v *vectors) tryWrite(fd uintptr) bool {
	for !v.done() {
		some := v.iov[v.i:min(len(v.iov), v.i+1024)] // IOV_MAX
		n, _, errno := syscall.Syscall(syscall.SYS_WRITEV, fd, uintptr(unsafe.Pointer(&some[0])), uintptr(len(some)))
		switch errno {
		case 0:
		case syscall.EINTR:
			continue
		case syscall.EAGAIN:
			v.full = true
			return !v.wait
		default:
			v.err = errno
			return true
		}
		for left := int(n); left > 0; {
			e := &v.iov[v.i]
			if have := int(e.Len); left >= have {
				left -= have
				v.i++
			} else {
				e.Base = (*byte)(unsafe.Add(unsafe.Pointer(e.Base), left))
				e.SetLen(have - left)
				left = 0
			}
		}
	}
	return true
}

// write gives the socket what it takes at once, or with wait all of it.
func (l *link) write(w *batch, wait bool) error {
	v := &w.vec
	if v.try == nil {
		v.try = v.tryWrite
	}
	v.wait = wait
	if err := l.raw.Write(v.try); err != nil {
		return err
	}
	return v.err
}
