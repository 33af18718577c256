package client_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/perchcam/perch/pkg/api"
	"github.com/perchcam/perch/pkg/client"
	"github.com/perchcam/perch/pkg/client/clienttest"
	"github.com/perchcam/perch/pkg/peer"
)

// A watch goes on over a new broker: it says that something may be missing, and then how it is.
func TestWatchOverBrokerRestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := clienttest.New(t)
		d := w.Join(&clienttest.Device{Name: "hen-house"})
		c := dial(t, w)
		next, stop := iter.Pull2(c.Watch(t.Context(), ""))
		defer stop()
		expect := func(want string) {
			t.Helper()
			e, err, ok := next()
			if err != nil || !ok {
				t.Fatalf("instead of %q: %v", want, err)
			}
			got := e.Type
			if e.Device != nil {
				got += " " + e.Device.Name + " " + e.Device.State
			}
			if got != want {
				t.Fatalf("%q instead of %q", got, want)
			}
		}
		expect("state hen-house online")
		d.Network().Down(true)
		expect("change hen-house away")
		d.Network().Down(false)
		expect("change hen-house online")
		w.Restart()
		time.Sleep(time.Minute) // both are back
		expect("gap")
		expect("state hen-house online")
		d.Network().Down(true)
		expect("change hen-house away")
	})
}

// tape is a device's stream of numbered items from the one after the last seen, a new one each second.
func tape(ctx context.Context, first uint64, item func(n uint64) any) iter.Seq2[peer.Payload, error] {
	return func(yield func(peer.Payload, error) bool) {
		for n := first; ; n++ {
			if !yield(clienttest.JSON(item(n))) {
				return
			}
			select {
			case <-time.After(time.Second):
			case <-ctx.Done():
				return
			}
		}
	}
}

// Sensors and logs are asked for again behind what was seen.
func TestSensorsAndLogsOverBrokerRestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := clienttest.New(t)
		began := time.Now()
		var asked []string
		w.Join(&clienttest.Device{Name: "hen-house", Stream: func(ctx context.Context, route string, data []byte) iter.Seq2[peer.Payload, error] {
			asked = append(asked, string(data))
			switch route {
			case api.RouteWatch:
				q, err := api.Parse[api.SensorsRequest](data)
				if err != nil {
					return peer.Fail(err)
				}
				first := uint64(1)
				if q.After != nil {
					first = q.After.Seq + 1
				}
				return tape(ctx, first, func(n uint64) any {
					return api.Reading{V: 1, Type: api.ReadingChange, Boot: "b", Seq: n, Sensor: "door", On: new(n%2 == 0), At: time.Now()}
				})
			case api.RouteLogs: // all of it, each time
				return tape(ctx, 1, func(n uint64) any {
					return api.LogLine{At: began.Add(time.Duration(n) * time.Second), Level: slog.LevelInfo, Text: fmt.Sprint(n)}
				})
			}
			return nil
		}})
		c := dial(t, w)
		var got []string
		for r, err := range c.Sensors(t.Context(), "hen-house", client.SensorsOptions{Names: []string{"door"}}) {
			if err != nil {
				t.Fatal(err)
			}
			if got = append(got, fmt.Sprint(r.Seq)); len(got) == 3 {
				w.Restart()
			}
			if len(got) == 6 {
				break
			}
		}
		if text := strings.Join(got, " "); text != "1 2 3 4 5 6" {
			t.Error("readings:", text)
		}
		want := []string{`{"sensors":["door"]}`, `{"sensors":["door"],"after":{"boot":"b","seq":3}}`}
		if diff := cmp.Diff(want, asked); diff != "" {
			t.Error(diff)
		}

		got = nil
		for l, err := range c.Logs(t.Context(), "hen-house", client.LogsOptions{Follow: true}) {
			if err != nil {
				t.Fatal(err)
			}
			if got = append(got, l.Text); len(got) == 3 {
				w.Restart()
			}
			if len(got) == 6 {
				break
			}
		}
		if text := strings.Join(got, " "); text != "1 2 3 4 5 6" {
			t.Error("log:", text)
		}
	})
}

// What does something is never asked for twice, whereas a question is, when its session is over.
func TestOnlyQuestionsAreRepeated(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := clienttest.New(t)
		reached := make(chan string, 10)
		w.Join(&clienttest.Device{Name: "hen-house", Answer: func(ctx context.Context, route string, _ []byte) (peer.Payload, bool, error) {
			reached <- route
			<-ctx.Done()
			return peer.Payload{}, true, ctx.Err()
		}})
		c, err := client.Dial(t.Context(), client.Config{
			Patience: 5 * time.Second,
			Dial: func(ctx context.Context) (net.Conn, error) { // patient, so that a new session finds the link back
				for {
					if nc, err := w.Laptop.Dial(ctx); err == nil || ctx.Err() != nil {
						return nc, err
					}
					time.Sleep(100 * time.Millisecond)
				}
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		for route, ask := range map[string]func(ctx context.Context) error{
			api.RouteSet: func(ctx context.Context) error {
				_, err := c.Set(ctx, "hen-house", "lamp", true, 0)
				return err
			},
			api.RouteInfo: func(ctx context.Context) error {
				_, err := c.Info(ctx, "hen-house")
				return err
			},
		} {
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			failed := make(chan error)
			go func() { failed <- ask(ctx) }()
			<-reached
			w.Laptop.Down(true)
			time.Sleep(10 * time.Second) // more than the session lasts
			w.Laptop.Down(false)
			err := <-failed
			switch again := len(reached); {
			case route == api.RouteSet && (again != 0 || !errors.Is(err, client.ErrUnreachable)):
				t.Errorf("%s was asked %d times more: %v", route, again, err)
			case route == api.RouteInfo && (again != 1 || !errors.Is(err, client.ErrTimeout)):
				t.Errorf("%s was asked %d times more: %v", route, again, err)
			}
			for len(reached) > 0 {
				<-reached
			}
			cancel()
		}
	})
}
