package vpi

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
)

// Image is a built guest: a directory with vmlinuz, initrd.gz, root.img and the state of a machine that has just booted them.
type Image struct {
	Dir string
}

// Build returns the image that belongs to the scripts in root/e2e/vpi, to Debian's present arm64 kernel and to this machine's
// QEMU. It is made at most once for each such set (about two minutes on two cores) and kept in root/build/vpi; an older one is
// removed. What the script prints goes to log.
func Build(ctx context.Context, root string, log io.Writer) (Image, error) {
	base := filepath.Join(root, "build", "vpi")
	if err := os.MkdirAll(base, 0o755); err != nil {
		return Image{}, err
	}
	unlock, err := lock(filepath.Join(base, "lock"))
	if err != nil {
		return Image{}, err
	}
	defer unlock()

	scripts := filepath.Join(root, "e2e", "vpi")
	work := filepath.Join(base, "work")
	kernel, err := exec.CommandContext(ctx, filepath.Join(scripts, "image.sh"), "kernel", work).Output()
	if err != nil {
		return Image{}, fmt.Errorf("cannot find Debian's arm64 kernel: %w%s", err, stderrOf(err))
	}
	version := strings.TrimSpace(string(kernel))
	emulator, err := exec.CommandContext(ctx, qemu, "--version").Output()
	if err != nil {
		return Image{}, fmt.Errorf("cannot ask QEMU for its version: %w", err)
	}
	sum, err := hashSources(os.DirFS(scripts), emulator)
	if err != nil {
		return Image{}, err
	}
	img := Image{Dir: filepath.Join(base, "image-"+version+"-"+sum)}
	if _, err := os.Stat(img.Dir); err == nil {
		return img, nil
	}

	made := img.Dir + ".new"
	if err := os.RemoveAll(made); err != nil {
		return Image{}, err
	}
	cmd := exec.CommandContext(ctx, "nice", filepath.Join(scripts, "image.sh"), "build", work, made)
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Run(); err != nil {
		return Image{}, fmt.Errorf("cannot build the virtual Pi's image: %w", err)
	}
	if err := snapshot(ctx, Image{Dir: made}); err != nil {
		return Image{}, fmt.Errorf("the new virtual Pi does not boot: %w", err)
	}
	old, err := filepath.Glob(filepath.Join(base, "image-*"))
	if err != nil {
		return Image{}, err
	}
	for _, dir := range old {
		if dir != made {
			if err := os.RemoveAll(dir); err != nil {
				return Image{}, err
			}
		}
	}
	return img, os.Rename(made, img.Dir)
}

func (i Image) file(name string) string { return filepath.Join(i.Dir, name) }

// hashSources names everything the image and its snapshot are made from: the scripts, the guest's programs, the machine, QEMU.
func hashSources(dir fs.FS, emulator []byte) (string, error) {
	h := sha256.New()
	h.Write(emulator)
	err := fs.WalkDir(dir, ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || (!strings.HasSuffix(path, ".sh") && !strings.HasPrefix(path, "guest/") && path != "machine.go") {
			return err
		}
		text, err := fs.ReadFile(dir, path)
		fmt.Fprintf(h, "%s %d\n%s", path, len(text), text)
		return err
	})
	return fmt.Sprintf("%x", h.Sum(nil)[:6]), err
}

// lock keeps two builds of the image apart; the kernel drops it if this process dies.
func lock(path string) (unlock func(), err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
		f.Close()
		return nil, fmt.Errorf("cannot lock %s: %w", path, err)
	}
	return func() { f.Close() }, nil
}

// stderrOf is what a failed command of exec.Cmd.Output said, set off by a newline.
func stderrOf(err error) string {
	if exit, ok := errors.AsType[*exec.ExitError](err); ok && len(exit.Stderr) > 0 {
		return "\n" + strings.TrimSpace(string(exit.Stderr))
	}
	return ""
}
