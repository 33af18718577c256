package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/perchcam/perch/pkg/api"
	"github.com/perchcam/perch/pkg/client"
)

// Pictures of a later run of a device never get the name of one that is there.
func TestRuns(t *testing.T) {
	for name, tc := range map[string]struct {
		there string
		least int
		want  int
	}{
		"empty":               {"", 0, 0},
		"same run":            {"hen-house-front-00000499.jpg", 0, 0},
		"same number":         {"hen-house-front-00000500.jpg", 0, 1},
		"later run":           {"hen-house-front-00000600.jpg hen-house-front-r1-00000400.jpg", 0, 1},
		"still later":         {"hen-house-front-00000100.jpg hen-house-front-r1-00000700.jpg", 0, 2},
		"restarted meanwhile": {"hen-house-front-00000100.jpg", 1, 1},
		"others' pictures":    {"hen-house-frontdoor-00000600.jpg gate-front-00000600.jpg hen-house-front-00000600", 0, 0},
	} {
		dir := t.TempDir()
		for file := range strings.FieldsSeq(tc.there) {
			if err := os.WriteFile(filepath.Join(dir, file), nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		f, err := openFolder(dir, false)
		if err != nil {
			t.Fatal(err)
		}
		got, err := f.run("hen-house", client.Picture{FrameHeader: api.FrameHeader{Camera: "front", Seq: 500}}, tc.least)
		if err != nil || got != tc.want {
			t.Errorf("%s: run %d instead of %d, %v", name, got, tc.want, err)
		}
		f.close()
	}
}
