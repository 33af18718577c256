package broker

import (
	"crypto/tls"
	"errors"
	"net"

	"github.com/rsocket/rsocket-go/core"

	"github.com/perchcam/perch/pkg/session"
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

// tlsLink is a TLS connection whose remote address says what was proven in the handshake. Who does not begin with TLS is
// answered without it: an end that was told tcp:// instead of tls:// learns so.
type tlsLink struct {
	*tls.Conn
	plain net.Conn // the connection below, once it turned out to be all there is
}

func (l *tlsLink) Read(b []byte) (int, error) {
	n, err := l.Conn.Read(b)
	if e, ok := errors.AsType[tls.RecordHeaderError](err); ok && e.Conn != nil {
		l.plain = e.Conn
		err = session.Errorf(core.ErrorCodeInvalidSetup, "this is not TLS, which this port is for: write tls:// instead of tcp://")
	}
	return n, err
}

func (l *tlsLink) Write(b []byte) (int, error) {
	if l.plain != nil {
		return l.plain.Write(b)
	}
	return l.Conn.Write(b)
}

func (l *tlsLink) CloseWrite() error {
	if tc, ok := l.plain.(*net.TCPConn); ok {
		return tc.CloseWrite()
	}
	return l.Conn.CloseWrite()
}

// RemoteAddr must not be called before the first byte was read, if the certificate is to be in it.
func (l *tlsLink) RemoteAddr() net.Addr {
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
