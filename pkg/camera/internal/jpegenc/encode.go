// Package jpegenc writes baseline JPEG quickly: for cameras that give raw
// frames, on processors that have other things to do.
//
// It writes what image/jpeg writes for a camera, YCbCr 4:2:0 or grey with the
// standard Huffman tables, and takes a third of its time or less (see the
// benchmarks): it reads the planes as they are, where image/jpeg goes through
// 4:4:4; the transform is the one of Arai, Agui and Nakajima, whose scaling is
// done by the quantisation; quantisation multiplies where image/jpeg divides;
// and zeros are passed over by the word.
package jpegenc

import (
	"encoding/binary"
	"math/bits"

	"github.com/perchcam/perch/pkg/camera/internal/mjpeg"
)

// Image is what is encoded: planes of 4:2:0, or luma alone if Cb is nil. Each
// plane has at least its size's rows, each of at least its size's bytes.
type Image struct {
	Width, Height    int // 1 … 65535
	Y, Cb, Cr        []byte
	YStride, CStride int
}

// Encoder holds the tables of one quality and the state of a picture. The
// zero value is ready. One goroutine uses it.
type Encoder struct {
	quality int // of the tables below; 0 if there are none
	quant   [2][64]byte
	scaled  [2][64]divisor // in the transform's order, with its scale

	out  []byte
	acc  uint64 // bits not yet written, at the top
	free int    // bits of acc that are free
}

// divisor divides by multiplying.
type divisor struct {
	half, inverse uint32
	least         int32 // what is no further than this from 0 becomes 0
}

// Append encodes m at a quality of 1 to 100 and appends it to dst.
func (e *Encoder) Append(dst []byte, m Image, quality int) []byte {
	e.prepare(min(max(quality, 1), 100))
	e.out, e.acc, e.free = dst, 0, 64
	e.header(m)
	if m.Cb == nil {
		e.grey(m)
	} else {
		e.color(m)
	}
	e.finish()
	out := e.out
	e.out = nil
	return append(out, 0xff, 0xd9)
}

// header writes everything before the entropy-coded data.
func (e *Encoder) header(m Image) {
	// SOI, and a JFIF header: that the colours are those of a full range is what it says.
	e.out = append(e.out, "\xff\xd8\xff\xe0\x00\x10JFIF\x00\x01\x01\x00\x00\x01\x00\x01\x00\x00"...)
	components := 3
	if m.Cb == nil {
		components = 1
	}
	for i := range min(components, 2) {
		e.out = append(e.out, 0xff, 0xdb, 0, 67, byte(i))
		e.out = append(e.out, e.quant[i][:]...)
	}
	e.out = append(e.out, 0xff, 0xc0, 0, byte(8+3*components), 8)
	e.out = binary.BigEndian.AppendUint16(e.out, uint16(m.Height))
	e.out = binary.BigEndian.AppendUint16(e.out, uint16(m.Width))
	if components == 1 {
		e.out = append(e.out, 1, 1, 0x11, 0)
	} else {
		e.out = append(e.out, 3, 1, 0x22, 0, 2, 0x11, 1, 3, 0x11, 1)
	}
	e.out = append(e.out, mjpeg.StandardTables...)
	if components == 1 {
		e.out = append(e.out, 0xff, 0xda, 0, 8, 1, 1, 0x00, 0, 63, 0)
	} else {
		e.out = append(e.out, 0xff, 0xda, 0, 12, 3, 1, 0x00, 2, 0x11, 3, 0x11, 0, 63, 0)
	}
}

// grey encodes luma, block by block.
func (e *Encoder) grey(m Image) {
	var b block
	dc := int32(0)
	for y := 0; y < m.Height; y += 8 {
		for x := 0; x < m.Width; x += 8 {
			load(&b, m.Y, m.YStride, x, y, m.Width, m.Height)
			dc = e.block(&b, 0, dc)
		}
	}
}

// color encodes four blocks of luma and one of each chroma at a time.
func (e *Encoder) color(m Image) {
	var b block
	var dcY, dcCb, dcCr int32
	cw, ch := (m.Width+1)/2, (m.Height+1)/2
	for y := 0; y < m.Height; y += 16 {
		for x := 0; x < m.Width; x += 16 {
			for i := range 4 {
				load(&b, m.Y, m.YStride, x+i&1*8, y+i>>1*8, m.Width, m.Height)
				dcY = e.block(&b, 0, dcY)
			}
			load(&b, m.Cb, m.CStride, x/2, y/2, cw, ch)
			dcCb = e.block(&b, 1, dcCb)
			load(&b, m.Cr, m.CStride, x/2, y/2, cw, ch)
			dcCr = e.block(&b, 1, dcCr)
		}
	}
}

