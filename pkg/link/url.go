package link

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
)

// Schemes of a broker's address.
const (
	TCP = "tcp" // plain, for a loopback or a tunnel
	TLS = "tls"
	WS  = "ws" // WebSocket, plain
	WSS = "wss"
)

// DefaultPort is the port of a tcp:// or tls:// address that has none.
const DefaultPort = 7878

// URL is where a broker is.
type URL struct {
	Scheme string // one of the constants
	Host   string // a name or an IP address, without brackets
	Port   uint16
	Path   string // of ws:// and wss://; "" is /
}

const wanted = "write it as tls://HOST:7878, tcp://HOST:7878, wss://HOST/PATH or ws://HOST/PATH"

// ParseURL reads an address such as tls://broker.example:7878. What is wrong with it is a sentence.
func ParseURL(s string) (URL, error) {
	u, err := parseURL(strings.TrimSpace(s))
	if err != nil {
		return URL{}, fmt.Errorf("%q is no address of a broker: %w", clip(s), err)
	}
	return u, nil
}

// clip keeps what follows a password, and more than a line, out of an error.
func clip(s string) string {
	if i := strings.LastIndexByte(s, '@'); i >= 0 {
		s = "…" + s[i:]
	}
	return s[:min(len(s), 200)]
}

func parseURL(s string) (URL, error) {
	scheme, _, found := strings.Cut(s, "://")
	if !found {
		return URL{}, errors.New(wanted)
	}
	in, err := url.Parse(s)
	if err != nil {
		if e, ok := errors.AsType[*url.Error](err); ok {
			err = e.Err // without the text, which may hold a password
		}
		return URL{}, fmt.Errorf("%w; %s", err, wanted)
	}
	u := URL{Scheme: in.Scheme, Host: in.Hostname(), Path: in.EscapedPath()}
	port := uint16(DefaultPort)
	switch u.Scheme {
	case TCP, TLS:
		if u.Path != "" && u.Path != "/" {
			return URL{}, fmt.Errorf("%s:// has no path", u.Scheme)
		}
		u.Path = ""
	case WS:
		port = 80
	case WSS:
		port = 443
	default:
		return URL{}, fmt.Errorf("%q is not one of tcp, tls, ws, wss; %s", scheme, wanted)
	}
	switch {
	case u.Host == "":
		return URL{}, errors.New("the host is missing; " + wanted)
	case in.User != nil:
		return URL{}, errors.New("a user or password does not belong into it, because addresses are shown and logged")
	case in.RawQuery != "" || in.ForceQuery || in.Fragment != "":
		return URL{}, errors.New("it has no ? and no # part")
	}
	if text := in.Port(); text != "" {
		n, err := strconv.ParseUint(text, 10, 16)
		if err != nil || n == 0 {
			return URL{}, fmt.Errorf("port %q is not 1 to 65535", text)
		}
		port = uint16(n)
	}
	u.Port = port
	return u, nil
}

// ParseURLs reads a list separated by commas, and says of each what is wrong with it.
func ParseURLs(s string) ([]URL, error) {
	var urls []URL
	var errs []error
	for part := range strings.SplitSeq(s, ",") {
		if strings.TrimSpace(part) == "" {
			continue
		}
		u, err := ParseURL(part)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		urls = append(urls, u)
	}
	if len(urls) == 0 && len(errs) == 0 {
		errs = append(errs, errors.New("the list of brokers is empty; "+wanted))
	}
	return urls, errors.Join(errs...)
}

// String writes the address so that ParseURL reads it.
func (u URL) String() string {
	if u.Scheme == "" {
		return ""
	}
	return u.Scheme + "://" + u.HostPort() + u.Path
}

// HostPort is what to dial.
func (u URL) HostPort() string { return net.JoinHostPort(u.Host, strconv.Itoa(int(u.Port))) }

// Secure reports whether what is said there is encrypted.
func (u URL) Secure() bool { return u.Scheme == TLS || u.Scheme == WSS }

// Loopback reports whether the address is this machine, without asking a name server.
func (u URL) Loopback() bool {
	if u.Host == "localhost" {
		return true
	}
	a, err := netip.ParseAddr(u.Host)
	return err == nil && a.Unmap().IsLoopback()
}
