package main

import (
	"context"
	"fmt"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/perchcam/perch/pkg/client"
)

// measured is the times that one kind of request took.
type measured struct {
	Name string  `json:"name"`
	N    int     `json:"n"`
	P50  float64 `json:"p50_ms"`
	P90  float64 `json:"p90_ms"`
	P99  float64 `json:"p99_ms"`
	Max  float64 `json:"max_ms"`
}

func measure(name string, times []time.Duration) measured {
	slices.Sort(times)
	at := func(percent int) float64 { return ms(quantile(times, percent)) }
	return measured{name, len(times), at(50), at(90), at(99), at(100)}
}

// benchResult is the answer of perch bench for programs.
type benchResult struct {
	Device string     `json:"device"`
	Times  []measured `json:"times"`
	Stream summary    `json:"stream"`
}

func (a *app) bench() *cobra.Command {
	var (
		want   picture
		n      uint32
		span   time.Duration
		maxAge time.Duration
		asJSON bool
	)
	n = 100
	cmd := &cobra.Command{
		Use:   "bench DEVICE",
		Short: "Measure how fast a device answers",
		Long: `Measure how fast a device answers, one request after the other: a round trip with nothing in it, a picture from memory (no
older than --max-age), and a new picture, which waits for the camera's next one. Then a stream for --for, as fast as it comes.`,
		Args:              deviceArg,
		ValidArgsFunction: a.completeDevice,
		RunE: func(cmd *cobra.Command, args []string) error {
			device := args[0]
			o := client.SnapshotOptions{Camera: want.camera, Width: want.size.w, Height: want.size.h, Quality: want.quality, Wait: want.wait}
			fromMemory := o
			fromMemory.MaxAge = maxAge
			result := benchResult{Device: device}
			return a.with(cmd.Context(), func(c *client.Client) error {
				bar := a.progress(3*int(n), "requests")
				defer bar.done()
				for _, k := range []struct {
					name string
					ask  func(ctx context.Context) (time.Duration, error)
				}{
					{"round trip", func(ctx context.Context) (time.Duration, error) { return c.RoundTrip(ctx, device) }},
					{"picture from memory", timed(c, device, fromMemory)},
					{"new picture", timed(c, device, o)},
				} {
					times, err := a.repeat(cmd.Context(), int(n), k.ask, bar.step)
					if err != nil {
						return err
					}
					result.Times = append(result.Times, measure(k.name, times))
				}
				bar.done()
				t := &tally{device: device}
				if err := a.watchWith(cmd.Context(), c, t, span, client.StreamOptions{
					Camera: want.camera, Width: want.size.w, Height: want.size.h, Quality: want.quality, Wait: want.wait,
				}, func(client.Picture, int) error { return nil }); err != nil {
					return err
				}
				result.Stream = t.summary()
				if asJSON {
					return a.json(result)
				}
				return a.benchTable(result, t)
			})
		},
	}
	f := cmd.Flags()
	f.VarP((*number)(&n), "count", "n", "requests of each kind")
	spanFlag(f, &span, "for", 3*time.Second, "how long to stream")
	spanFlag(f, &maxAge, "max-age", time.Second, "of a picture from memory")
	f.BoolVar(&asJSON, "json", false, "for programs")
	want.flags(a, cmd)
	return cmd
}

func timed(c *client.Client, device string, o client.SnapshotOptions) func(context.Context) (time.Duration, error) {
	return func(ctx context.Context) (time.Duration, error) {
		began := time.Now()
		_, err := c.Snapshot(ctx, device, o)
		return time.Since(began), err
	}
}

// repeat asks n times, after once that does not count: a camera may have to be switched on.
func (a *app) repeat(ctx context.Context, n int, ask func(context.Context) (time.Duration, error), step func()) ([]time.Duration, error) {
	times := make([]time.Duration, 0, n)
	for i := range n + 1 {
		ctx, cancel := context.WithTimeout(ctx, a.timeout)
		took, err := ask(ctx)
		cancel()
		if err != nil {
			return nil, err
		}
		if i > 0 {
			times = append(times, took)
			step()
		}
	}
	return times, nil
}

func (a *app) benchTable(r benchResult, t *tally) error {
	w := tabwriter.NewWriter(a.stdout, 0, 0, 3, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "ms\tn\tp50\tp90\tp99\tmax\t")
	for _, m := range r.Times {
		fmt.Fprintf(w, "%s\t%d\t%.2f\t%.2f\t%.2f\t%.2f\t\n", m.Name, m.N, m.P50, m.P90, m.P99, m.Max)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintf(a.stdout, "stream: %s\n", t)
	return err
}
