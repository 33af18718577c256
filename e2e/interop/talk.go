//go:build interop

package interop

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"sync/atomic"
	"testing"
	"time"

	"github.com/perchcam/perch/pkg/peer"
)

// element is the i-th of a stream: its number, then bytes that depend on it.
func element(i, size int) []byte {
	b := make([]byte, size)
	for k := range b {
		b[k] = byte(i + k)
	}
	if size >= 4 {
		binary.BigEndian.PutUint32(b, uint32(i))
	}
	return b
}

// responder answers as every peer here does: the request's data say what is wanted.
type responder struct {
	canceled, forgotten atomic.Int32
}

var errNoCamera = peer.Errorf(peer.CodeInvalid, "no such camera")

func (r *responder) RequestResponse(ctx context.Context, p peer.Payload) (peer.Payload, error) {
	var size int
	switch data := string(p.Data[:min(len(p.Data), 16)]); {
	case data == "never":
		<-ctx.Done()
		if context.Cause(ctx) == peer.ErrCanceled {
			r.canceled.Add(1)
		}
		return peer.Payload{}, ctx.Err()
	case data == "error":
		return peer.Payload{}, errNoCamera
	default:
		if n, _ := fmt.Sscanf(data, "size %d", &size); n == 1 {
			return peer.Payload{Data: element(7, size)}, nil
		}
	}
	return p, nil
}

func (r *responder) RequestStream(_ context.Context, p peer.Payload) iter.Seq2[peer.Payload, error] {
	var total, size int
	if _, err := fmt.Sscan(string(p.Data), &total, &size); err != nil {
		return peer.Fail(err)
	}
	return func(yield func(peer.Payload, error) bool) {
		for i := 0; total == 0 || i < total; i++ {
			if !yield(peer.Payload{Data: element(i, size)}, nil) {
				return
			}
		}
	}
}

func (r *responder) RequestChannel(_ context.Context, first peer.Payload, in iter.Seq2[peer.Payload, error]) iter.Seq2[peer.Payload, error] {
	return func(yield func(peer.Payload, error) bool) {
		if !yield(first, nil) {
			return
		}
		for v, err := range in {
			if !yield(v, err) {
				return
			}
		}
	}
}

func (r *responder) FireAndForget(_ context.Context, p peer.Payload) {
	if string(p.Data) == "fire" {
		r.forgotten.Add(1)
	}
}

func (r *responder) MetadataPush(context.Context, []byte) {}

// asker asks what a foreign responder answers.
type asker struct {
	peer.Requester
	t testing.TB
}

// fetch takes one response of size bytes.
func (a asker) fetch(ctx context.Context, size int) error {
	v, err := a.RequestResponse(ctx, peer.Payload{Data: fmt.Appendf(nil, "size %d", size)})
	if err == nil && !bytes.Equal(v.Data, element(7, size)) {
		err = fmt.Errorf("%d bytes came, of %d, or other ones", len(v.Data), size)
	}
	return err
}

// watch takes a stream to its end.
func (a asker) watch(ctx context.Context, total, size, window int) error {
	n := 0
	for v, err := range a.RequestStream(ctx, peer.Payload{Data: fmt.Appendf(nil, "%d %d", total, size)}, peer.Window(uint32(window))) {
		if err != nil {
			return fmt.Errorf("after %d: %w", n, err)
		}
		if !bytes.Equal(v.Data, element(n, size)) {
			return fmt.Errorf("element %d is not what was sent", n)
		}
		n++
	}
	if n != total {
		return fmt.Errorf("%d elements of %d came", n, total)
	}
	return nil
}

// echo sends a channel and takes back what was sent.
func (a asker) echo(ctx context.Context, total, size, window int) error {
	out := func(yield func(peer.Payload, error) bool) {
		for i := 1; i <= total; i++ {
			if !yield(peer.Payload{Data: element(i, size)}, nil) {
				return
			}
		}
	}
	n := 0
	for v, err := range a.RequestChannel(ctx, peer.Payload{Data: element(0, size)}, out, peer.Window(uint32(window))) {
		if err != nil {
			return fmt.Errorf("after %d: %w", n, err)
		}
		if !bytes.Equal(v.Data, element(n, size)) {
			return fmt.Errorf("echo %d is not what was sent", n)
		}
		n++
	}
	if n != total+1 {
		return fmt.Errorf("%d echoes of %d came", n, total+1)
	}
	return nil
}

