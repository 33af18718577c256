package replay

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/perchcam/perch/pkg/camera"
	"github.com/perchcam/perch/pkg/camera/cameratest"
)

// write makes a folder of three pictures with one torn among them, and a file
// of the same.
func write(t *testing.T) (folder, file string, pictures [][]byte) {
	t.Helper()
	folder = t.TempDir()
	var all []byte
	for i := range 3 {
		p := cameratest.Grey(64, 48, byte(50*i+50))
		pictures = append(pictures, p)
		if err := os.WriteFile(filepath.Join(folder, fmt.Sprintf("%d.jpg", 2*i)), p, 0o600); err != nil {
			t.Fatal(err)
		}
		all = append(all, p...)
		if i == 0 {
			all = append(all, p[:len(p)/2]...)
			if err := os.WriteFile(filepath.Join(folder, "1.jpeg"), p[:len(p)/2], 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := os.WriteFile(filepath.Join(folder, "readme.txt"), []byte("no picture"), 0o600); err != nil {
		t.Fatal(err)
	}
	file = filepath.Join(t.TempDir(), "clip.mjpeg")
	if err := os.WriteFile(file, all, 0o600); err != nil {
		t.Fatal(err)
	}
	return folder, file, pictures
}

var cyclesFlag = flag.Int("cycles", 20, "starts and stops in the conformance test")

func TestConformance(t *testing.T) {
	folder, file, _ := write(t)
	for _, path := range []string{folder, file} {
		t.Run(filepath.Base(path), func(t *testing.T) {
			aside := path + ".aside"
			cameratest.Conformance(t, &Source{path: path}, cameratest.Options{
				Want:   camera.Want{FPS: 500},
				Cycles: *cyclesFlag,
				Break:  func() { os.Rename(path, aside) },
				Mend:   func() { os.Rename(aside, path) },
			})
		})
	}
}

func TestPlaysInOrderAndBeginsAgain(t *testing.T) {
	folder, file, pictures := write(t)
	for _, path := range []string{folder, file} {
		synctest.Test(t, func(t *testing.T) {
			torn, n := 0, 0
			var first camera.Frame
			want := camera.Want{FPS: 4, Dropped: func(reason string) {
				if reason == camera.DropTorn {
					torn++
				}
			}}
			for f, err := range (&Source{path: path}).Frames(t.Context(), want) {
				if err != nil {
					t.Fatal(err)
				}
				if !bytes.Equal(f.Data, pictures[n%3]) {
					t.Fatalf("picture %d is not the one expected", n)
				}
				if n == 0 {
					first = f
				}
				if d := f.Mono - first.Mono; d != time.Duration(n)*250*time.Millisecond || f.Seq != uint64(n) {
					t.Fatalf("picture %d came after %v with number %d", n, d, f.Seq)
				}
				if n++; n == 7 {
					break
				}
			}
			if torn != 2 {
				t.Errorf("%d torn pictures counted, want 2", torn)
			}
		})
	}
}

func TestNothingToPlayIsSaid(t *testing.T) {
	empty := t.TempDir()
	for _, path := range []string{empty, filepath.Join(empty, "none")} {
		for _, err := range (&Source{path: path}).Frames(t.Context(), camera.Want{}) {
			if !errors.Is(err, camera.ErrAbsent) {
				t.Errorf("%s: %v, want ErrAbsent", path, err)
			}
		}
	}
}
