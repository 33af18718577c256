package link

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"
)

// proxy is an HTTP proxy that lets only ann through, and nobody to a host called forbidden.
func proxy(t *testing.T) *url.URL {
	t.Helper()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.Header.Set("Authorization", r.Header.Get("Proxy-Authorization"))
		user, password, _ := r.BasicAuth()
		switch {
		case r.Method != http.MethodConnect:
			w.WriteHeader(http.StatusMethodNotAllowed)
			return
		case user != "ann" || password != "s3cret":
			w.WriteHeader(http.StatusProxyAuthRequired)
			return
		case strings.HasPrefix(r.Host, "forbidden"):
			w.WriteHeader(http.StatusForbidden)
			return
		}
		to, err := net.Dial("tcp", r.Host)
		if err != nil {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		defer to.Close()
		from, said, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		defer from.Close()
		if _, err := io.WriteString(from, "HTTP/1.1 200 Connection established\r\n\r\n"); err != nil {
			return
		}
		go func() {
			_, _ = io.Copy(to, said)
			_ = to.(*net.TCPConn).CloseWrite()
		}()
		_, _ = io.Copy(from, to)
	}))
	t.Cleanup(srv.Close)
	u, err := url.Parse(srv.URL)
	if err != nil {
		t.Fatal(err)
	}
	u.User = url.UserPassword("ann", "s3cret")
	return u
}

func TestDialThroughAProxy(t *testing.T) {
	via := proxy(t)
	asked := 0
	for _, scheme := range []string{TLS, WSS, TCP} {
		srv := webSockets(t, scheme != TCP, echo)
		d := &Dialer{TLS: trusting(srv), Proxy: func(r *http.Request) (*url.URL, error) {
			asked++
			if r.URL.Scheme != "https" {
				t.Errorf("asked for %s", r.URL)
			}
			return via, nil
		}}
		nc, err := d.Dial(t.Context(), address(t, scheme, srv.URL, ""))
		if err != nil {
			t.Errorf("%s: %v", scheme, err)
			continue
		}
		nc.Close()
	}
	if asked != 2 {
		t.Errorf("a proxy was asked for %d times, not for tls:// and wss:// alone", asked)
	}
}

func TestProxyInTrouble(t *testing.T) {
	good := proxy(t)
	anonymous := *good
	anonymous.User = nil
	mute, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer mute.Close()
	cases := []struct {
		name  string
		proxy *url.URL
		err   error
		host  string
		says  string
	}{
		{"no rights", &anonymous, nil, "broker", "it answers 407 Proxy Authentication Required to CONNECT broker:7878"},
		{"forbidden", good, nil, "forbidden", "it answers 403 Forbidden"},
		{"SOCKS", &url.URL{Scheme: "socks5", Host: "127.0.0.1:1"}, nil, "broker", "socks5:// is not spoken here"},
		{"nobody there", &url.URL{Scheme: "http", Host: "127.0.0.1:1"}, nil, "broker", "refused"},
		{"a mute one", &url.URL{Scheme: "http", Host: mute.Addr().String()}, nil, "broker", "deadline exceeded"},
		{"a wrong setting", nil, errors.New("invalid proxy address"), "broker", "invalid proxy address"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			if c.name == "a mute one" {
				ctx, cancel = context.WithTimeout(t.Context(), 100*time.Millisecond)
			}
			defer cancel()
			d := &Dialer{Proxy: func(*http.Request) (*url.URL, error) { return c.proxy, c.err }}
			_, err := d.Dial(ctx, URL{Scheme: TLS, Host: c.host, Port: DefaultPort})
			if !errors.Is(err, ErrProxy) || !strings.Contains(err.Error(), c.says) || strings.Contains(err.Error(), "s3cret") {
				t.Errorf("got %v, want %q", err, c.says)
			}
		})
	}
}

// What a proxy answers is not read without end.
func TestProxyThatDoesNotStop(t *testing.T) {
	near, far := net.Pipe()
	defer near.Close()
	sent := make(chan int)
	go func() {
		n, line := 0, []byte("X: "+strings.Repeat("x", 1020)+"\r\n")
		_, err := http.ReadRequest(bufio.NewReader(far))
		if err == nil {
			_, err = io.WriteString(far, "HTTP/1.1 200 OK\r\n")
		}
		for err == nil && n < 16<<20 {
			_, err = far.Write(line)
			n += len(line)
		}
		far.Close()
		sent <- n
	}()
	err := connect(t.Context(), near, "broker.test:7878", nil)
	near.Close()
	if n := <-sent; err == nil || n > 1<<20 {
		t.Errorf("it took %d bytes: %v", n, err)
	}
}
