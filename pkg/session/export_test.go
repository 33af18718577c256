package session

import "net"

// NetConn saves the tests an import.
type NetConn = net.Conn

// ResumeFrame is a RESUME of c's session with positions of the caller's choice, behind its length.
func ResumeFrame(c *Client, received, first uint64) []byte {
	return resume{token: c.setup.token, received: received, first: first}.frame().b
}

// DropRetained makes c forget the newest frame it keeps, and still believe that the other end will get it: the fault of
// a session that loses a frame at a cut.
func DropRetained(c *Conn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := c.led.kept.len()
	if n < 2 {
		return
	}
	// The frame before it is sent twice in its place, cut or padded to its size, so that positions still fit.
	lost, twin := c.led.kept.at(n-1), *c.led.kept.at(n - 2)
	b := append([]byte(nil), lost.b...)
	copy(b[lenSize:], twin.b[lenSize:])
	lost.release()
	*lost = Frame{b: b}
}

// CountEarly makes c count a frame as received that is not: the fault of a session that counts before the bytes are there.
func CountEarly(c *Conn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.led.received += 20
}
