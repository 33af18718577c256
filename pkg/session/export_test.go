package session

import "net"

// NetConn saves the tests an import.
type NetConn = net.Conn

// ResumeFrame is a RESUME of c's session with positions of the caller's choice, behind its length.
func ResumeFrame(c *Client, received, first uint64) []byte {
	return resume{token: c.setup.token, received: received, first: first}.frame().b
}
