package session_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"iter"
	"sync"
	"time"

	"github.com/perchcam/perch/pkg/peer"
)

// # The conversation
//
// A laptop asks a device, through a broker or directly, with all four models at once. Both note what they sent and
// what they received; check compares. It is what a stream promises that must hold: of responses, channels, keep=all
// streams and fire-and-forgets everything arrives once and in order; of a stream of the newest, everything sent
// arrives once and in order, and the skips it states are the elements that are missing.
type history struct {
	mu     sync.Mutex
	faults []string
	fnf    map[uint32]int
	done   int
}

func (h *history) fault(format string, args ...any) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.faults = append(h.faults, fmt.Sprintf(format, args...))
}

func (h *history) finished() { h.mu.Lock(); h.done++; h.mu.Unlock() }

// sealed is n bytes that say which they are and whether they are whole.
func sealed(seq uint32, n int) []byte {
	b := make([]byte, max(n, 8))
	binary.BigEndian.PutUint32(b, seq)
	for i := 8; i < min(len(b), 8+256); i++ {
		b[i] = byte(uint32(i)*7 + seq*13)
	}
	for n := 8 + 256; n < len(b); n += n - 8 { // the pattern again and again
		copy(b[n:], b[8:n])
	}
	binary.BigEndian.PutUint32(b[4:], crc32.ChecksumIEEE(b[8:])^seq)
	return b
}

// unseal returns the number that a sealed b has, and false when it is not whole.
func unseal(b []byte) (uint32, bool) {
	if len(b) < 8 {
		return 0, false
	}
	seq := binary.BigEndian.Uint32(b)
	return seq, binary.BigEndian.Uint32(b[4:]) == crc32.ChecksumIEEE(b[8:])^seq
}

type talk struct {
	responses, elements, newest, echoes, forgets int
	snapshot                                     int // bytes of the largest response
}

var shortTalk = talk{responses: 6, elements: 12, newest: 12, echoes: 10, forgets: 10, snapshot: 60_000}

// device answers. Streams are asked for with their name as data.
func (h *history) device(tk talk) peer.Handler {
	return peer.Funcs{
		Response: func(_ context.Context, p peer.Payload) (peer.Payload, error) { return peer.Payload{Data: p.Data}, nil },
		Stream: func(ctx context.Context, p peer.Payload) iter.Seq2[peer.Payload, error] {
			if string(p.Data) == "all" {
				return func(yield func(peer.Payload, error) bool) {
					peer.Keep(ctx, 1<<20)
					for i := range uint32(tk.elements) {
						if !yield(peer.Payload{Data: sealed(i, int(i*2503)%20_000)}, nil) {
							h.fault("the stream of all was canceled after %d: %v", i, context.Cause(ctx))
							return
						}
						time.Sleep(20 * time.Millisecond) // the camera
					}
				}
			}
			// The newest: a clock that ticks each 20 ms is read when the element may leave.
			begin, n := time.Now(), 0
			return peer.Fresh(ctx, func(context.Context, bool) (peer.Payload, error) {
				if n++; n > tk.newest {
					return peer.Payload{}, io.EOF
				}
				if n > 1 {
					time.Sleep(20 * time.Millisecond)
				}
				return peer.Payload{Data: sealed(uint32(time.Since(begin)/(20*time.Millisecond)), 15_000)}, nil
			})
		},
		Channel: func(ctx context.Context, first peer.Payload, in iter.Seq2[peer.Payload, error]) iter.Seq2[peer.Payload, error] {
			return func(yield func(peer.Payload, error) bool) {
				for v, err := range in {
					if err != nil {
						h.fault("the channel's input failed: %v", err)
						return
					}
					if !yield(peer.Payload{Data: v.Data}, nil) {
						h.fault("the channel's output was canceled: %v", context.Cause(ctx))
						return
					}
				}
			}
		},
		Forget: func(_ context.Context, p peer.Payload) {
			seq, ok := unseal(p.Data)
			h.mu.Lock()
			defer h.mu.Unlock()
			if h.fnf[seq]++; !ok {
				h.faults = append(h.faults, "a fire-and-forget is corrupt")
			}
		},
	}
}

