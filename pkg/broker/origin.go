package broker

import (
	"crypto/tls"
	"net"
)

// origin is the address a link comes from, and what the link has proven beside it. It travels as the link's remote
// address, so that a session knows it too.
type origin struct {
	net.Addr
	secure      bool   // by TLS
	certificate string // the name in the certificate that was shown and verified; "": none was
}

func originOf(a net.Addr) origin {
	if o, ok := a.(origin); ok {
		return o
	}
	return origin{Addr: a}
}

// host is the address without its port.
func (o origin) host() string {
	if o.Addr == nil {
		return ""
	}
	host, _, err := net.SplitHostPort(o.String())
	if err != nil {
		return o.String()
	}
	return host
}

// tlsLink is a TLS connection whose remote address says what was proven in the handshake.
type tlsLink struct{ *tls.Conn }

// RemoteAddr must not be called before the first byte was read, if the certificate is to be in it.
func (l tlsLink) RemoteAddr() net.Addr {
	return origin{Addr: l.Conn.RemoteAddr(), secure: true, certificate: certificateOf(l.ConnectionState())}
}

// certificateOf returns the first DNS or URI name of a verified certificate.
func certificateOf(cs tls.ConnectionState) string {
	if len(cs.VerifiedChains) == 0 {
		return ""
	}
	switch leaf := cs.PeerCertificates[0]; {
	case len(leaf.DNSNames) > 0:
		return leaf.DNSNames[0]
	case len(leaf.URIs) > 0:
		return leaf.URIs[0].String()
	}
	return ""
}
