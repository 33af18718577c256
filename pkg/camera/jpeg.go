package camera

import (
	"bytes"
	"encoding/binary"
	"errors"
)

// JPEG marker codes (ITU-T T.81 table B.1).
const (
	markSOI  = 0xd8
	markEOI  = 0xd9
	markSOS  = 0xda
	markDHT  = 0xc4
	markDAC  = 0xcc
	markJPG  = 0xc8
	markRST0 = 0xd0
	markRST7 = 0xd7
	markTEM  = 0x01
)

// errTorn: a JPEG that does not hold together.
var errTorn = errors.New("torn picture")

// jpegLayout is what walking over a JPEG found.
type jpegLayout struct {
	end           int // just after EOI
	scan          int // where the first SOS marker begins
	width, height int
	tables        bool // Huffman tables come before the first scan
	gray          bool // one component
}

// walkJPEG walks over the JPEG at the start of b. It looks forward for the end
// rather than backward from the end of b, because drivers report the whole
// buffer as used and an older, longer picture's end may still be in it (seen
// with v4l2loopback). It does not decode; it finds what is cut off, what
// begins in the middle of another, and restart markers out of order.
func walkJPEG(b []byte) (jpegLayout, error) {
	var l jpegLayout
	if len(b) < 4 || b[0] != 0xff || b[1] != markSOI {
		return l, errTorn
	}
	for i := 2; ; {
		if i+4 > len(b) {
			if i+2 <= len(b) && b[i] == 0xff && b[i+1] == markEOI && l.scan > 0 {
				l.end = i + 2
				return l, nil
			}
			return l, errTorn
		}
		if b[i] != 0xff {
			return l, errTorn
		}
		m := b[i+1]
		switch {
		case m == 0xff: // a fill byte (B.1.1.2)
			i++
			continue
		case m == markEOI:
			if l.scan == 0 || l.width == 0 || l.height == 0 {
				return l, errTorn
			}
			l.end = i + 2
			return l, nil
		case m == markSOI, m == markTEM, m >= markRST0 && m <= markRST7, m == 0:
			return l, errTorn // does not belong between segments
		}
		n := int(binary.BigEndian.Uint16(b[i+2:]))
		if n < 2 || i+2+n > len(b) {
			return l, errTorn
		}
		switch {
		case m == markDHT:
			l.tables = l.tables || l.scan == 0
		case m >= 0xc0 && m <= 0xcf && m != markDAC && m != markJPG: // SOFn
			if n < 8 || l.width != 0 {
				return l, errTorn
			}
			l.height, l.width = int(binary.BigEndian.Uint16(b[i+5:])), int(binary.BigEndian.Uint16(b[i+7:]))
			l.gray = b[i+9] == 1
		case m == markSOS:
			if l.width == 0 {
				return l, errTorn
			}
			if l.scan == 0 {
				l.scan = i
			}
			var ok bool
			if i, ok = skipScan(b, i+2+n); !ok {
				return l, errTorn
			}
			continue
		}
		i += 2 + n
	}
}

// skipScan walks over entropy-coded data from i to the marker that ends it.
func skipScan(b []byte, i int) (int, bool) {
	next := byte(markRST0)
	for {
		k := bytes.IndexByte(b[i:], 0xff)
		if k < 0 || i+k+1 >= len(b) {
			return 0, false
		}
		i += k
		switch m := b[i+1]; {
		case m == 0: // a stuffed 0xff of the data
			i += 2
		case m == 0xff:
			i++
		case m >= markRST0 && m <= markRST7:
			if m != next { // a piece is missing in the middle
				return 0, false
			}
			if next++; next > markRST7 {
				next = markRST0
			}
			i += 2
		default:
			return i, true
		}
	}
}

// wholeJPEG appends to dst the JPEG at the start of b, with the standard
// Huffman tables put in where the camera left them out, as Motion JPEG allows.
func wholeJPEG(dst, b []byte, l jpegLayout) []byte {
	if l.tables {
		return append(dst, b[:l.end]...)
	}
	dst = append(dst, b[:l.scan]...)
	dst = append(dst, standardTables...)
	return append(dst, b[l.scan:l.end]...)
}

