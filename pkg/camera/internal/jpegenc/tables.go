package jpegenc

import "github.com/perchcam/perch/pkg/camera/internal/mjpeg"

// zigzag is where each coefficient, by rows, comes in the order in which they
// are written (ITU-T T.81 figure 5).
var zigzag = [64]uint8{
	0, 1, 5, 6, 14, 15, 27, 28,
	2, 4, 7, 13, 16, 26, 29, 42,
	3, 8, 12, 17, 25, 30, 41, 43,
	9, 11, 18, 24, 31, 40, 44, 53,
	10, 19, 23, 32, 39, 45, 52, 54,
	20, 22, 33, 38, 46, 51, 55, 60,
	21, 34, 37, 47, 50, 56, 59, 61,
	35, 36, 48, 49, 57, 58, 62, 63,
}

// standardQuant are the tables K.1 and K.2, by rows.
var standardQuant = [2][64]byte{
	{
		16, 11, 10, 16, 24, 40, 51, 61,
		12, 12, 14, 19, 26, 58, 60, 55,
		14, 13, 16, 24, 40, 57, 69, 56,
		14, 17, 22, 29, 51, 87, 80, 62,
		18, 22, 37, 56, 68, 109, 103, 77,
		24, 35, 55, 64, 81, 104, 113, 92,
		49, 64, 78, 87, 103, 121, 120, 101,
		72, 92, 95, 98, 112, 100, 103, 99,
	},
	{
		17, 18, 24, 47, 99, 99, 99, 99,
		18, 21, 26, 66, 99, 99, 99, 99,
		24, 26, 56, 99, 99, 99, 99, 99,
		47, 66, 99, 99, 99, 99, 99, 99,
		99, 99, 99, 99, 99, 99, 99, 99,
		99, 99, 99, 99, 99, 99, 99, 99,
		99, 99, 99, 99, 99, 99, 99, 99,
		99, 99, 99, 99, 99, 99, 99, 99,
	},
}

// code is a Huffman code of n bits; with the bits of a value behind it, at
// most 27.
type code struct {
	bits uint32
	n    uint8
}

// codes are the tables K.3 to K.6 as they are used, for luma and chroma.
var codes = makeCodes(mjpeg.StandardTables[4:])

type tables struct{ dc, ac [256]code }

// makeCodes assigns the codes (annex C) of the tables in a DHT segment: luma
// DC and AC, chroma DC and AC.
func makeCodes(s string) (all [2]tables) {
	for i := range all {
		for _, t := range []*[256]code{&all[i].dc, &all[i].ac} {
			counts, values := s[1:17], s[17:]
			next, k := uint32(0), 0
			for n := range 16 {
				for range counts[n] {
					t[values[k]] = code{next, uint8(n + 1)}
					next++
					k++
				}
				next <<= 1
			}
			s = values[k:]
		}
	}
	return all
}
