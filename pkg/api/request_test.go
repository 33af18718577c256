package api

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// TestDefaults: everything that a client may send for "no options" is the same.
func TestDefaults(t *testing.T) {
	for _, data := range []string{"", " \n", "null", "{}", "[]", " [ ] ", "[{}]", "[null]", `{"later":1}`, `[{"later":[]}]`} {
		snapshot, err := Parse[SnapshotRequest]([]byte(data))
		if err != nil || snapshot != (SnapshotRequest{}) {
			t.Errorf("%q is %+v, %v", data, snapshot, err)
		}
		if _, err := Parse[NoOptions]([]byte(data)); err != nil {
			t.Errorf("%q for a route without options: %v", data, err)
		}
	}
	got, err := Parse[StreamRequest]([]byte(`[{"fps":0.1,"keep":"newest","share":true}]`))
	if diff := cmp.Diff(StreamRequest{FPS: 0.1, Keep: KeepNewest, Share: true}, got); err != nil || diff != "" {
		t.Errorf("arguments of a call: %v\n%s", err, diff)
	}
}

// TestRefusals compares what a person reads who got an option wrong.
func TestRefusals(t *testing.T) {
	snapshot := func(b []byte) error { _, err := Parse[SnapshotRequest](b); return err }
	stream := func(b []byte) error { _, err := Parse[StreamRequest](b); return err }
	sensors := func(b []byte) error { _, err := Parse[SensorsRequest](b); return err }
	set := func(b []byte) error { _, err := Parse[SetRequest](b); return err }
	control := func(b []byte) error { _, err := Parse[ControlRequest](b); return err }
	logs := func(b []byte) error { _, err := Parse[LogsRequest](b); return err }
	devices := func(b []byte) error { _, err := Parse[DevicesRequest](b); return err }
	for _, c := range []struct {
		parse      func([]byte) error
		data, want string
	}{
		{snapshot, `{`, `no valid JSON at byte 1: unexpected end of JSON input`},
		{snapshot, "{}\x00", `no valid JSON at byte 3: invalid character '\x00' after top-level value`},
		{snapshot, `7`, `an object is needed, not a number`},
		{snapshot, `"x"`, `an object is needed, not a string`},
		{snapshot, `[[]]`, `an object is needed, not an array`},
		{snapshot, `[{},{}]`, `the request has 2 arguments, one object of options is allowed`},
		{snapshot, `[`, `no valid JSON at byte 1: unexpected end of JSON input`},
		{snapshot, `{"width":"big"}`, `"width" is a whole number, not a string`},
		{snapshot, `{"width":1.5}`, `"width" is a whole number, not number 1.5`},
		{snapshot, `{"settled":1}`, `"settled" is true or false, not a number`},
		{snapshot, `{"camera":[]}`, `"camera" is a string, not an array`},
		{snapshot, `{"width":-1}`, `"width" is -1: it must be 0 to 16384 pixels`},
		{snapshot, `{"height":16385}`, `"height" is 16385: it must be 0 to 16384 pixels`},
		{snapshot, `{"quality":101}`, `"quality" is 101: it must be 0 to 100`},
		{snapshot, `{"camera":"../x"}`, `camera "../x" is no valid name: it must begin with a-z or 0-9, go on with a-z, 0-9, dot, underscore or hyphen, and have at most 63 characters`},
		{snapshot, `{"max_age":"soon"}`, `"soon" is no duration: write one such as "1.5s" or "200ms", or a number of milliseconds`},
		{snapshot, `{"max_age":true}`, `true is no duration: write one such as "1.5s" or "200ms", or a number of milliseconds`},
		{snapshot, `{"max_age":1e300}`, `1e300 is no duration: write one such as "1.5s" or "200ms", or a number of milliseconds`},
		{snapshot, `{"max_age":"-1s"}`, `"max_age" is -1s: it must be 0 to 1h0m0s`},
		{stream, `{"fps":-0.5}`, `"fps" is -0.5: it must be 0 to 240`},
		{stream, `{"fps":241}`, `"fps" is 241: it must be 0 to 240`},
		{stream, `{"height":-2}`, `"height" is -2: it must be 0 to 16384 pixels`},
		{stream, `{"format":"png"}`, `"format" is "png": it must be one of ["jpeg" "h264"]`},
		{stream, `{"keep":"some"}`, `"keep" is "some": it must be one of ["newest" "all"]`},
		{stream, `{"from":{"seq":3}}`, `"from" needs the boot that the sequence number belongs to`},
		{stream, `{"from":{"boot":"b","seq":-3}}`, `"from.seq" is a whole number of 0 or more, not number -3`},
		{stream, `{"share":true,"keep":"all"}`, `"share" gives every viewer the newest picture: it cannot be combined with "keep":"all"`},
		{stream, `{"share":true,"from":{"boot":"b"}}`, `"share" gives every viewer the newest picture: it cannot be combined with "from"`},
		{sensors, `{"sensors":"door"}`, `"sensors" is an array, not a string`},
		{sensors, `{"after":{"seq":3}}`, `"after" needs the boot that the sequence number belongs to`},
		{sensors, `{"mode":"x"}`, `"mode" is "x": it must be one of ["all" "latest"]`},
		{set, ``, `"output" is missing: name the output to switch`},
		{set, `{"output":"ir"}`, `"on" is missing: say true or false`},
		{set, `{"output":"ir","on":true,"for":-5}`, `"for" is -5ms: it must be 0 to 1h0m0s`},
		{control, `{"set":{"zoom\u001b":1}}`, `"control" holds characters that cannot be shown`},
		{control, `{"set":{"zoom":"max"}}`, `"set" is a whole number, not a string`},
		{logs, `{"lines":-1}`, `"lines" is -1: it must be 0 or more`},
		{logs, `{"level":"loud"}`, `"level" is "loud": it must be one of ["debug" "info" "warn" "error"]`},
		{devices, `{"device":"PI"}`, `device "PI" is no valid name: it must begin with a-z or 0-9, go on with a-z, 0-9, dot, underscore or hyphen, and have at most 63 characters`},
		{devices, `{"device":"` + strings.Repeat("a", 70000) + `"}`, `the request has 70013 bytes of options, 65536 are allowed`},
	} {
		err := c.parse([]byte(c.data))
		if err == nil {
			t.Errorf("%.60s is accepted", c.data)
		} else if err.Error() != c.want {
			t.Errorf("%.60s\n got: %v\nwant: %s", c.data, err, c.want)
		}
	}
}

func TestDuration(t *testing.T) {
	for data, want := range map[string]time.Duration{
		`"1.5s"`: 1500 * time.Millisecond, `200`: 200 * time.Millisecond, `0.5`: 500 * time.Microsecond, `"0s"`: 0, `null`: 0,
	} {
		got, err := Parse[SnapshotRequest]([]byte(`{"max_age":` + data + `}`))
		if err != nil || got.MaxAge.D() != want {
			t.Errorf("%s is %v, %v", data, got.MaxAge, err)
		}
	}
}
