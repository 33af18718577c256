package broker

import (
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/perchcam/perch/pkg/peer"
)

func TestOps(t *testing.T) {
	s := newShop(t, Config{Listen: []string{"tcp://127.0.0.1:0"}, Ops: "127.0.0.1:0", Version: "1.2.3"})
	get := func(path, host string) (int, string) {
		req, err := http.NewRequestWithContext(t.Context(), "GET", "http://"+s.opsAt.Addr().String()+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		if host != "" {
			req.Host = host
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, string(body)
	}
	dial := func(ctx context.Context) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "tcp", s.listeners[0].Addr().String())
	}
	s.connect(deviceSetup("cam", "id", 1), named("cam"), dial)
	l, _ := s.connect(laptopSetup(), nil, dial)
	if _, err := l.RequestResponse(t.Context(), peer.Payload{Metadata: to("cam", "x", waitTag("5s"))}); err != nil {
		t.Fatal(err)
	}
	_, _ = l.RequestResponse(t.Context(), peer.Payload{Metadata: to("nobody", "x")})

	code, text := get("/metrics", "")
	for _, line := range []string{
		"# TYPE perch_broker_requests_total counter", "perch_broker_requests_total 2", "perch_broker_requests_unknown_device_total 1",
		`perch_broker_devices{state="online"} 1`, "perch_broker_laptops 1", "perch_broker_links 2", "perch_broker_setups_total 2", "process_open_fds ",
	} {
		if !strings.Contains(text, "\n"+line) {
			t.Errorf("%d: no line %q in\n%s", code, line, text)
			break
		}
	}
	for path, want := range map[string]string{"/healthz": "ok\n", "/readyz": "ready\n", "/": "<td>cam<td>online"} {
		if code, text := get(path, ""); code != 200 || !strings.Contains(text, want) {
			t.Errorf("%s: %d %s", path, code, text)
		}
	}
	if code, _ := get("/nothing", ""); code != 404 {
		t.Errorf("/nothing: %d", code)
	}
	// A page of someone else's that had its name point here.
	if code, _ := get("/metrics", "evil.example"); code != http.StatusMisdirectedRequest {
		t.Errorf("a foreign host: %d", code)
	}
	s.draining.Store(true)
	if code, text := get("/readyz", "localhost"); code != 503 || text != "draining\n" {
		t.Errorf("while draining: %d %s", code, text)
	}
	s.draining.Store(false)

	for _, addr := range []string{"0.0.0.0:7879", ":7879", "7879", "192.0.2.1:1"} {
		if _, err := New(Config{Ops: addr}); err == nil {
			t.Errorf("metrics would be served on %q", addr)
		}
	}
}
