package broker

import (
	"bufio"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rsocket/rsocket-go/core"

	"github.com/perchcam/perch/pkg/broker/access"
	"github.com/perchcam/perch/pkg/wire"
)

// The ends here are sockets and loops over bytes, so that what is measured is the broker.

// plug is one raw end.
type plug struct {
	net.Conn
	in *bufio.Reader
}

func (p plug) frame(id uint32, t core.FrameType, flags core.FrameFlag, body ...byte) {
	header := core.NewFrameHeader(id, t, flags)
	b := append(header.Bytes(), body...)
	if _, err := p.Write(append([]byte{byte(len(b) >> 16), byte(len(b) >> 8), byte(len(b))}, b...)); err != nil {
		panic(err)
	}
}

// next reads one frame's header and, into body, what follows; the rest of a longer one is passed over. It answers
// KEEPALIVE.
func (p plug) next(body []byte) (id uint32, t core.FrameType, flags core.FrameFlag, err error) {
	head, err := p.in.Peek(9)
	if err != nil {
		return 0, 0, 0, err
	}
	n := int(head[0])<<16 | int(head[1])<<8 | int(head[2]) - 6
	id = binary.BigEndian.Uint32(head[3:])
	word := binary.BigEndian.Uint16(head[7:])
	_, _ = p.in.Discard(9)
	m := min(n, len(body))
	if _, err = io.ReadFull(p.in, body[:m]); err == nil {
		_, err = p.in.Discard(n - m)
	}
	t, flags = core.FrameType(word>>10), core.FrameFlag(word&0x3ff)
	if t == core.FrameTypeKeepalive && flags&core.FlagRespond != 0 {
		p.frame(0, t, 0, make([]byte, 8)...)
	}
	return id, t, flags, err
}

// bench runs a broker on loopback and returns what connects to it.
func bench(b testing.TB) (br *Broker, connect func(*wire.Setup) plug) {
	br, err := New(Config{Listen: []string{"tcp://127.0.0.1:0"}, Grace: 1})
	if err != nil {
		b.Fatal(err)
	}
	if err := br.Listen(); err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(b.Context())
	var work sync.WaitGroup
	work.Go(func() { _ = br.Run(ctx, ctx) })
	b.Cleanup(func() {
		cancel()
		work.Wait()
	})
	return br, func(s *wire.Setup) plug {
		nc, err := net.Dial("tcp", br.listeners[0].Addr().String())
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { _ = nc.Close() })
		(&tap{nc: nc}).hello(s)
		return plug{nc, bufio.NewReaderSize(nc, 256<<10)}
	}
}

// request is the body of a request for device cam, n first if it is positive.
func request(n uint32) []byte {
	var body []byte
	if n > 0 {
		body = binary.BigEndian.AppendUint32(body, n)
	}
	md := to("cam", "x", waitTag("5s"))
	return append(append(body, byte(len(md)>>16), byte(len(md)>>8), byte(len(md))), md...)
}

// cut returns an element of size bytes as frames of at most 16 KiB on a stream.
func cut(id uint32, size int, last core.FrameFlag) (b []byte, frames int) {
	const most = 16<<10 - core.FrameHeaderLen
	for first := true; first || size > 0; first = false {
		n := min(size, most)
		size -= n
		flags := core.FlagNext | last
		if size > 0 {
			flags = core.FlagNext | core.FlagFollow
		}
		header := core.NewFrameHeader(id, core.FrameTypePayload, flags)
		m := n + core.FrameHeaderLen
		b = append(append(b, byte(m>>16), byte(m>>8), byte(m)), header.Bytes()...)
		b = append(b, make([]byte, n)...)
		frames++
	}
	return b, frames
}

// BenchmarkStream is one PAYLOAD frame of a stream through the broker, as fast as it goes. It allocates nothing.
func BenchmarkStream(b *testing.B) {
	for _, size := range []int{100, 16 << 10, 100_000} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			st := newStreaming(b, size)
			b.SetBytes(int64(len(st.element) / st.frames))
			b.ReportAllocs()
			b.ResetTimer()
			total := (b.N + st.frames - 1) / st.frames
			done := make(chan struct{})
			go func() {
				defer close(done)
				for range total {
					st.take()
				}
			}()
			for range total {
				st.send()
			}
			<-done
		})
	}
}

