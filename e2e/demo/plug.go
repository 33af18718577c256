package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"image"
	"image/color"
	"image/jpeg"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/perchcam/perch/e2e/scissors"
)

// album is ten pictures whose hashes are known, for a camera that replays them.
type album struct {
	dir    string
	hashes [][sha256.Size]byte // in the order in which they are played
}

func newAlbum(dir string) (*album, error) {
	a := &album{dir: dir}
	for i := range 10 {
		img := image.NewRGBA(image.Rect(0, 0, 640, 480))
		for y := range 480 {
			for x := range 640 {
				img.Set(x, y, color.RGBA{byte(x*y>>3 + 25*i), byte((x ^ y) + 40*i), byte(x - y*i), 255})
			}
		}
		var b bytes.Buffer
		if err := jpeg.Encode(&b, img, &jpeg.Options{Quality: 60}); err != nil {
			return nil, err
		}
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("%02d.jpg", i)), b.Bytes(), 0o600); err != nil {
			return nil, err
		}
		a.hashes = append(a.hashes, sha256.Sum256(b.Bytes()))
	}
	return a, nil
}

// number returns which picture of the album b is, counted from 1.
func (a *album) number(b []byte) (int, error) {
	if i := slices.Index(a.hashes, sha256.Sum256(b)); i >= 0 {
		return i + 1, nil
	}
	return 0, errors.New("a picture arrived that is none of those that were sent")
}

// pullThePlug shows the promise: the agent's link is cut in the middle of the bytes of the fifth of ten pictures, and in
// the middle of a snapshot. All arrive once, in order, equal to what was sent.
func pullThePlug(ctx context.Context, brokerURL, dir string, out io.Writer) (err error) {
	broker, err := url.Parse(brokerURL)
	if err != nil {
		return err
	}
	relay, err := scissors.New(broker.Host)
	if err != nil {
		return err
	}
	defer relay.Close()
	sent, received := filepath.Join(dir, "sent"), filepath.Join(dir, "received")
	for _, d := range []string{sent, received} {
		if err := os.Mkdir(d, 0o700); err != nil {
			return err
		}
	}
	album, err := newAlbum(sent)
	if err != nil {
		return err
	}
	agent, _, err := agentWith(ctx, brokerURL, "tcp://"+relay.Addr(), cutDevice, "album=replay:"+sent+",fps=5")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, agent.Stop()) }()

	fmt.Fprintf(out, "\nNow a second agent, %s, through a relay that pulls the plug inside the bytes of picture 5 of 10.\n", cutDevice)
	cut := relay.Plan(5, 30_000)
	if err := show(ctx, brokerURL, out, "stream", cutDevice, "-n", "10", "--keep", "all", "-o", received); err != nil {
		return err
	}
	names, err := filepath.Glob(filepath.Join(received, "*.jpg"))
	if err != nil {
		return err
	}
	slices.Sort(names)
	var order []string
	for i, name := range names {
		b, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		n, err := album.number(b)
		if err != nil {
			return err
		}
		if order = append(order, fmt.Sprint(n)); n != i+1 {
			return fmt.Errorf("the pictures came as %s", strings.Join(order, " "))
		}
	}
	if len(names) != 10 {
		return fmt.Errorf("%d pictures arrived, not 10", len(names))
	}
	twice, err := made(cut)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "Pictures %s arrived once, in order, with the hashes they were sent with; %d bytes crossed the agent's link twice.\n", strings.Join(order, " "), twice)

	cut = relay.Plan(1, 30_000)
	file := filepath.Join(dir, "cut.jpg")
	if err := show(ctx, brokerURL, out, "snapshot", cutDevice, "-o", file); err != nil {
		return err
	}
	b, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	n, err := album.number(b)
	if err != nil {
		return err
	}
	if twice, err = made(cut); err != nil {
		return err
	}
	fmt.Fprintf(out, "The snapshot is picture %d, whole, though the plug was pulled inside it; %d bytes crossed twice.\n", n, twice)
	return nil
}

// made waits for a cut that must have been made, and returns how many bytes crossed twice.
func made(cut *scissors.Cut) (int, error) {
	select {
	case <-cut.Done():
		return cut.Twice(), nil
	case <-time.After(5 * time.Second):
		return 0, errors.New("the relay never cut: nothing was shown")
	}
}
