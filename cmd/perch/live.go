package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/charmbracelet/x/ansi"
	"golang.org/x/term"

	"github.com/perchcam/perch/pkg/client"
)

const (
	refresh = 2 * time.Second        // of a table that is shown live, where nothing happens: times go on
	gather  = 100 * time.Millisecond // what happens at nearly the same time is one new table
)

// liveDevices shows the devices as a table that is kept up to date in its place, until Ctrl-C.
func (a *app) liveDevices(ctx context.Context) error {
	f := a.stdout.(*os.File) // a terminal
	s := &screen{w: a.stdout, size: func() (width, height int) {
		width, height, _ = term.GetSize(int(f.Fd()))
		return width, height
	}}
	a.screen = s
	defer func() { a.screen = nil }()
	return a.with(ctx, func(c *client.Client) error { return a.keepUpToDate(ctx, c, s) })
}

func (a *app) keepUpToDate(ctx context.Context, c *client.Client, s *screen) error {
	ctx, cancel := context.WithCancel(ctx)
	var watching sync.WaitGroup
	defer watching.Wait()
	defer cancel()
	changed, ended := make(chan struct{}, 1), make(chan error, 1)
	watching.Go(func() {
		for _, err := range c.Watch(ctx, "") {
			if err != nil {
				ended <- err
				return
			}
			select {
			case changed <- struct{}{}:
			default:
			}
		}
		ended <- errors.New("the broker has ended the watch")
	})
	for {
		list, err := c.Registry(ctx, "")
		if err != nil {
			return untilCtrlC(ctx, err)
		}
		text := "no device is connected\n"
		if len(list.Devices) > 0 {
			var b strings.Builder
			if err := table(&b, list.Devices, nowOf(list)); err != nil {
				return err
			}
			text = b.String()
		}
		if err := s.draw(text); err != nil {
			return err
		}
		select {
		case <-changed:
			select {
			case <-time.After(gather):
			case <-ctx.Done():
			}
		case <-time.After(refresh):
		case err := <-ended:
			return untilCtrlC(ctx, err)
		case <-ctx.Done():
		}
		if ctx.Err() != nil {
			return nil // as it was meant to end
		}
	}
}

// untilCtrlC is err, unless Ctrl-C came first, which is how what has no other end is meant to end.
func untilCtrlC(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// screen is text that is kept up to date in its place at the end of what a terminal shows.
type screen struct {
	w    io.Writer
	size func() (width, height int)

	mu    sync.Mutex // guards the following
	shown string     // as it was cut to size
}

// draw shows text, in lines, in place of what was shown. What does not fit is left out, and that said.
func (s *screen) draw(text string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	back := s.back()
	s.shown = s.cut(text)
	_, err := io.WriteString(s.w, back+s.shown)
	return err
}

// say writes a line above the text, which then is below it.
func (s *screen) say(line string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, _ = io.WriteString(s.w, s.back()+line+s.shown)
}

// back goes to where the text begins, and takes it away.
func (s *screen) back() string {
	n := strings.Count(s.shown, "\n")
	if n == 0 {
		return ""
	}
	return "\r" + ansi.CursorUp(n) + ansi.EraseScreenBelow
}

func (s *screen) cut(text string) string {
	width, height := s.size()
	if width < 1 || height < 3 {
		width, height = 80, 24
	}
	lines := strings.SplitAfter(text, "\n")
	lines = lines[:len(lines)-1] // nothing is behind the last line's end
	if room := height - 1; len(lines) > room {
		more := len(lines) - room + 1
		lines = append(lines[:room-1:room-1], fmt.Sprintf("… and %d more\n", more))
	}
	for i, line := range lines {
		lines[i] = ansi.Truncate(strings.TrimSuffix(line, "\n"), width, "…") + "\n"
	}
	return strings.Join(lines, "")
}
