package broker

import (
	"bytes"
	"context"
	"log/slog"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/perchcam/perch/pkg/api"
	"github.com/perchcam/perch/pkg/link"
	"github.com/perchcam/perch/pkg/peer"
	"github.com/perchcam/perch/pkg/session"
	"github.com/perchcam/perch/pkg/wire"
)

// agent is what an agent's link does, over and over, under one name and id; the log is its own. boot is of this start of it.
func (h *house) agent(ctx context.Context, name, boot string, log *logged) {
	p, err := peer.New(peer.Config{Handler: named(boot)})
	if err != nil {
		h.t.Fatal(err)
	}
	l, err := link.New(link.Config{
		Brokers: []link.URL{{Scheme: link.TCP, Host: "broker", Port: 1}}, Receiver: p, Log: slog.New(slog.NewTextHandler(log, nil)),
		Dial: func(context.Context, link.URL) (net.Conn, error) {
			a, b := net.Pipe()
			h.work.Go(func() { h.Serve(b) })
			return a, nil
		},
		Setup: func() (session.Setup, error) {
			advert, err := api.Advert{Device: name, ID: "id", Boot: boot, Rev: 1, Version: "1.0"}.Encode()
			if err != nil {
				return session.Setup{}, err
			}
			return composed(wire.Setup{
				Dialect: wire.RSocketBroker, ID: wire.NewUUID().String(), Service: api.Service, Advert: advert,
				Tags: []wire.Tag{{Key: wire.KeyDevice, Value: name}},
			}, true), nil
		},
	})
	if err != nil {
		h.t.Fatal(err)
	}
	h.work.Go(func() {
		_ = l.Run(ctx)
		p.Wait()
	})
}

// Two machines with one name and id do not oust one another for ever: one of them stays, and the broker says once what to do.
func TestTwins(t *testing.T) {
	var out logged
	open(t, Config{Log: slog.New(slog.NewTextHandler(&out, nil))}, func(h *house) {
		var first, second, third logged
		h.agent(h.ctx, "cam", "a", &first)
		time.Sleep(time.Minute)
		ctx, power := context.WithCancel(h.ctx)
		h.agent(ctx, "cam", "b", &second)
		time.Sleep(9 * time.Minute)
		last := func(l *logged) string {
			lines := strings.Split(strings.TrimSpace(l.String()), "\n")
			return lines[len(lines)-1]
		}
		if line := last(&second); !strings.Contains(line, "to=online") {
			t.Errorf("the one that stays says: %s", line)
		}
		if line := last(&first); !strings.Contains(line, `two machines use the name \"cam\" and the same machine id: set PERCH_DEVICE`) {
			t.Errorf("the one that is told to go says: %s", line)
		}
		if n := bytes.Count([]byte(out.String()), []byte("level=WARN")); n != 1 || !strings.Contains(out.String(), "two machines use the name") {
			t.Errorf("%d warnings:\n%s", n, out.String())
		}
		l := h.laptop()
		if got, err := l.ask(to("cam", "x")); got != "b" || err != nil {
			t.Errorf("%q, %v", got, err)
		}

		// When the other one is gone it may have the name.
		power()
		time.Sleep(time.Minute)
		if got, err := l.ask(to("cam", "x")); got != "a" || err != nil || !strings.Contains(last(&first), "to=online") {
			t.Errorf("%q, %v: %s", got, err, last(&first))
		}
		// A third one, as after its power came back, takes the place at once as ever.
		h.agent(h.ctx, "cam", "c", &third)
		synctest.Wait()
		if got, err := l.ask(to("cam", "x")); got != "c" || err != nil {
			t.Errorf("%q, %v", got, err)
		}
	})
}
