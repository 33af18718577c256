package session

import (
	"math/bits"
	"sync"
	"sync/atomic"
)

const (
	blockSize = 128 << 10 // what a reader asks the link for at once (64 KiB costs a fifth more CPU, 16 KiB half the throughput)
	firstSize = 4 << 10   // what it asks a new link for: thousands may come at once and say little
	copyBelow = 4 << 10   // smaller frames are copied: they must not pin a whole block while they wait
)

// block is a pooled buffer. Every frame cut from it holds a reference.
type block struct {
	b     []byte
	refs  atomic.Int32
	class int8 // its pool; -1: the garbage collector's
}

var blocks [22]sync.Pool // by power of two, up to 2 MiB

// newBlock returns a block of at least n bytes with one reference.
func newBlock(n int) *block {
	class := bits.Len(uint(max(n, 64) - 1))
	if class >= len(blocks) {
		b := &block{b: make([]byte, n), class: -1}
		b.refs.Store(1)
		return b
	}
	b, _ := blocks[class].Get().(*block)
	if b == nil {
		b = &block{b: make([]byte, 1<<class), class: int8(class)}
	}
	b.refs.Store(1)
	return b
}

func (b *block) hold() { b.refs.Add(1) }

func (b *block) release() {
	switch n := b.refs.Add(-1); {
	case n < 0:
		panic("session: block released twice")
	case n == 0 && b.class >= 0:
		blocks[b.class].Put(b)
	}
}
