//go:build e2e

package e2e

import (
	"context"
	"flag"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/perchcam/perch/e2e/proc"
	"github.com/perchcam/perch/pkg/client"
)

var sessions = flag.Int("life.sessions", 2000, "how many laptops TestFlat has come and go")

// TestFlat has laptops come, take a snapshot or a few pictures of a stream, and go, eight at a time. What the agent needs of memory,
// goroutines and threads is the same after many of them as after few. MediaMTX's users counted on that in vain (its issue 4678).
func TestFlat(t *testing.T) {
	bin := filepath.Join("..", "build", "bin")
	broker, url, err := proc.Broker(t.Context(), filepath.Join(bin, "perch-broker"))
	if err != nil {
		t.Fatal(err)
	}
	defer broker.Stop()
	agent, err := proc.Start(filepath.Join(bin, "perch-agent"), nil, []string{
		"PERCH_BROKER=" + url, "PERCH_DEVICE=" + device, "PERCH_CAMERAS=test=pattern,width=320,height=240,fps=100", "HOME=" + t.TempDir(),
	})
	if err != nil {
		t.Fatal(err)
	}
	defer agent.Stop()
	ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
	defer cancel()
	if _, err := agent.Line(ctx, "to=online"); err != nil {
		t.Fatal(err)
	}
	look := func() usage {
		t.Helper()
		c, err := client.Dial(ctx, client.Config{Broker: url})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		text, err := c.Metrics(ctx, device)
		if err != nil {
			t.Fatal(err)
		}
		return usage{memory: gauge(t, text, "perch_agent_memory_bytes"), goroutines: gauge(t, text, "perch_agent_goroutines"), threads: gauge(t, text, "perch_agent_threads")}
	}
	t.Logf("before any: %v", look())

	const parts = 10
	var most [2]usage // of the first half and of the second
	began := time.Now()
	for part := range parts {
		var left atomic.Int64
		left.Store(int64(*sessions / parts))
		var working sync.WaitGroup
		for range 8 {
			working.Go(func() {
				for n := left.Add(-1); n >= 0 && ctx.Err() == nil; n = left.Add(-1) {
					if err := visit(ctx, url, n%2 == 0); err != nil {
						t.Error(err)
						cancel()
					}
				}
			})
		}
		working.Wait()
		now := look()
		t.Logf("after %d: %v", (part+1)*(*sessions/parts), now)
		half := &most[part*2/parts]
		*half = usage{max(half.memory, now.memory), max(half.goroutines, now.goroutines), max(half.threads, now.threads)}
	}
	t.Logf("%d sessions in %v", *sessions, time.Since(began).Round(time.Second))
	if most[1].memory > most[0].memory+1<<20 || most[1].goroutines > most[0].goroutines+5 || most[1].threads > most[0].threads+2 {
		t.Errorf("it grows: %v at most in the first half, %v in the second", most[0], most[1])
	}
}

// visit is one laptop.
func visit(ctx context.Context, url string, stream bool) error {
	c, err := client.Dial(ctx, client.Config{Broker: url})
	if err != nil {
		return err
	}
	defer c.Close()
	if !stream {
		_, err := c.Snapshot(ctx, device, client.SnapshotOptions{})
		return err
	}
	n := 0
	for _, err := range c.Stream(ctx, device, client.StreamOptions{}) {
		if err != nil {
			return err
		}
		if n++; n == 3 {
			break
		}
	}
	return nil
}

// usage is what the agent says that it needs.
type usage struct{ memory, goroutines, threads int64 }

func (u usage) String() string {
	return fmt.Sprintf("RssAnon %d kB, %d goroutines, %d threads", u.memory>>10, u.goroutines, u.threads)
}

func gauge(t *testing.T, text, name string) int64 {
	t.Helper()
	for line := range strings.Lines(text) {
		if value, ok := strings.CutPrefix(line, name+" "); ok {
			f, err := strconv.ParseFloat(strings.TrimSpace(value), 64)
			if err != nil {
				t.Fatal(err)
			}
			return int64(f)
		}
	}
	t.Fatalf("there is no %s in\n%s", name, text)
	return 0
}