// streaming is a stream of equal elements from a device to a laptop.
type streaming struct {
	device, laptop plug
	element        []byte
	frames         int // of an element
	credit         atomic.Int64
	more           chan struct{}
	text           [100]byte
}

func newStreaming(t testing.TB, size int) *streaming {
	_, connect := bench(t)
	setup := deviceSetup("cam", "id", 1)
	st := &streaming{device: connect(&setup), laptop: connect(nil), more: make(chan struct{}, 1)}
	st.laptop.frame(1, core.FrameTypeRequestStream, core.FlagMetadata, request(1<<31-1)...)
	stream := make(chan uint32, 1)
	go func() {
		var n [4]byte
		for {
			id, t, _, err := st.device.next(n[:])
			if err != nil {
				return
			}
			if t == core.FrameTypeRequestStream || t == core.FrameTypeRequestN {
				st.credit.Add(int64(binary.BigEndian.Uint32(n[:])))
				select {
				case st.more <- struct{}{}:
				default:
				}
			}
			if t == core.FrameTypeRequestStream {
				stream <- id
			}
		}
	}()
	st.element, st.frames = cut(<-stream, size, 0)
	return st
}

// send sends an element once it may.
func (st *streaming) send() {
	for st.credit.Load() == 0 {
		<-st.more
	}
	st.credit.Add(-1)
	if _, err := st.device.Write(st.element); err != nil {
		panic(err)
	}
}

// take takes one.
func (st *streaming) take() {
	for got := 0; got < st.frames; {
		_, t, _, err := st.laptop.next(st.text[:])
		if err != nil || t == core.FrameTypeError {
			panic(fmt.Sprintf("%v %q", err, st.text))
		}
		if t == core.FrameTypePayload {
			got++
		}
	}
}

// BenchmarkResponse is one request-response of 100 KB, one after the other; direct is without a broker, over a relay
// that copies through one buffer.
func BenchmarkResponse(b *testing.B) {
	const size = 100_000
	answer := func(device plug) {
		var answer []byte
		for {
			id, t, _, err := device.next(nil)
			if err != nil {
				return
			}
			if t == core.FrameTypeRequestResponse {
				if answer == nil {
					answer, _ = cut(id, size, core.FlagComplete)
				}
				for at := 0; at < len(answer); at += 3 + u24(answer[at:]) {
					binary.BigEndian.PutUint32(answer[at+3:], id)
				}
				if _, err := device.Write(answer); err != nil {
					return
				}
			}
		}
	}
	ask := func(b *testing.B, laptop plug) {
		body := request(0)
		b.SetBytes(size)
		b.ReportAllocs()
		for id := uint32(1); b.Loop(); id += 2 {
			laptop.frame(id, core.FrameTypeRequestResponse, core.FlagMetadata, body...)
			for {
				_, t, flags, err := laptop.next(nil)
				if err != nil {
					b.Fatal(err)
				}
				if t == core.FrameTypePayload && flags&core.FlagComplete != 0 {
					break
				}
			}
		}
	}
	b.Run("broker", func(b *testing.B) {
		_, connect := bench(b)
		setup := deviceSetup("cam", "id", 1)
		go answer(connect(&setup))
		ask(b, connect(nil))
	})
	b.Run("relay", func(b *testing.B) {
		pair := func() (plug, net.Conn) {
			ln, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				b.Fatal(err)
			}
			defer ln.Close()
			a, err := net.Dial("tcp", ln.Addr().String())
			if err != nil {
				b.Fatal(err)
			}
			c, err := ln.Accept()
			if err != nil {
				b.Fatal(err)
			}
			b.Cleanup(func() { _, _ = a.Close(), c.Close() })
			return plug{a, bufio.NewReaderSize(a, 256<<10)}, c
		}
		device, d := pair()
		laptop, l := pair()
		relay := func(to, from net.Conn) {
			buf := make([]byte, 128<<10)
			_, _ = io.CopyBuffer(struct{ io.Writer }{to}, struct{ io.Reader }{from}, buf)
		}
		go relay(d, l)
		go relay(l, d)
		go answer(device)
		ask(b, laptop)
	})
}

