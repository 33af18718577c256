package page

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
)

// front is a Local that serves each WebSocket by sending its bytes back.
type front struct {
	*Local
	t       *testing.T
	entered int
}

func serve(t *testing.T) *front {
	t.Helper()
	f := &front{t: t}
	l, err := NewLocal("127.0.0.1:0", LocalConfig{
		Serve:   func(nc net.Conn) { _, _ = io.Copy(nc, nc) },
		Entered: func() { f.entered++ },
	})
	if err != nil {
		t.Fatal(err)
	}
	f.Local = l
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- l.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		select {
		case err := <-ended:
			if err != nil {
				t.Error(err)
			}
		case <-time.After(10 * time.Second):
			t.Error("Run does not end with its context")
		}
	})
	return f
}

// secretOf is what a Link has in its fragment.
func secretOf(t *testing.T, link string) string {
	t.Helper()
	u, err := url.Parse(link)
	if err != nil {
		t.Fatal(err)
	}
	_, secret, ok := strings.Cut(u.Fragment, "key=")
	secret, _, _ = strings.Cut(secret, "/")
	if !ok || len(secret) < 50 {
		t.Fatalf("the link %s has no secret", link)
	}
	return secret
}

type ask struct {
	method, path, body   string
	host, origin, cookie string
}

func (f *front) do(a ask) *http.Response {
	f.t.Helper()
	r, err := http.NewRequestWithContext(f.t.Context(), a.method, "http://"+f.host+a.path, strings.NewReader(a.body))
	if err != nil {
		f.t.Fatal(err)
	}
	if a.host != "" {
		r.Host = a.host
	}
	if a.origin != "" {
		r.Header.Set("Origin", a.origin)
	}
	if a.cookie != "" {
		r.Header.Set("Cookie", cookieName+"="+a.cookie)
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		f.t.Fatal(err)
	}
	_ = resp.Body.Close()
	return resp
}

// enter exchanges the newest secret.
func (f *front) enter() *http.Cookie {
	f.t.Helper()
	resp := f.do(ask{method: "POST", path: f.socket + "/session", body: secretOf(f.t, f.Link("")), origin: "http://" + f.host})
	if resp.StatusCode != http.StatusNoContent || len(resp.Cookies()) != 1 {
		f.t.Fatalf("%s, %v", resp.Status, resp.Cookies())
	}
	return resp.Cookies()[0]
}

func TestSecretIsExchangedOnce(t *testing.T) {
	f := serve(t)
	own := "http://" + f.host
	session := f.socket + "/session"
	old := secretOf(t, f.Link("hen-house"))
	secret := secretOf(t, f.Link(""))
	for name, c := range map[string]struct {
		ask
		status int
	}{
		"a wrong one":               {ask{method: "POST", body: strings.Repeat("A", len(secret)), origin: own}, 403},
		"none":                      {ask{method: "POST", origin: own}, 403},
		"the one before":            {ask{method: "POST", body: old, origin: own}, 403},
		"too long a one":            {ask{method: "POST", body: secret + strings.Repeat("A", maxSecret), origin: own}, 400},
		"from another page":         {ask{method: "POST", body: secret, origin: "http://evil.example"}, 403},
		"from another port":         {ask{method: "POST", body: secret, origin: "http://127.0.0.1:1"}, 403},
		"from no page":              {ask{method: "POST", body: secret}, 403},
		"by a name that is not us":  {ask{method: "POST", body: secret, host: "evil.example", origin: "http://evil.example"}, 421},
		"in another way":            {ask{method: "PUT", body: secret, origin: own}, 405},
		"asking without one before": {ask{method: "GET"}, 401},
	} {
		c.path = session
		if resp := f.do(c.ask); resp.StatusCode != c.status || len(resp.Cookies()) > 0 {
			t.Errorf("%s: %s, want %d", name, resp.Status, c.status)
		}
	}
	good := ask{method: "POST", path: session, body: secret, origin: own}
	resp := f.do(good)
	if resp.StatusCode != http.StatusNoContent || len(resp.Cookies()) != 1 {
		t.Fatalf("%s, %v", resp.Status, resp.Cookies())
	}
	c := resp.Cookies()[0]
	if !c.HttpOnly || c.SameSite != http.SameSiteStrictMode || c.Path != f.socket || c.Value == secret || len(c.Value) < 50 {
		t.Errorf("the cookie is %v", c)
	}
	if resp := f.do(good); resp.StatusCode != http.StatusForbidden {
		t.Errorf("a second time: %s", resp.Status)
	}
	if resp := f.do(ask{method: "GET", path: session, cookie: c.Value}); resp.StatusCode != http.StatusNoContent {
		t.Errorf("asking with the cookie: %s", resp.Status)
	}
	if f.entered != 1 {
		t.Errorf("%d were let in", f.entered)
	}
}

