package main

import (
	"io"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
)

// progress shows on a terminal how far something is. Where standard error is none, or with --quiet, it shows nothing.
type progress struct {
	ui  *ui
	p   *mpb.Progress // nil: shows nothing
	bar *mpb.Bar
}

func (u *ui) progress(total int, what string) *progress {
	if u.quiet || !terminal(u.stderr) {
		return &progress{ui: u}
	}
	return newProgress(u, total, what, mpb.WithOutput(u.stderr))
}

func newProgress(u *ui, total int, what string, options ...mpb.ContainerOption) *progress {
	p := mpb.New(append(options, mpb.WithWidth(48))...)
	bar := p.New(int64(total), mpb.BarStyle().Lbound("[").Filler("=").Tip(">").Padding(" ").Rbound("]"),
		mpb.BarRemoveOnComplete(),
		mpb.PrependDecorators(decor.CountersNoUnit("%d of %d "+what)),
	)
	return &progress{u, p, bar}
}

// say tells something above the bar.
func (p *progress) say(format string, args ...any) {
	if p.p == nil {
		p.ui.say(format, args...)
		return
	}
	above := ui{stderr: p.p}
	above.say(format, args...)
}

func (p *progress) step() {
	if p.bar != nil {
		p.bar.Increment()
	}
}

// done takes the bar away.
func (p *progress) done() {
	if p.p != nil {
		p.bar.Abort(true) // where it is not complete
		p.p.Wait()
	}
}

var _ io.Writer = (*mpb.Progress)(nil)
