package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/perchcam/perch/pkg/api"
	"github.com/perchcam/perch/pkg/client"
)

func (a *app) stream() *cobra.Command {
	var (
		want   picture
		out    string
		force  bool
		n      uint32
		fps    float64
		span   time.Duration
		keep   string
		format string
		share  bool
		asJSON bool
	)
	cmd := &cobra.Command{
		Use:   "stream DEVICE -o DIR",
		Short: "Take pictures one after the other",
		Long: `Take pictures one after the other and write each to a file of its own in a folder, or with -o - all of them to standard output:
JPEGs one behind the other, which is the MJPEG that video programs read, or with --format h264 what the camera itself has encoded.

  perch stream hen-house -o - | ffplay -f mjpeg -
  perch stream hen-house -o - | ffmpeg -f mjpeg -i - hens.mp4

A file is named DEVICE-CAMERA-NUMBER.jpg, with the camera's own number of the picture. Should the device start anew, it counts
anew, and names go on as DEVICE-CAMERA-r1-NUMBER.jpg; so they do where the folder has pictures of an earlier run. No file is
overwritten without --force. Without -n or --for it goes on until Ctrl-C.

The end is a summary: how many, how many per second and how large; skipped are pictures that were left out because they came
faster than asked for or than they could be taken; missing are those lost to an interruption; those that the camera counted and never gave are told apart; and how old they were
on arrival.
With --json the summary is one object on standard output.`,
		Args:              deviceArg,
		ValidArgsFunction: a.completeDevice,
		RunE: func(cmd *cobra.Command, args []string) error {
			switch {
			case keep != api.KeepNewest && keep != api.KeepAll:
				return &usageError{fmt.Errorf("--keep %s: it must be newest or all", api.Text(keep))}
			case fps < 0 || fps > 240:
				return &usageError{errors.New("--fps must be more than 0, and 240 at most")}
			case asJSON && out == "-":
				return &usageError{errors.New("--json and -o - both want standard output")}
			}
			put, done, err := a.streamTo(out, args[0], format, force)
			if err != nil {
				return err
			}
			defer done()
			s := &tally{device: args[0]}
			err = a.watch(cmd.Context(), s, span, client.StreamOptions{
				Camera: want.camera, FPS: fps, Width: want.size.w, Height: want.size.h, Quality: want.quality, Format: format,
				KeepAll: keep == api.KeepAll, Share: share, Count: n, Wait: want.wait,
			}, put)
			if s.Frames > 0 || err == nil {
				a.say("%s", s)
				if asJSON {
					err = errors.Join(err, a.json(s.summary()))
				}
			}
			return err
		},
	}
	f := cmd.Flags()
	f.StringVarP(&out, "output", "o", "", "`DIR` for the files, which is made if it is missing; or - for standard output")
	f.VarP((*number)(&n), "count", "n", "how many pictures (default without end)")
	spanFlag(f, &span, "for", 0, "how long (default without end)")
	f.Float64Var(&fps, "fps", 0, "`RATE` in pictures per second, at most (default the camera's own)")
	f.StringVar(&keep, "keep", api.KeepNewest, "`WHAT` becomes of pictures there is no time for: newest skips them, all has the device keep what it can hold")
	f.StringVar(&format, "format", "", "`FORMAT` of the pictures, jpeg or h264 (default jpeg)")
	f.BoolVar(&share, "share", false, "one stream from the device for everybody who asks for the same, which spares its uplink")
	f.BoolVarP(&force, "force", "f", false, "overwrite")
	f.BoolVar(&asJSON, "json", false, "the summary for programs")
	want.flags(a, cmd)
	choices(cmd, "keep", api.KeepNewest, api.KeepAll)
	choices(cmd, "format", api.FormatJPEG, api.FormatH264)
	return cmd
}

// streamTo returns what puts the pictures where they shall go.
func (a *app) streamTo(out, device, format string, force bool) (put func(p client.Picture, restarts int) error, done func(), err error) {
	switch {
	case out == "":
		return nil, nil, &usageError{errors.New("where should the pictures go? -o DIR, or -o - for standard output")}
	case out == "-" && terminal(a.stdout):
		return nil, nil, &usageError{errors.New("standard output is a terminal, which would show the pictures as garbage: use -o DIR, or a pipe")}
	case out == "-":
		return func(p client.Picture, _ int) error {
			_, err := a.stdout.Write(p.Data)
			return err
		}, func() {}, nil
	case format == api.FormatH264:
		return nil, nil, &usageError{errors.New("h264 is one stream and not pictures: use -o - and redirect it to a file")}
	}
	if err := notAFolder(out, device); err != nil {
		return nil, nil, err
	}
	folder, err := makeFolder(out, force)
	if err != nil {
		return nil, nil, err
	}
	s := &series{a: a, device: device, folder: folder}
	return s.put, folder.close, nil
}

var (
	errSpanOver = errors.New("--for is over")
	errNoFirst  = errors.New("no picture came in time")
)

// watch runs a stream until it is complete, span is over, or Ctrl-C ends one that has no other end.
func (a *app) watch(ctx context.Context, s *tally, span time.Duration, o client.StreamOptions, put func(client.Picture, int) error) error {
	return a.with(ctx, func(c *client.Client) error { return a.watchWith(ctx, c, s, span, o, put) })
}