func TestSocketNeedsCookieAndOrigin(t *testing.T) {
	f := serve(t)
	own := "http://" + f.host
	cookie := f.enter().Value
	dial := func(host, origin, cookie string) (*websocket.Conn, int) {
		h := http.Header{}
		if origin != "" {
			h.Set("Origin", origin)
		}
		if cookie != "" {
			h.Set("Cookie", cookieName+"="+cookie)
		}
		ws, resp, err := websocket.Dial(t.Context(), "ws://"+f.host+f.socket, &websocket.DialOptions{HTTPHeader: h, Host: host})
		if err != nil && resp == nil {
			t.Fatal(err)
		}
		return ws, resp.StatusCode
	}
	for name, c := range map[string]struct {
		host, origin, cookie string
		status               int
	}{
		"without a cookie":  {"", own, "", 401},
		"with another":      {"", own, strings.Repeat("A", len(cookie)), 401},
		"from another page": {"", "http://evil.example", cookie, 403},
		"from nowhere":      {"", "null", cookie, 403},
		"from no page":      {"", "", cookie, 403},
		"by a rebound name": {"evil.example", own, cookie, 421},
		"by a rebound name that its page has too": {"evil.example", "http://evil.example", cookie, 421},
	} {
		if ws, status := dial(c.host, c.origin, c.cookie); status != c.status || ws != nil {
			t.Errorf("%s: %d, want %d", name, status, c.status)
		}
	}
	ws, _ := dial("", own, cookie)
	if ws == nil {
		t.Fatal("the page itself is refused")
	}
	defer ws.CloseNow()
	if err := ws.Write(t.Context(), websocket.MessageBinary, []byte("hello")); err != nil {
		t.Fatal(err)
	}
	if _, b, err := ws.Read(t.Context()); err != nil || string(b) != "hello" {
		t.Errorf("%q, %v", b, err)
	}
}

func TestPageItselfIsNoSecret(t *testing.T) {
	f := serve(t)
	if resp := f.do(ask{method: "GET", path: "/"}); resp.StatusCode != http.StatusOK || resp.Header.Get("Content-Security-Policy") != policy {
		t.Errorf("%s, %v", resp.Status, resp.Header)
	}
	if resp := f.do(ask{method: "GET", path: "/", host: "localhost:1"}); resp.StatusCode != http.StatusMisdirectedRequest || resp.Header.Get("Content-Security-Policy") != policy {
		t.Errorf("by another name: %s, %v", resp.Status, resp.Header)
	}
}

func TestOnlyLoopback(t *testing.T) {
	for _, addr := range []string{"0.0.0.0:0", ":0", "[::]:0"} {
		if l, err := NewLocal(addr, LocalConfig{}); !errors.Is(err, errNotHere) {
			t.Errorf("%s: %v, %v", addr, l, err)
		}
	}
	if _, err := NewLocal("127.0.0.1", LocalConfig{}); err == nil || !strings.Contains(err.Error(), "an address and a port") {
		t.Error(err)
	}
}
