package camera

import (
	"context"
	"time"
)

// SnapshotOptions says what picture is wanted. The zero value is one taken
// after the request, as the camera makes it.
type SnapshotOptions struct {
	Width, Height int           // box that the picture must fit in
	Quality       int           // of JPEG, 1 … 100, rounded to 5; 0 leaves it to the camera
	MaxAge        time.Duration // a picture up to so old will do; 0 means newer than the request
	Settled       bool          // wait until exposure has settled, within limits
}

// Snapshot gives one picture. It starts the camera if need be, and waits for
// it until ctx ends; a camera in trouble gives its error, a sentence, at once.
// Skipped is always 0.
func (h *Hub) Snapshot(ctx context.Context, opt SnapshotOptions) (Picture, error) {
	now := Mono()
	v := h.View(ViewOptions{Width: opt.Width, Height: opt.Height, Quality: opt.Quality})
	defer v.Close()
	h.mu.Lock()
	v.snapshot = true
	v.after = now - max(opt.MaxAge, 0)
	h.mu.Unlock()
	var calm *bool
	if opt.Settled {
		ok, err := v.settle(ctx)
		if err != nil {
			return Picture{}, err
		}
		calm = &ok
	}
	p, err := v.Next(ctx)
	p.Skipped, p.Settled = 0, calm
	return p, err
}