func (a *app) watchWith(ctx context.Context, c *client.Client, s *tally, span time.Duration, o client.StreamOptions, put func(client.Picture, int) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	first := time.AfterFunc(a.timeout+o.Wait, func() { cancel(errNoFirst) })
	defer first.Stop()
	if span > 0 {
		defer time.AfterFunc(span, func() { cancel(errSpanOver) }).Stop()
	}
	for p, err := range c.Stream(ctx, s.device, o) {
		switch {
		case err == nil:
			first.Stop()
			if p.Gap != nil {
				a.say("%s: %s", s.device, gapText(p.Gap))
			}
			s.add(p)
			if err := put(p, s.Restarts); err != nil {
				return err
			}
			continue
		case context.Cause(ctx) == errSpanOver:
			return nil
		case context.Cause(ctx) == errNoFirst:
			return &client.Error{Kind: client.ErrTimeout, Text: fmt.Sprintf("no picture came within %s", a.timeout+o.Wait), Device: s.device}
		case ctx.Err() != nil && o.Count == 0 && s.Frames > 0:
			return nil // Ctrl-C is how it ends
		}
		return err
	}
	return nil
}

func gapText(g *client.Gap) string {
	switch {
	case g.Restarted:
		return "the device has started anew and counts anew"
	case g.Missing == 0:
		return "interrupted; nothing is missing"
	}
	return "interrupted; " + areMissing(g.Missing, "picture")
}

// tally counts what a stream brought.
type tally struct {
	device string

	Frames, Skipped, Failed, Lost, Missing uint64
	Gaps, Restarts                         int
	bytes, smallest, largest               int64
	first, last                            time.Time
	ages                                   []time.Duration // of pictures whose age is known
	ageError                               time.Duration   // the largest
}

func (t *tally) add(p client.Picture) {
	n := int64(len(p.Data))
	if t.last = time.Now(); t.Frames == 0 {
		t.first, t.smallest = t.last, n
	} else if p.Gap == nil { // what was skipped before the first is nobody's loss
		t.Skipped += p.Skipped - min(p.Lost+p.Failed, p.Skipped)
		t.Failed += p.Failed
		t.Lost += p.Lost
	}
	t.Frames++
	t.bytes += n
	t.smallest, t.largest = min(t.smallest, n), max(t.largest, n)
	if p.Gap != nil {
		t.Gaps++
		t.Missing += p.Gap.Missing
		if p.Gap.Restarted {
			t.Restarts++
		}
	}
	if p.Age.Known {
		t.ages = append(t.ages, p.Age.Age)
		t.ageError = max(t.ageError, p.Age.Error)
	}
}

// summary is the tally for programs.
type summary struct {
	Device   string  `json:"device"`
	Frames   uint64  `json:"frames"`
	Seconds  float64 `json:"seconds"` // from the first picture to the last
	FPS      float64 `json:"fps"`
	Bytes    int64   `json:"bytes"`
	Skipped  uint64  `json:"skipped"`
	Missing  uint64  `json:"missing"` // and Lost
	Failed   uint64  `json:"failed"`  // at the camera
	Gaps     int     `json:"gaps"`
	Restarts int     `json:"restarts"`
	Age      *ages   `json:"age_ms,omitempty"`
}

// ages are in milliseconds.
type ages struct {
	Median float64 `json:"median"`
	P99    float64 `json:"p99"`
	Max    float64 `json:"max"`
	Error  float64 `json:"error"` // ±
}

func (t *tally) summary() summary {
	s := summary{
		Device: t.device, Frames: t.Frames, Seconds: t.last.Sub(t.first).Seconds(), Bytes: t.bytes,
		Skipped: t.Skipped, Missing: t.Missing + t.Lost, Failed: t.Failed, Gaps: t.Gaps, Restarts: t.Restarts,
	}
	if s.Seconds > 0 {
		s.FPS = float64(t.Frames-1) / s.Seconds
	}
	if len(t.ages) > 0 {
		slices.Sort(t.ages)
		s.Age = &ages{ms(quantile(t.ages, 50)), ms(quantile(t.ages, 99)), ms(quantile(t.ages, 100)), ms(t.ageError)}
	}
	return s
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// quantile returns the least of sorted that percent of them do not exceed.
func quantile(sorted []time.Duration, percent int) time.Duration {
	return sorted[max(0, (len(sorted)*percent+99)/100-1)]
}

// String is the tally for a person.
func (t *tally) String() string {
	s := t.summary()
	text := fmt.Sprintf("%s in %.1f s, %.1f per second; %s, %s to %s each; skipped %d, missing %d",
		count(s.Frames, "picture"), s.Seconds, s.FPS, size(s.Bytes), size(t.smallest), size(t.largest), s.Skipped, s.Missing)
	if s.Failed > 0 {
		text += fmt.Sprintf(", lost by the camera itself %d", s.Failed)
	}
	if s.Age != nil {
		text += fmt.Sprintf("; age %.1f ms, 99 of 100 within %.1f ms, at most %.1f ms (± %.1f ms)", s.Age.Median, s.Age.P99, s.Age.Max, s.Age.Error)
	}
	return text
}
