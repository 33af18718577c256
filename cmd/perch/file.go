package main

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/perchcam/perch/pkg/api"
	"github.com/perchcam/perch/pkg/client"
)

// folder is where files are put. A file appears under its name when it is whole, and never in place of another
// one unless force is set.
type folder struct {
	root  *os.Root
	path  string
	force bool
	mode  fs.FileMode // of its files
}

// makeFolder opens a folder, and makes it if it is missing.
func makeFolder(path string, force bool) (*folder, error) {
	if err := os.MkdirAll(path, 0o777); err != nil {
		return nil, fmt.Errorf("cannot make the folder %s: %w", path, cause(err))
	}
	return openFolder(path, force)
}

func openFolder(path string, force bool) (*folder, error) {
	root, err := os.OpenRoot(path)
	if err != nil {
		return nil, fmt.Errorf("cannot open the folder %s: %w", path, cause(err))
	}
	return &folder{root, path, force, 0o666}, nil
}

// cause is an error without the name of the system call and of the file, which our own sentence has.
func cause(err error) error {
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		return e.Err
	}
	return err
}

func (f *folder) close() { _ = f.root.Close() }

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

// fileName is what a picture's file is called: names of one device and camera sort as the pictures were taken.
// restarts tells the runs of a device apart, each of which counts anew.
func fileName(device string, p client.Picture, restarts int) string {
	run := ""
	if restarts > 0 {
		run = fmt.Sprintf("r%d-", restarts) // sorts behind the digits of the first run
	}
	return api.FileName(fmt.Sprintf("%s-%s-%s%08d", device, p.Camera, run, p.Seq)) + "." + extension(p.Format)
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