// talk asks everything, and has the other side's own counts compared with what was asked.
func (a asker) talk(ctx context.Context, f *Foreign) {
	a.t.Helper()
	big := bytes.Repeat([]byte("B"), 300_000)
	for _, req := range []peer.Payload{{Data: []byte("hello"), Metadata: []byte("md")}, {Data: big, Metadata: big}, {Data: big}} {
		v, err := a.RequestResponse(ctx, req)
		if err != nil || !bytes.Equal(v.Data, req.Data) || !bytes.Equal(v.Metadata, req.Metadata) {
			a.t.Errorf("a response of %d and %d bytes came as %d and %d: %v", len(req.Metadata), len(req.Data), len(v.Metadata), len(v.Data), err)
		}
	}
	_, err := a.RequestResponse(ctx, peer.Payload{Data: []byte("error")})
	if e, ok := errors.AsType[*peer.Error](err); !ok || e.Code != peer.CodeApplicationError {
		a.t.Errorf("the error came as %v", err)
	}
	for _, window := range []int{1, 3, 64} {
		for _, size := range []int{20, 50_000} {
			if err := a.watch(ctx, 40, size, window); err != nil {
				a.t.Errorf("stream of %d, window %d: %v", size, window, err)
			}
		}
	}
	for _, size := range []int{10, 30_000} {
		for _, window := range []int{1, 4, 100} {
			if err := a.echo(ctx, 20, size, window); err != nil {
				a.t.Errorf("channel of %d, window %d: %v", size, window, err)
			}
		}
	}
	a.pace(ctx, f)
	short, stop := context.WithTimeout(ctx, 30*time.Millisecond)
	defer stop()
	if _, err := a.RequestResponse(short, peer.Payload{Data: []byte("never")}); !errors.Is(err, context.DeadlineExceeded) {
		a.t.Errorf("a request that is never answered ended with %v", err)
	}
	if err := a.FireAndForget(ctx, peer.Payload{Data: []byte("fire")}); err != nil {
		a.t.Error(err)
	}
	// No METADATA_PUSH: rsocket-js 1.0.0-alpha.3 ends the connection over one ("length is not defined").
	a.counts(ctx, f, "at the end", func(s counts) bool { return s.ResponseCancels == 1 && s.Forgotten == "fire" })
}

// pace takes ten elements one at a time and leaves: the other side must have been asked for ten, have sent ten, and have
// seen CANCEL.
func (a asker) pace(ctx context.Context, f *Foreign) {
	a.t.Helper()
	n := 0
	for _, err := range a.RequestStream(ctx, peer.Payload{Data: []byte("0 100")}, peer.Window(1)) {
		if err != nil {
			a.t.Error(err)
			return
		}
		if n++; n == 10 {
			a.counts(ctx, f, "after ten", func(s counts) bool { return s.Asked == 10 && s.Sent == 10 })
			break
		}
	}
	a.counts(ctx, f, "after leaving", func(s counts) bool { return s.Cancels >= 1 && s.Sent == 10 })
}

// counts is what a foreign responder counted.
type counts struct {
	Asked, Sent, Cancels, ResponseCancels int
	Forgotten                             string
}

// counts waits until the other side's counts are as they should be.
func (a asker) counts(ctx context.Context, f *Foreign, when string, good func(counts) bool) {
	a.t.Helper()
	for end := time.Now().Add(5 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		var s counts
		text, err := f.Do(ctx, "stats")
		if err == nil {
			err = json.Unmarshal([]byte(text), &s)
		}
		if err == nil && good(s) {
			return
		}
		if err != nil || time.Now().After(end) {
			a.t.Errorf("%s the other side had counted %s (%v)", when, text, err)
			return
		}
	}
}