// block is 8 × 8 samples, or their coefficients.
type block [64]int32

// load takes the samples at x, y, shifted to lie around 0. Beyond the picture
// its last samples are repeated.
func load(b *block, pix []byte, stride, x, y, w, h int) {
	if x+8 <= w && y+8 <= h {
		for r := range 8 {
			s := pix[(y+r)*stride+x:]
			s = s[:8:8]
			d := b[r*8 : r*8+8 : r*8+8]
			d[0], d[1], d[2], d[3] = int32(s[0])-128, int32(s[1])-128, int32(s[2])-128, int32(s[3])-128
			d[4], d[5], d[6], d[7] = int32(s[4])-128, int32(s[5])-128, int32(s[6])-128, int32(s[7])-128
		}
		return
	}
	for r := range 8 {
		row := pix[min(y+r, h-1)*stride:]
		for c := range 8 {
			b[r*8+c] = int32(row[min(x+c, w-1)]) - 128
		}
	}
}

// block transforms, quantises and writes one block, and gives its DC value.
func (e *Encoder) block(b *block, table int, dc int32) int32 {
	transform(b)
	var zz [64]int16
	var set uint64 // which of zz are not 0, the first at the top
	q := &e.scaled[table]
	for i, c := range b {
		d := &q[i]
		if uint32(c+d.least) <= uint32(2*d.least) {
			continue // as most are
		}
		sign := c >> 31
		v := (uint32((c^sign)-sign) + d.half) * d.inverse >> recipBits
		z := zigzag[i] & 63
		zz[z] = int16((int32(v) ^ sign) - sign)
		set |= 1 << (63 - z)
	}
	t := &codes[table]
	first := int32(zz[0])
	e.value(t.dc[:], 0, first-dc)
	set <<= 1 // past DC
	at := 1   // the coefficient at the top of set
	for set != 0 {
		run := bits.LeadingZeros64(set)
		at += run
		set <<= run + 1
		for ; run > 15; run -= 16 {
			e.emit(t.ac[0xf0])
		}
		e.value(t.ac[:], run<<4, int32(zz[at&63]))
		at++
	}
	if at < 64 {
		e.emit(t.ac[0]) // end of block
	}
	return first
}

// value writes a value after a run of zeros: the code of the run and of the
// number of bits, then the bits.
func (e *Encoder) value(t []code, run int, v int32) {
	sign := v >> 31
	n := bits.Len32(uint32((v ^ sign) - sign))
	c := t[(run|n)&0xff]
	// Of a negative value, the bits of one less are written (F.1.2.1).
	low := uint32(v+sign) & (1<<n - 1)
	e.emit(code{c.bits<<n | low, c.n + uint8(n)})
}

// emit writes the bits of a code.
func (e *Encoder) emit(c code) {
	e.free -= int(c.n)
	e.acc |= uint64(c.bits) << (e.free & 63)
	if e.free >= 32 {
		return
	}
	w := uint32(e.acc >> 32)
	e.acc <<= 32
	e.free += 32
	// A byte of 0xff is followed by a 0. Most words have none.
	if !hasFF(w) {
		e.out = binary.BigEndian.AppendUint32(e.out, w)
		return
	}
	for s := 24; s >= 0; s -= 8 {
		c := byte(w >> s)
		e.out = append(e.out, c)
		if c == 0xff {
			e.out = append(e.out, 0)
		}
	}
}

// hasFF tells whether a byte of w is 0xff.
func hasFF(w uint32) bool {
	n := ^w
	return (n-0x01010101)&^n&0x80808080 != 0
}

// finish writes what is left, filled up with ones.
func (e *Encoder) finish() {
	for n := 64 - e.free; n > 0; n -= 8 {
		c := byte(e.acc >> 56)
		if n < 8 {
			c |= 0xff >> n
		}
		e.acc <<= 8
		e.out = append(e.out, c)
		if c == 0xff {
			e.out = append(e.out, 0)
		}
	}
}
