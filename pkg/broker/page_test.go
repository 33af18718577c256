package broker

import (
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/perchcam/perch/pkg/api"
	"github.com/perchcam/perch/pkg/link"
	"github.com/perchcam/perch/pkg/peer"
	"github.com/perchcam/perch/pkg/wire"
)

// What is served beside the WebSockets keeps out of their way, and is asked for by our own names only.
func TestPageBesideWebSockets(t *testing.T) {
	for _, path := range []string{"", "/rsocket"} {
		s := newShop(t, Config{
			Listen: []string{"ws://127.0.0.1:0" + path},
			Page: func(socket string) (http.Handler, error) {
				return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					_, _ = io.WriteString(w, "the page of "+socket+" at "+r.URL.Path)
				}), nil
			},
		})
		at := "http://" + s.listeners[0].Addr().String()
		get := func(path, host string) string {
			r, err := http.NewRequestWithContext(t.Context(), "GET", at+path, nil)
			if err != nil {
				t.Fatal(err)
			}
			r.Host = host
			resp, err := http.DefaultClient.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			b, err := io.ReadAll(resp.Body)
			if err != nil {
				t.Fatal(err)
			}
			return string(b)
		}
		socket := path
		if socket == "" {
			socket = "/"
		}
		for _, p := range []string{"/", "/page.js"} {
			if got, want := get(p, ""), "the page of "+socket+" at "+p; got != want {
				t.Errorf("%q, want %q", got, want)
			}
			if got := get(p, "evil.example"); strings.Contains(got, "the page") {
				t.Errorf("by a rebound name: %q", got)
			}
		}
		u, err := link.ParseURL(s.URLs()[0])
		if err != nil {
			t.Fatal(err)
		}
		l, _ := s.connect(laptopSetup(), nil, func(ctx context.Context) (net.Conn, error) { return (&link.Dialer{}).Dial(ctx, u) })
		if _, err := l.RequestResponse(t.Context(), peer.Payload{Metadata: meta(wire.Plain, wire.Request{Route: api.RouteBrokerInfo})}); err != nil {
			t.Errorf("the WebSocket at %s: %v", u, err)
		}
	}
}