func u24(b []byte) int { return int(b[0])<<16 | int(b[1])<<8 | int(b[2]) }

// BenchmarkFind is finding a device among 10,000, by name and by tag.
func BenchmarkFind(b *testing.B) {
	g := newRegistry()
	for i := range 10_000 {
		name := fmt.Sprintf("cam-%d", i)
		l := &leg{card: card{device: name, id: name, tags: []wire.Tag{{Key: "room", Value: fmt.Sprint(i % 100)}}}}
		l.card.setTerms("perch")
		if _, err := g.join(l, nil); err != nil {
			b.Fatal(err)
		}
	}
	for name, md := range map[string][]byte{
		"name": to("cam-77", "camera.snapshot"),
		"any":  meta(wire.RSocketBroker, wire.Request{Route: "x", Service: "perch"}),
		"tag":  meta(wire.RSocketBroker, wire.Request{Route: "x", Tags: []wire.Tag{{Key: "room", Value: "7"}}}),
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				t, err := wire.ParseRequest(md)
				if err != nil {
					b.Fatal(err)
				}
				if l, _ := g.find(&t, &access.All); l == nil {
					b.Fatal("not found")
				}
			}
		})
	}
}

// BenchmarkBesideStuck is a response of 100 KB to a laptop beside others that asked for 1000 pictures of 100 KB each and
// never read. p50, p99: of the response, in µs; held: what waits for the others, in KiB each.
func BenchmarkBesideStuck(b *testing.B) {
	for _, stuck := range []int{0, 1, 50} {
		b.Run(fmt.Sprint(stuck), func(b *testing.B) {
			const size = 100_000
			br, connect := bench(b)
			setup := deviceSetup("cam", "id", 1)
			device := connect(&setup)
			var mu sync.Mutex // of writing to device
			go func() {
				credit, streams := map[uint32]int{}, map[uint32]bool{}
				var n [4]byte
				for {
					id, t, _, err := device.next(n[:])
					if err != nil {
						return
					}
					switch t {
					case core.FrameTypeRequestResponse:
						answer, _ := cut(id, size, core.FlagComplete)
						mu.Lock()
						_, err = device.Write(answer)
						mu.Unlock()
					case core.FrameTypeRequestStream, core.FrameTypeRequestN:
						streams[id] = true
						for credit[id] += int(binary.BigEndian.Uint32(n[:])); credit[id] > 0 && err == nil; credit[id]-- {
							element, _ := cut(id, size, 0)
							mu.Lock()
							_, err = device.Write(element)
							mu.Unlock()
						}
					}
					if err != nil {
						return
					}
				}
			}()
			blind := make([]plug, stuck)
			for i := range blind {
				blind[i] = connect(nil)
				blind[i].frame(1, core.FrameTypeRequestStream, core.FlagMetadata, request(1000)...)
			}
			go func() { // they say that they live: otherwise they are ended for their silence
				tick := time.NewTicker(time.Second)
				defer tick.Stop()
				for range tick.C {
					for _, p := range blind {
						header := core.NewFrameHeader(0, core.FrameTypeKeepalive, 0)
						if _, err := p.Write(append(append([]byte{0, 0, 14}, header.Bytes()...), make([]byte, 8)...)); err != nil {
							return
						}
					}
				}
			}()
			laptop := connect(nil)
			body := request(0)
			var took []time.Duration
			for id := uint32(1); b.Loop(); id += 2 {
				before := time.Now()
				laptop.frame(id, core.FrameTypeRequestResponse, core.FlagMetadata, body...)
				for {
					_, t, flags, err := laptop.next(nil)
					if err != nil {
						b.Fatal(err)
					}
					if t == core.FrameTypePayload && flags&core.FlagComplete != 0 {
						break
					}
				}
				took = append(took, time.Since(before))
			}
			slices.Sort(took)
			b.ReportMetric(float64(took[len(took)/2].Microseconds()), "p50-µs")
			b.ReportMetric(float64(took[len(took)*99/100].Microseconds()), "p99-µs")
			if stuck > 0 {
				held := 0
				br.mu.Lock()
				for _, l := range br.legs {
					held += l.queued()
				}
				br.mu.Unlock()
				b.ReportMetric(float64(held/stuck>>10), "held-KiB")
			}
		})
	}
}
