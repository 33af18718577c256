package vpi

import (
	"bufio"
	"fmt"
	"net"
	"strings"
	"testing"
)

func TestQMPSkipsEventsAndReportsErrors(t *testing.T) {
	host, port := net.Pipe()
	defer host.Close()
	go func() {
		fmt.Fprintln(port, `{"QMP":{"version":{},"capabilities":[]}}`)
		in := bufio.NewScanner(port)
		for in.Scan() {
			switch {
			case strings.Contains(in.Text(), "qmp_capabilities"):
				fmt.Fprintln(port, `{"return":{}}`)
			case strings.Contains(in.Text(), `"name":"nic"`):
				fmt.Fprintln(port, `{"event":"NIC_RX_FILTER_CHANGED","data":{}}`)
				fmt.Fprintln(port, `{"return":{"ok":1}}`)
			default:
				fmt.Fprintln(port, `{"error":{"class":"CommandNotFound","desc":"no such command"}}`)
			}
		}
	}()
	q := newQMP(host)
	if got, err := q.execute(t.Context(), "set_link", map[string]any{"name": "nic", "up": false}); err != nil || string(got) != `{"ok":1}` {
		t.Errorf("got %s, %v", got, err)
	}
	if _, err := q.execute(t.Context(), "fly", nil); err == nil || !strings.Contains(err.Error(), "no such command") {
		t.Errorf("got %v", err)
	}
}
