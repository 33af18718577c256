package link

import (
	"context"
	"errors"
	"net"
	"strings"
	"time"
)

// Lookup returns the addresses of a host. A name that ends in .local is asked for by multicast as well (RFC 6762), because the
// packaged agent's resolver, which is Go's own, does not.
func Lookup(ctx context.Context, host string) ([]string, error) {
	if !isLocal(host) {
		return net.DefaultResolver.LookupHost(ctx, host)
	}
	return lookupLocal(ctx, host, &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) { return openMulticast() }})
}

func isLocal(host string) bool {
	return strings.HasSuffix(strings.ToLower(strings.TrimSuffix(host, ".")), ".local")
}

const (
	localPatience = 3 * time.Second        // for an answer by multicast: it comes within 20 to 120 ms, or was lost
	localGrace    = 250 * time.Millisecond // for the other answers after the first
)

// lookupLocal asks for IPv4 and IPv6 addresses by multicast, and the system's resolver, all at once: one question that nobody
// answers must not hold the others up.
func lookupLocal(ctx context.Context, host string, multicast *net.Resolver) (addrs []string, err error) {
	ctx, cancel := context.WithTimeout(ctx, localPatience)
	defer cancel()
	ways := []func() ([]net.IP, error){
		func() ([]net.IP, error) { return multicast.LookupIP(ctx, "ip4", host) },
		func() ([]net.IP, error) { return multicast.LookupIP(ctx, "ip6", host) },
		func() ([]net.IP, error) { return net.DefaultResolver.LookupIP(ctx, "ip", host) },
	}
	answers := make(chan []net.IP, len(ways))
	for _, way := range ways {
		go func() {
			ips, _ := way() // that nobody knows is said once, below
			answers <- ips
		}()
	}
	var late <-chan time.Time
	for range ways {
		select {
		case a := <-answers:
			for _, ip := range a {
				if s := ip.String(); !ip.IsLinkLocalUnicast() || ip.To4() != nil { // of IPv6, its interface is not known
					addrs = append(addrs, s)
				}
			}
		case <-late:
			return addrs, nil
		}
		if len(addrs) > 0 && late == nil {
			late = time.After(localGrace)
		}
	}
	if len(addrs) > 0 {
		return addrs, nil
	}
	return nil, &net.DNSError{Err: "nobody on this network answers to the name, and no name server knows it", Name: host, IsNotFound: true}
}

// mdns is where questions by multicast go.
var mdns = net.UDPAddr{IP: net.IPv4(224, 0, 0, 251), Port: 5353}

// multicast is a socket on which one question goes to everybody on each network, and answers come from whoever knows. As it does
// not ask from port 5353, answers are sent to it alone, in the form of ordinary DNS (RFC 6762, section 6.7).
type multicast struct {
	*net.UDPConn
	send func(b []byte) error
}

// Read implements net.Conn: for the resolver it is one conversation.
func (m multicast) Read(b []byte) (int, error) {
	n, _, err := m.ReadFrom(b)
	return n, err
}

// Write implements net.Conn.
func (m multicast) Write(b []byte) (int, error) { return len(b), m.send(b) }

// direct connects to a host. Of a name in .local, whose addresses net.Dialer does not find, all are tried at once.
func (d *Dialer) direct(ctx context.Context, host, port string) (net.Conn, error) {
	nd := net.Dialer{KeepAliveConfig: keepAlive, Resolver: d.names}
	if !isLocal(host) {
		return nd.DialContext(ctx, "tcp", net.JoinHostPort(host, port))
	}
	addrs, err := Lookup(ctx, host)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	type outcome struct {
		nc  net.Conn
		err error
	}
	tried := make(chan outcome)
	for _, a := range addrs {
		go func() {
			nc, err := nd.DialContext(ctx, "tcp", net.JoinHostPort(a, port))
			select {
			case tried <- outcome{nc, err}:
			case <-ctx.Done():
				if err == nil {
					_ = nc.Close()
				}
			}
		}()
	}
	var errs []error
	for range addrs {
		select {
		case o := <-tried:
			if o.err == nil {
				return o.nc, nil
			}
			errs = append(errs, o.err)
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
	return nil, errors.Join(errs...)
}
