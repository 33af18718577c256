//go:build linux && cgo

package v4l2

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// Holder names the process that has the device open, as far as this one may
// see: "ffmpeg, process 812", or "".
func Holder(path string) string {
	return strings.TrimSuffix(strings.TrimPrefix(holder(path), " (by "), ")")
}

// holder names the process that has the device open, as far as this one may
// see: " (by ffmpeg, process 812)", or "".
func holder(path string) string {
	real, err := filepath.EvalSymlinks(path)
	if err != nil {
		return ""
	}
	links, _ := filepath.Glob("/proc/[0-9]*/fd/*") // only a malformed pattern is an error
	self := fmt.Sprintf("/proc/%d/", os.Getpid())
	for _, link := range links {
		if to, err := os.Readlink(link); err != nil || to != real || strings.HasPrefix(link, self) {
			continue
		}
		dir := filepath.Dir(filepath.Dir(link))
		comm, _ := os.ReadFile(filepath.Join(dir, "comm")) // its name is a nicety
		return fmt.Sprintf(" (by %s, process %s)", strings.TrimSpace(string(comm)), filepath.Base(dir))
	}
	return ""
}
