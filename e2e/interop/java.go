//go:build interop

package interop

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
)

// Java is a folder of java/: a pom that says what is needed, and sources that javac compiles.
type Java struct {
	Folder  string
	Sources []string // of other folders, compiled with its own

	once sync.Once
	err  error
}

// Prepare fetches and compiles once. An error whose text begins with "cannot resolve" is the resolver's; any other is ours.
func (j *Java) Prepare() error {
	j.once.Do(func() { j.err = j.prepare() })
	return j.err
}

func (j *Java) prepare() error {
	lib, err := filepath.Abs(filepath.Join(j.Folder, "target/lib"))
	if err != nil {
		return err
	}
	// Maven is asked only when the pom has changed: it takes seconds to say that there is nothing to do.
	pom, err := os.ReadFile(filepath.Join(j.Folder, "pom.xml"))
	if err != nil {
		return err
	}
	stamp := filepath.Join(j.Folder, "target/resolved.xml")
	if had, err := os.ReadFile(stamp); err != nil || !bytes.Equal(had, pom) {
		_ = os.RemoveAll(lib)
		out, err := exec.Command("mvn", "-B", "-q", "-Dstyle.color=never", "-f", filepath.Join(j.Folder, "pom.xml"), "dependency:copy-dependencies", "-DoutputDirectory="+lib).CombinedOutput()
		if err != nil {
			return fmt.Errorf("cannot resolve %s", reason(string(out)))
		}
		if err := os.WriteFile(stamp, pom, 0o644); err != nil {
			return err
		}
	}
	sources, err := filepath.Glob(filepath.Join(j.Folder, "*.java"))
	if err != nil {
		return err
	}
	args := append([]string{"-d", filepath.Join(j.Folder, "target/classes"), "-cp", lib + "/*"}, append(sources, j.Sources...)...)
	if out, err := exec.Command("javac", args...).CombinedOutput(); err != nil {
		return fmt.Errorf("javac: %w: %s", err, out)
	}
	return nil
}

var (
	coordinate = regexp.MustCompile(`[\w.-]+:[\w.-]+:(?:jar|pom):[\w.-]+`)
	address    = regexp.MustCompile(`\s*\(?https?://[^\s)]*\)?`)
)

// reason is the first coordinate that a resolver could not get, and its own words, without addresses.
func reason(log string) string {
	for line := range strings.Lines(log) {
		if !strings.Contains(line, "[ERROR]") {
			continue
		}
		if c := coordinate.FindString(line); c != "" {
			words := address.ReplaceAllString(strings.TrimSpace(strings.TrimPrefix(strings.TrimSpace(line), "[ERROR]")), "")
			if len(words) > 300 {
				words = words[:300] + "…"
			}
			return c + ": " + words
		}
	}
	return strings.TrimSpace(address.ReplaceAllString(log, ""))
}

// Needs prepares j, or skips the test with the coordinate that cannot be had.
func (j *Java) Needs(t *testing.T, row Row) {
	t.Helper()
	switch err := j.Prepare(); {
	case err == nil:
	case strings.HasPrefix(err.Error(), "cannot resolve"):
		table.NotRun(t, row, err.Error())
	default:
		t.Fatal(err)
	}
}

// Command runs one of its classes.
func (j *Java) Command(t testing.TB, class string, args ...string) *exec.Cmd {
	cp := filepath.Join(j.Folder, "target/classes") + ":" + filepath.Join(j.Folder, "target/lib") + "/*"
	// A small heap and the simplest compiler and collector: several of these share the machine.
	flags := []string{"-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xmx256m", "-Xshare:auto", "-cp", cp, class}
	return exec.CommandContext(t.Context(), "java", append(flags, args...)...)
}

// Version is that of a library, as its jar's name tells; "?" where there is none.
func (j *Java) Version(library string) string {
	jars, _ := filepath.Glob(filepath.Join(j.Folder, "target/lib", library+"-[0-9]*.jar"))
	if len(jars) == 0 {
		return "?"
	}
	return strings.TrimSuffix(strings.TrimPrefix(filepath.Base(jars[0]), library+"-"), ".jar")
}
