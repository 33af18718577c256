package pattern

// glyphs are the characters of a clock, 3 dots wide and 5 high, a row an octal
// digit from the top.
var glyphs = map[rune]uint16{
	'0': 0o75557, '1': 0o26227, '2': 0o71747, '3': 0o71717, '4': 0o55711,
	'5': 0o74717, '6': 0o74757, '7': 0o71111, '8': 0o75757, '9': 0o75717,
	':': 0o02020, '.': 0o00002, '-': 0o00700, ' ': 0,
}

// text writes s in white on black, its upper left corner at x, y, a dot being
// scale pixels. What does not fit is cut off.
func (c *canvas) text(x, y, scale int, s string) {
	w, h := c.img.Rect.Dx(), c.img.Rect.Dy()
	for _, r := range s {
		g := glyphs[r]
		for dy := -1; dy <= 5; dy++ {
			for dx := -1; dx <= 3; dx++ {
				luma := byte(16)
				if dy >= 0 && dy < 5 && dx >= 0 && dx < 3 && g>>(3*(4-dy)+2-dx)&1 == 1 {
					luma = 235
				}
				for py := y + dy*scale; py < y+(dy+1)*scale; py++ {
					for px := x + dx*scale; px < x+(dx+1)*scale; px++ {
						if px < 0 || py < 0 || px >= w || py >= h {
							continue
						}
						c.img.Y[c.img.YOffset(px, py)] = luma
						o := c.img.COffset(px, py)
						c.img.Cb[o], c.img.Cr[o] = 128, 128
					}
				}
			}
		}
		x += 4 * scale
	}
}
