package api

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func seed(f *testing.F) {
	files, err := filepath.Glob("testdata/v1/*.json")
	if err != nil || len(files) == 0 {
		f.Fatalf("no golden files: %v", err)
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	for _, s := range []string{"", "[]", "[{}]", "null", `{"max_age":1e308}`, `{"max_age":-9e12}`, `{"set":{"":0}}`, "[[[[[["} {
		f.Add([]byte(s))
	}
}

// again holds a message that was read to what it promises: it is checked, it can be written, and reads the same.
func again[T Checker](t *testing.T, parse func([]byte) (T, error), data []byte) {
	t.Helper()
	v, err := parse(data)
	if err != nil {
		if len(err.Error()) > 4<<10 {
			t.Errorf("%T: the error has %d bytes", v, len(err.Error()))
		}
		return
	}
	if err := v.Check(); err != nil {
		t.Errorf("%+v was read: %v", v, err)
	}
	written, err := json.Marshal(v)
	if err != nil {
		t.Fatalf("%+v cannot be written: %v", v, err)
	}
	got, err := parse(written)
	if err != nil {
		t.Fatalf("%s cannot be read again: %v", written, err)
	}
	rewritten, err := json.Marshal(got)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(written), string(rewritten)); diff != "" {
		t.Errorf("read again:\n%s", diff)
	}
}

func FuzzParse(f *testing.F) {
	seed(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		again(t, Parse[SnapshotRequest], data)
		again(t, Parse[StreamRequest], data)
		again(t, Parse[ControlRequest], data)
		again(t, Parse[SensorsRequest], data)
		again(t, Parse[SetRequest], data)
		again(t, Parse[LogsRequest], data)
		again(t, Parse[DevicesRequest], data)
	})
}

func FuzzDecode(f *testing.F) {
	seed(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		again(t, ParseAdvert, data)
		again(t, ParseHeader, data)
		again(t, ParseReading, data)
		Decode[CameraList](data)
		Decode[Info](data)
		Decode[Devices](data)
		Decode[DeviceEvent](data)
		Decode[LogLine](data)
	})
}
