package vpi

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// guest answers requests on conn with what reply makes of them, until conn is closed.
func guest(conn net.Conn, reply func(id int, script string) string) {
	in := bufio.NewScanner(conn)
	for in.Scan() {
		var req struct {
			ID     int
			Script string
		}
		if json.Unmarshal(in.Bytes(), &req) != nil {
			continue
		}
		if _, err := fmt.Fprint(conn, reply(req.ID, req.Script)); err != nil {
			return
		}
	}
}

func TestControlSkipsWhatIsNotItsAnswer(t *testing.T) {
	host, port := net.Pipe()
	defer host.Close()
	go guest(port, func(id int, script string) string {
		return fmt.Sprintf("{\"id\":%d,\"out\":\"stale\"}\n{\"id\":1,\"exi\nnoise\n{\"id\":%d,\"out\":%q}\n", id-1, id, "ran "+script)
	})
	out, err := newControl(host).run(t.Context(), "uname")
	if err != nil || out != "ran uname" {
		t.Errorf("got %q, %v", out, err)
	}
}

func TestControlReportsFailure(t *testing.T) {
	host, port := net.Pipe()
	defer host.Close()
	go guest(port, func(id int, script string) string {
		if script == "slow" {
			return fmt.Sprintf("{\"id\":%d,\"exit\":-1,\"error\":\"not done after 3 s\"}\n", id)
		}
		return fmt.Sprintf("{\"id\":%d,\"exit\":4,\"out\":\"no such thing\"}\n", id)
	})
	c := newControl(host)
	if out, err := c.run(t.Context(), "bad\nsecond line"); err == nil || out != "no such thing" ||
		!strings.Contains(err.Error(), `"bad" ended with status 4`) || !strings.Contains(err.Error(), "no such thing") {
		t.Errorf("got %q, %v", out, err)
	}
	if _, err := c.run(t.Context(), "slow"); err == nil || !strings.Contains(err.Error(), "not done after 3 s") {
		t.Errorf("got %v", err)
	}
}

// A guest that is still booting loses what it is sent.
func TestGreetAsksUntilTheGuestAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		host, port := net.Pipe()
		defer host.Close()
		asked := 0
		go guest(port, func(id int, _ string) string {
			if asked++; asked < 20 {
				return ""
			}
			return fmt.Sprintf("{\"id\":%d}\n", id)
		})
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := newControl(host).greet(ctx); err != nil || asked != 20 {
			t.Errorf("after %d requests: %v", asked, err)
		}
	})
}

func TestGreetEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		host, port := net.Pipe()
		defer host.Close()
		go guest(port, func(int, string) string { return "" })
		ctx, cancel := context.WithTimeoutCause(t.Context(), 10*time.Second, fmt.Errorf("too slow"))
		defer cancel()
		if err := newControl(host).greet(ctx); err == nil || err.Error() != "too slow" {
			t.Errorf("got %v", err)
		}
	})
}