// wholeSize is the length of what wholeJPEG appends.
func wholeSize(l jpegLayout) int {
	if l.tables {
		return l.end
	}
	return l.end + len(standardTables)
}

// standardTables is a DHT segment with the tables K.3 to K.6 of ITU-T T.81,
// which decoders of Motion JPEG assume when a picture has none.
const standardTables = "\xff\xc4\x01\xa2" +
	"\x00" + "\x00\x01\x05\x01\x01\x01\x01\x01\x01\x00\x00\x00\x00\x00\x00\x00" +
	"\x00\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b" +
	"\x10" + "\x00\x02\x01\x03\x03\x02\x04\x03\x05\x05\x04\x04\x00\x00\x01\x7d" +
	"\x01\x02\x03\x00\x04\x11\x05\x12\x21\x31\x41\x06\x13\x51\x61\x07" +
	"\x22\x71\x14\x32\x81\x91\xa1\x08\x23\x42\xb1\xc1\x15\x52\xd1\xf0" +
	"\x24\x33\x62\x72\x82\x09\x0a\x16\x17\x18\x19\x1a\x25\x26\x27\x28" +
	"\x29\x2a\x34\x35\x36\x37\x38\x39\x3a\x43\x44\x45\x46\x47\x48\x49" +
	"\x4a\x53\x54\x55\x56\x57\x58\x59\x5a\x63\x64\x65\x66\x67\x68\x69" +
	"\x6a\x73\x74\x75\x76\x77\x78\x79\x7a\x83\x84\x85\x86\x87\x88\x89" +
	"\x8a\x92\x93\x94\x95\x96\x97\x98\x99\x9a\xa2\xa3\xa4\xa5\xa6\xa7" +
	"\xa8\xa9\xaa\xb2\xb3\xb4\xb5\xb6\xb7\xb8\xb9\xba\xc2\xc3\xc4\xc5" +
	"\xc6\xc7\xc8\xc9\xca\xd2\xd3\xd4\xd5\xd6\xd7\xd8\xd9\xda\xe1\xe2" +
	"\xe3\xe4\xe5\xe6\xe7\xe8\xe9\xea\xf1\xf2\xf3\xf4\xf5\xf6\xf7\xf8" +
	"\xf9\xfa" +
	"\x01" + "\x00\x03\x01\x01\x01\x01\x01\x01\x01\x01\x01\x00\x00\x00\x00\x00" +
	"\x00\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b" +
	"\x11" + "\x00\x02\x01\x02\x04\x04\x03\x04\x07\x05\x04\x04\x00\x01\x02\x77" +
	"\x00\x01\x02\x03\x11\x04\x05\x21\x31\x06\x12\x41\x51\x07\x61\x71" +
	"\x13\x22\x32\x81\x08\x14\x42\x91\xa1\xb1\xc1\x09\x23\x33\x52\xf0" +
	"\x15\x62\x72\xd1\x0a\x16\x24\x34\xe1\x25\xf1\x17\x18\x19\x1a\x26" +
	"\x27\x28\x29\x2a\x35\x36\x37\x38\x39\x3a\x43\x44\x45\x46\x47\x48" +
	"\x49\x4a\x53\x54\x55\x56\x57\x58\x59\x5a\x63\x64\x65\x66\x67\x68" +
	"\x69\x6a\x73\x74\x75\x76\x77\x78\x79\x7a\x82\x83\x84\x85\x86\x87" +
	"\x88\x89\x8a\x92\x93\x94\x95\x96\x97\x98\x99\x9a\xa2\xa3\xa4\xa5" +
	"\xa6\xa7\xa8\xa9\xaa\xb2\xb3\xb4\xb5\xb6\xb7\xb8\xb9\xba\xc2\xc3" +
	"\xc4\xc5\xc6\xc7\xc8\xc9\xca\xd2\xd3\xd4\xd5\xd6\xd7\xd8\xd9\xda" +
	"\xe2\xe3\xe4\xe5\xe6\xe7\xe8\xe9\xea\xf2\xf3\xf4\xf5\xf6\xf7\xf8" +
	"\xf9\xfa"
