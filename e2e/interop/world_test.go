//go:build interop

package interop

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"image"
	"image/jpeg"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/perchcam/perch/e2e/proc"
)

// program is one that `make build` has built.
func program(t testing.TB, name string) string {
	t.Helper()
	path, err := filepath.Abs(filepath.Join("../../build/bin", name))
	if err == nil {
		_, err = os.Stat(path)
	}
	if err != nil {
		t.Fatalf("%v: run make build first", err)
	}
	return path
}

// ours starts one of our programs, and ends it with the test.
func ours(t testing.TB, name string, args []string, env ...string) *proc.Process {
	t.Helper()
	return start(t, program(t, name), args, env...)
}

// start starts a program of ours, of this version or another.
func start(t testing.TB, path string, args []string, env ...string) *proc.Process {
	t.Helper()
	p, err := proc.Start(path, args, env)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Stop(); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			t.Logf("%s said:\n%s", filepath.Base(path), p.Said())
		}
	})
	return p
}

// agent starts a perch-agent with a test picture of 640 × 480 at 30 pictures a second, and waits until it is online.
func agent(t testing.TB, url, device string, env ...string) *proc.Process {
	t.Helper()
	p := ours(t, "perch-agent", nil, append([]string{
		"PERCH_BROKER=" + url, "PERCH_DEVICE=" + device, "PERCH_CAMERAS=test=pattern,width=640,height=480,fps=30,linger=100ms", "PERCH_LOG_LEVEL=debug",
	}, env...)...)
	said(t, p, "to=online")
	return p
}

// said waits for a line.
func said(t testing.TB, p *proc.Process, text string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	line, err := p.Line(ctx, text)
	if err != nil {
		t.Fatal(err)
	}
	return line
}

// perchBroker starts a perch-broker that listens on loopback, and returns its addresses for TCP and for WebSockets.
func perchBroker(t testing.TB) (tcp, ws string) {
	t.Helper()
	p := ours(t, "perch-broker", []string{"--listen", "tcp://127.0.0.1:0", "--listen", "ws://127.0.0.1:0/rsocket"})
	return listens(t, p, "tcp"), listens(t, p, "ws")
}

// listens waits until a broker says where it listens.
func listens(t testing.TB, p *proc.Process, scheme string) string {
	t.Helper()
	for field := range strings.FieldsSeq(said(t, p, "msg=listening url="+scheme+"://")) {
		if url, ok := strings.CutPrefix(field, "url="); ok {
			return url
		}
	}
	t.Fatalf("the broker does not listen for %s", scheme)
	return ""
}

// seen is what a foreign peer saw of a picture.
type seen struct {
	Seq, Skipped         uint64
	Width, Height, Bytes int
	Boot, Format, SHA256 string
}

// good reports whether it is of the test camera.
func (s seen) good() bool {
	return s.Width == 640 && s.Height == 480 && s.Format == "jpeg" && s.Bytes > 1000
}

// snapshot has a foreign peer take one of the test camera.
func snapshot(t testing.TB, f *Foreign, device string) seen {
	t.Helper()
	s, err := take(t.Context(), f, device)
	if err != nil || !s.good() {
		t.Errorf("snapshot: %+v, %v", s, err)
	}
	return s
}

// take has a foreign peer take a snapshot.
func take(ctx context.Context, f *Foreign, device string) (s seen, err error) {
	text, err := f.Do(ctx, "snapshot %s", device)
	if err == nil {
		err = json.Unmarshal([]byte(text), &s)
	}
	return s, err
}

// large returns the path and the hash of a JPEG of more than 5 MB: noise, which does not compress.
func large(t testing.TB) (path, hash string) {
	t.Helper()
	img := image.NewRGBA(image.Rect(0, 0, 2560, 1920))
	rnd := rand.NewChaCha8([32]byte{})
	_, _ = rnd.Read(img.Pix)
	var b bytes.Buffer
	if err := jpeg.Encode(&b, img, &jpeg.Options{Quality: 95}); err != nil {
		t.Fatal(err)
	}
	if b.Len() < 5_000_000 {
		t.Fatalf("the picture has only %d bytes", b.Len())
	}
	path = filepath.Join(t.TempDir(), "large.jpg")
	if err := os.WriteFile(path, b.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	return path, fmt.Sprintf("%x", sha256.Sum256(b.Bytes()))
}

// pictures has a foreign peer take count pictures, batch at a time. Each that is missing between two is stated by the
// device itself: none was lost on the way.
func pictures(t testing.TB, f *Foreign, device string, count, batch int, options string) {
	t.Helper()
	var list []seen
	text, err := f.Do(t.Context(), "pictures %s %d %d %s", device, count, batch, options)
	if err == nil {
		err = json.Unmarshal([]byte(text), &list)
	}
	if err != nil || len(list) != count {
		t.Fatalf("%d pictures of %d came: %v", len(list), count, err)
	}
	for i, s := range list {
		if !s.good() {
			t.Errorf("picture %d: %+v", i, s)
		}
		if i > 0 && s.Seq != list[i-1].Seq+1+s.Skipped {
			t.Errorf("picture %d came after %d, and says that %d are missing", s.Seq, list[i-1].Seq, s.Skipped)
		}
	}
}

// picture checks that a file is a whole JPEG of the size asked for.
func picture(t testing.TB, path string) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	img, err := jpeg.Decode(bytes.NewReader(b))
	if err != nil || img.Bounds().Dx() != 640 || img.Bounds().Dy() != 480 {
		t.Errorf("%s is no picture of 640 × 480: %v", path, err)
	}
}
