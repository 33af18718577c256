package main

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/perchcam/perch/pkg/api"
	"github.com/perchcam/perch/pkg/client"
)

// folder is where files are put. A file appears under its name when it is whole, and never in place of another
// one unless force is set.
type folder struct {
	root  *os.Root
	path  string
	made  bool // by us: where nothing comes into it, it goes again
	force bool
	mode  fs.FileMode // of its files
}

// makeFolder opens a folder, and makes it if it is missing.
func makeFolder(path string, force bool) (*folder, error) {
	_, err := os.Lstat(path)
	made := errors.Is(err, fs.ErrNotExist)
	if err := os.MkdirAll(path, 0o777); err != nil {
		return nil, fmt.Errorf("cannot make the folder %s: %w", path, cause(err))
	}
	f, err := openFolder(path, force)
	if err == nil {
		f.made = made
	}
	return f, err
}

func openFolder(path string, force bool) (*folder, error) {
	root, err := os.OpenRoot(path)
	if err != nil {
		return nil, fmt.Errorf("cannot open the folder %s: %w", path, cause(err))
	}
	return &folder{root: root, path: path, force: force, mode: 0o666}, nil
}

// cause is an error without the name of the system call and of the file, which our own sentence has.
func cause(err error) error {
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		return e.Err
	}
	return err
}

func (f *folder) close() {
	_ = f.root.Close()
	if f.made {
		_ = os.Remove(f.path) // which a folder with files refuses
	}
}

// check says beforehand whether write would refuse the name.
func (f *folder) check(name string) error {
	info, err := f.root.Lstat(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return fmt.Errorf("cannot write %s: %w", filepath.Join(f.path, name), cause(err))
	case info.IsDir():
		return fmt.Errorf("cannot write %s: it is a folder", filepath.Join(f.path, name))
	case !f.force:
		return f.exists(name)
	}
	return nil
}

func (f *folder) exists(name string) error {
	return &fs.PathError{Op: "cannot write", Path: filepath.Join(f.path, name), Err: fs.ErrExist}
}

// write makes the file. name has no separators.
func (f *folder) write(name string, data []byte) error {
	if err := f.check(name); err != nil {
		return err
	}
	part := ".perch-" + rand.Text()[:10] + ".part"
	err := f.root.WriteFile(part, data, f.mode)
	if err == nil {
		err = f.publish(part, name)
	}
	if err != nil {
		_ = f.root.Remove(part)
		if errors.Is(err, fs.ErrExist) {
			return err
		}
		return fmt.Errorf("cannot write %s: %w", filepath.Join(f.path, name), cause(err))
	}
	return nil
}

// publish gives a whole file its name. A link, unlike a rename, never replaces anything; where the file system
// has none, a file that appears in the last moment is replaced.
func (f *folder) publish(part, name string) error {
	if f.force {
		return f.root.Rename(part, name)
	}
	err := f.root.Link(part, name)
	switch {
	case err == nil:
		return f.root.Remove(part)
	case errors.Is(err, fs.ErrExist):
		return f.exists(name)
	}
	if err := f.check(name); err != nil {
		return err
	}
	return f.root.Rename(part, name)
}

// has reports whether the folder has this very file.
func (f *folder) has(name string, data []byte) bool {
	info, err := f.root.Lstat(name)
	if err != nil || !info.Mode().IsRegular() || info.Size() != int64(len(data)) {
		return false
	}
	there, err := f.root.ReadFile(name)
	return err == nil && bytes.Equal(there, data)
}

// fileName is what a picture's file is called: names of one device and camera sort as the pictures were taken.
// run tells the runs of a device apart, each of which counts anew.
func fileName(device string, p client.Picture, run int) string {
	text := ""
	if run > 0 {
		text = fmt.Sprintf("r%d-", run) // sorts behind the digits of the first run
	}
	return fmt.Sprintf("%s-%s%08d.%s", api.FileName(device+"-"+p.Camera), text, p.Seq, extension(p.Format))
}

// Extensions that people give to pictures, and to videos.
var (
	jpegs    = []string{".jpg", ".jpeg", ".jpe", ".jfif"}
	pictures = []string{".png", ".gif", ".bmp", ".webp", ".tif", ".tiff", ".heic", ".avif"}
	videos   = []string{".mp4", ".mkv", ".avi", ".mov", ".webm", ".mjpeg", ".mjpg", ".h264"}
)

func hasExtension(name string, of []string) bool {
	return slices.Contains(of, strings.ToLower(filepath.Ext(name)))
}

func pictureExtension(name string) bool {
	return hasExtension(name, jpegs) || hasExtension(name, pictures)
}

// notJPEG refuses a name that promises another format than the one that pictures have.
func notJPEG(name string) error {
	if !hasExtension(name, pictures) {
		return nil
	}
	return hinted(&usageError{fmt.Errorf("%s would be a JPEG all the same: pictures are not converted", name)},
		"-o "+strings.TrimSuffix(name, filepath.Ext(name))+".jpg")
}

// notAFolder refuses a name that promises one file, where a folder with many is made.
func notAFolder(name, device string) error {
	switch {
	case hasExtension(name, videos):
		return hinted(&usageError{fmt.Errorf("-o is for a folder, and %s looks like one file", name)},
			fmt.Sprintf("perch stream %s -o - | ffmpeg -f mjpeg -i - %s", device, name))
	case pictureExtension(name):
		return hinted(&usageError{fmt.Errorf("-o is for a folder, and %s looks like one file", name)},
			fmt.Sprintf("perch snapshot %s -o %s takes one picture", device, name))
	}
	return nil
}

func extension(format string) string {
	switch format {
	case api.FormatJPEG:
		return "jpg"
	case api.FormatH264:
		return "h264"
	}
	return "bin"
}
