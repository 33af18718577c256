package jpegenc

// Constants of the transform, in 1/256.
const (
	fix0382 = 98  // 0.382683433
	fix0541 = 139 // 0.541196100
	fix0707 = 181 // 0.707106781
	fix1306 = 334 // 1.306562965
)

// transform is the forward DCT of Arai, Agui and Nakajima (1988), in the form
// that libjpeg's fast integer transform has it (jfdctfst): 5 multiplications
// for 8 values. Its results are scaled by aanScale for each row and column,
// and by 8, which quantisation undoes.
func transform(b *block) {
	for r := 0; r < 64; r += 8 {
		d := b[r : r+8 : r+8]
		d[0], d[1], d[2], d[3], d[4], d[5], d[6], d[7] = dct8(d[0], d[1], d[2], d[3], d[4], d[5], d[6], d[7])
	}
	for c := range 8 {
		b[c], b[c+8], b[c+16], b[c+24], b[c+32], b[c+40], b[c+48], b[c+56] = dct8(b[c], b[c+8], b[c+16], b[c+24], b[c+32], b[c+40], b[c+48], b[c+56])
	}
}

func dct8(x0, x1, x2, x3, x4, x5, x6, x7 int32) (y0, y1, y2, y3, y4, y5, y6, y7 int32) {
	s0, d0 := x0+x7, x0-x7
	s1, d1 := x1+x6, x1-x6
	s2, d2 := x2+x5, x2-x5
	s3, d3 := x3+x4, x3-x4

	// The even part.
	a0, a3 := s0+s3, s0-s3
	a1, a2 := s1+s2, s1-s2
	y0, y4 = a0+a1, a0-a1
	z1 := (a2 + a3) * fix0707 >> 8
	y2, y6 = a3+z1, a3-z1

	// The odd part.
	b0, b1, b2 := d3+d2, d2+d1, d1+d0
	z5 := (b0 - b2) * fix0382 >> 8
	z2 := b0*fix0541>>8 + z5
	z4 := b2*fix1306>>8 + z5
	z3 := b1 * fix0707 >> 8
	z11, z13 := d0+z3, d0-z3
	y5, y3 = z13+z2, z13-z2
	y1, y7 = z11+z4, z11-z4
	return y0, y1, y2, y3, y4, y5, y6, y7
}

// aanScale is what transform scales each row and column by: 1 for the first,
// √2·cos(kπ/16) for the others, in 1/4096.
var aanScale = [8]int{4096, 5681, 5352, 4816, 4096, 3218, 2217, 1130}

// recipBits is the precision of quantisation: the largest coefficient, 2¹⁴·1.9,
// times the inverse of the smallest divisor, 8·0.076, must fit in 32 bits.
const recipBits = 15

// prepare makes the tables of a quality.
func (e *Encoder) prepare(quality int) {
	if e.quality == quality {
		return
	}
	e.quality = quality
	scale := 200 - 2*quality // as libjpeg does it, and image/jpeg
	if quality < 50 {
		scale = 5000 / quality
	}
	for t, base := range standardQuant {
		for i, q := range base { // in natural order
			v := min(max((int(q)*scale+50)/100, 1), 255)
			e.quant[t][zigzag[i]] = byte(v)
			// v · 8 · both scales
			d := uint64(v*aanScale[i/8]*aanScale[i%8]) >> 9 // in 1/4096
			by := divisor{
				half:    uint32((d/2 + 1<<11) >> 12),
				inverse: uint32((uint64(1)<<(recipBits+12) + d/2) / d),
			}
			by.least = max(int32((1<<recipBits-1)/by.inverse)-int32(by.half), 0)
			e.scaled[t][i] = by
		}
	}
}