// laptop asks, and returns when it has all its answers.
func (h *history) laptop(ctx context.Context, r peer.Requester, md []byte, tk talk) {
	var work sync.WaitGroup
	ask := func(b []byte) peer.Payload { return peer.Payload{Metadata: md, Data: b} }
	work.Go(func() {
		for i := range uint32(tk.responses) {
			size := int(i*9973) % 40_000
			if int(i) == tk.responses/2 {
				size = tk.snapshot
			}
			v, err := r.RequestResponse(ctx, ask(sealed(i, size)))
			if err != nil {
				h.fault("response %d: %v", i, err)
				return
			}
			if seq, ok := unseal(v.Data); !ok || seq != i || len(v.Data) != max(size, 8) {
				h.fault("response %d is %d, %d of %d bytes, whole %v", i, seq, len(v.Data), size, ok)
			}
		}
		h.finished()
	})
	work.Go(func() {
		want := uint32(0)
		for v, err := range r.RequestStream(ctx, ask([]byte("all")), peer.Window(3)) {
			if err != nil {
				h.fault("the stream of all, after %d: %v", want, err)
				return
			}
			if seq, ok := unseal(v.Data); !ok || seq != want {
				h.fault("element %d of all is %d, whole %v", want, seq, ok)
			}
			want++
		}
		if want != uint32(tk.elements) {
			h.fault("the stream of all completed after %d of %d", want, tk.elements)
		}
		h.finished()
	})
	work.Go(func() {
		last, n := -1, 0
		for v, err := range r.RequestStream(ctx, ask([]byte("newest")), peer.Window(2)) {
			if err != nil {
				h.fault("the stream of the newest, after %d: %v", n, err)
				return
			}
			seq, ok := unseal(v.Data)
			if !ok || int(seq) <= last {
				h.fault("the newest after %d is %d, whole %v", last, seq, ok)
			}
			last = int(seq)
			n++
		}
		h.finished()
	})
	work.Go(func() {
		out := func(yield func(peer.Payload, error) bool) {
			for i := range uint32(tk.echoes) {
				if !yield(peer.Payload{Data: sealed(i, int(i*3331)%30_000)}, nil) {
					h.fault("the channel's sending half was canceled after %d", i)
					return
				}
			}
		}
		want := uint32(0)
		for v, err := range r.RequestChannel(ctx, ask(nil), out, peer.Window(2)) {
			if err != nil {
				h.fault("the channel, after %d: %v", want, err)
				return
			}
			if seq, ok := unseal(v.Data); !ok || seq != want {
				h.fault("echo %d is %d, whole %v", want, seq, ok)
			}
			want++
		}
		if want != uint32(tk.echoes) {
			h.fault("the channel completed after %d of %d", want, tk.echoes)
		}
		h.finished()
	})
	work.Go(func() {
		for i := range uint32(tk.forgets) {
			if err := r.FireAndForget(ctx, ask(sealed(i, int(i*1009)%5000))); err != nil {
				h.fault("fire-and-forget %d: %v", i, err)
			}
			time.Sleep(15 * time.Millisecond)
		}
		h.finished()
	})
	work.Wait()
}

func (h *history) forgotten() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.fnf)
}

func (h *history) check(tk talk) (faults []string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	faults = h.faults
	for i := range uint32(tk.forgets) {
		if n := h.fnf[i]; n != 1 {
			faults = append(faults, fmt.Sprintf("fire-and-forget %d arrived %d times", i, n))
		}
	}
	if len(h.fnf) > tk.forgets {
		faults = append(faults, "fire-and-forgets nobody sent")
	}
	if h.done != 5 {
		faults = append(faults, fmt.Sprintf("%d of 5 models came to their end", h.done))
	}
	return faults
}
