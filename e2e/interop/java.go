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
	First   string   // a library whose classes count before others' of the same name

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
		out, err := exec.Command("mvn", "-B", "-q", "-U", "-f", filepath.Join(j.Folder, "pom.xml"), "dependency:copy-dependencies", "-DoutputDirectory="+lib).CombinedOutput()
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

// ownGroup is that of our own poms.
const ownGroup = "com.perchcam.interop:"

var (
	coordinate = regexp.MustCompile(`[\w.-]+:[\w.-]+:(?:jar|pom):[\w.-]+`)
	colour     = regexp.MustCompile(`\x1b\[[0-9;]*m`)
	address    = regexp.MustCompile(`\s*\(?https?://[^\s)]*\)?`)
)

// reason is the first coordinate that a resolver could not get and its own words about it, without addresses and colours.
func reason(log string) string {
	log = address.ReplaceAllString(colour.ReplaceAllString(log, ""), "")
	for line := range strings.Lines(log) {
		for _, at := range coordinate.FindAllStringIndex(line, -1) {
			if !strings.HasPrefix(line[at[0]:], ownGroup) {
				words, _, _ := strings.Cut(strings.TrimSpace(line[at[1]:]), " -> ")
				return line[at[0]:at[1]] + " (" + strings.TrimSpace(words) + ")"
			}
		}
	}
	return strings.TrimSpace(log)
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
	if first, _ := filepath.Glob(filepath.Join(j.Folder, "target/lib", j.First+"-[0-9]*.jar")); j.First != "" && len(first) > 0 {
		cp = first[0] + ":" + cp
	}
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
