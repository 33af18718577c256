package api

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var (
	taken = time.Date(2026, 11, 23, 23, 21, 26, 584596000, time.UTC)
	since = time.Date(2026, 11, 23, 20, 0, 0, 0, time.UTC)
)

// version1 is what each golden file says. The file is what this version writes, too, so that the neighbour before it reads us.
func version1() map[string]any {
	return map[string]any{
		"snapshot.json": SnapshotRequest{Camera: "front", Width: 1280, Height: 720, Quality: 85, MaxAge: Duration(500 * time.Millisecond), Settled: true},
		"stream.json":   StreamRequest{Camera: "front", FPS: 7.5, Quality: 80, Width: 640, Height: 480, Format: FormatJPEG, Keep: KeepAll, From: &Position{"b1", 6}},
		"shared.json":   StreamRequest{Keep: KeepNewest, Share: true},
		"control.json":  ControlRequest{Camera: "front", Set: map[string]int64{"brightness": 12}},
		"sensors.json":  SensorsRequest{Sensors: []string{"door"}, After: &Position{"b1", 4711}, Mode: ModeLatest},
		"set.json":      SetRequest{Output: "ir", On: new(true), For: Duration(10 * time.Second)},
		"logs.json":     LogsRequest{Lines: 20, Level: "warn", Follow: true},
		"devices.json":  DevicesRequest{Device: "pi-42"},

		"advert.json": Advert{
			Device: "pi-42", ID: "7d1c0a6e1b5a4d0c9a3f2e1d0c9b8a76", Boot: "b1", Rev: 3, Version: "1.0.0",
			Cameras: []CameraRef{{"front", "v4l2"}},
			Sensors: []SensorRef{{"air", "temperature", "Cel"}, {Name: "door", Class: "door"}},
			Outputs: []OutputRef{{"ir"}},
			Routes:  []string{RouteSnapshot, RouteStream},
		},
		"advert-uptime.json": Advert{
			Device: "pi-42", ID: "7d1c0a6e1b5a4d0c9a3f2e1d0c9b8a76", Boot: "b1", Rev: 1, Version: "1.0.0", UptimeS: 12072,
			Cameras: []CameraRef{}, Routes: []string{RouteInfo},
		},
		"frame.json": FrameHeader{
			Camera: "front", Boot: "b1", Seq: 4711, At: taken, MonoNS: 8123456789, Synced: true, Width: 1280, Height: 720,
			Format: FormatJPEG, Skipped: 3, Settled: true,
		},
		"frame-h264.json": FrameHeader{
			Camera: "front", Boot: "b1", Seq: 1, At: taken, MonoNS: 1, Width: 640, Height: 480, Format: FormatH264, Lost: 2, Key: true,
		},
		"frame-failed.json": FrameHeader{
			Camera: "front", Boot: "b1", Seq: 9, At: taken, MonoNS: 1, Width: 640, Height: 480, Format: FormatJPEG, Skipped: 3, Failed: 2,
		},
		"reading-change.json": Reading{
			V: 1, Type: ReadingChange, Boot: "6f1c", Seq: 4711, Sensor: "door", Class: "door", On: new(true), Raw: new(0),
			Count: new(uint64(128)), At: taken, MonoNS: 8123456789, Synced: true,
		},
		"reading-value.json": Reading{
			V: 1, Type: ReadingValue, Boot: "6f1c", Seq: 4712, Sensor: "air", At: taken, MonoNS: 8123456790, Synced: true,
			Values: []Value{{"temperature", 21.37, "Cel"}, {"humidity", 45.3, "%RH"}, {"pressure", 100943, "Pa"}},
		},
		"reading-error.json": Reading{
			V: 1, Type: ReadingError, Sensor: "out", At: taken, Error: &SensorError{Code: "io", Text: "input/output error"}, LastOK: since,
		},
		"reading-error-hint.json": Reading{
			V: 1, Type: ReadingError, Boot: "6f1c", Seq: 4713, Sensor: "air", At: taken, Synced: true,
			Error: &SensorError{"missing", `there is no iio device "bme280"`, "add the line dtoverlay=i2c-sensor,bme280 to /boot/firmware/config.txt and restart the Pi"},
		},
		"reading-gap.json":         Reading{V: 1, Type: ReadingGap, Missed: 9, From: 4700, To: 4708},
		"reading-gap-ring.json":    Reading{V: 1, Type: ReadingGap, Boot: "6f1c", Missed: 9, From: 4700, To: 4708, Reason: GapRing, At: taken, Synced: true},
		"reading-gap-kernel.json":  Reading{V: 1, Type: ReadingGap, Boot: "6f1c", Seq: 4709, Sensor: "door", Missed: 25, Reason: GapKernel, Count: new(uint64(148)), At: taken},
		"reading-gap-restart.json": Reading{V: 1, Type: ReadingGap, Boot: "6f1c", Reason: GapRestart, At: taken, Synced: true},
		"readings.json":            Readings{[]Reading{{V: 1, Type: ReadingState, Seq: 1, Boot: "6f1c", Sensor: "door", On: new(false), At: taken}}},
		"outputs.json": Outputs{Outputs: []OutputState{
			{Output: "ir", At: since}, {Output: "live", On: true, At: since, Shows: "viewing"}, {Output: "fan", At: since, Error: "no chip has the line"},
		}},
		"output.json": OutputState{Output: "ir", On: true, Until: taken, At: since},

		"cameras.json": CameraList{[]Camera{{
			Name: "front", Kind: "v4l2", Model: "HD Webcam", State: CameraActive, Viewers: 2,
			Mode:     &Mode{Format: "MJPG", Width: 1280, Height: 720, FPS: []float64{30}},
			Modes:    []Mode{{"MJPG", 1280, 720, []float64{30, 15}}, {"YUYV", 640, 480, []float64{30}}},
			Controls: []Control{{Name: "brightness", Type: "int", Value: 12, Min: -64, Max: 64, Step: 1}},
		}}},
		"album-request.json": AlbumRequest{Camera: "front", Picture: 12, Boot: "b1"},
		"album.json": Album{Boot: "b1", Gone: map[string]uint64{GoneKeep: 3}, Pictures: []AlbumPicture{{
			Picture: 12, Sensor: "door", On: true, Edge: since, Bytes: 34567,
			Header: FrameHeader{Camera: "front", Boot: "b1", Seq: 4711, At: taken, MonoNS: 8123456789, Synced: true, Width: 1280, Height: 720, Format: FormatJPEG},
		}}},
		"control-reply.json": ControlReply{"front", map[string]int64{"brightness": 12}, map[string]string{"zoom": "there is no such control"}},
		"info.json": Info{
			Device: "pi-42", ID: "7d1c0a6e1b5a4d0c9a3f2e1d0c9b8a76", Boot: "b1", Rev: 3, Version: "1.0.0", Started: since, At: taken,
			MonoNS: 8123456789, Synced: true, OS: "linux", Arch: "arm64", Kernel: "6.12.47", Model: "Raspberry Pi 4 Model B Rev 1.5",
			Dialect: "rsocket-broker", Resumes: 2, Drops: map[string]uint64{"torn": 1},
		},
		"clock.json":     ClockReply{"b1", 8123456789, taken, true},
		"health.json":    Health{OK: true, Loops: []Loop{{Name: "camera front", OK: true, State: "idle", Last: taken}}},
		"health-at.json": Health{OK: true, Loops: []Loop{{Name: "link", OK: true}}, At: taken},
		"log.json":       LogLine{At: taken, Level: 4, Text: "link", Attrs: map[string]any{"from": "up", "to": "away"}},
		"device-list.json": Devices{Devices: []Device{{
			Name: "pi-42", ID: "7d1c0a6e1b5a4d0c9a3f2e1d0c9b8a76", State: StateAway, Since: since, Version: "1.0.0",
			Cameras: []CameraRef{{"front", "v4l2"}}, Tags: map[string]string{"room": "hall"}, Addr: "192.0.2.42:51234", Reason: "the link was lost",
		}}},
		"device-list-times.json": Devices{At: taken, Devices: []Device{{
			Name: "pi-42", State: StateOnline, Since: since, Started: since, Picture: taken,
		}}},
		"device-event.json": DeviceEvent{Type: EventChange, Device: &Device{Name: "pi-42", State: StateOnline, Since: since}},
		"broker-role.json":  BrokerInfo{Version: "1.1.0", Started: since, At: taken, Online: 3, Role: "viewer"},
		"broker.json":       BrokerInfo{Version: "1.0.0", Started: since, At: taken, Online: 3, Away: 1, Viewers: 2},
	}
}

func TestVersion1(t *testing.T) {
	messages := version1()
	files, err := filepath.Glob("testdata/v1/*.json")
	if err != nil {
		t.Fatal(err)
	}
	if len(files) != len(messages) {
		t.Errorf("%d golden files and %d messages", len(files), len(messages))
	}
	for name, want := range messages {
		t.Run(strings.TrimSuffix(name, ".json"), func(t *testing.T) {
			file, err := os.ReadFile(filepath.Join("testdata/v1", name))
			if err != nil {
				t.Fatal(err)
			}
			got := decodeLike(t, want, file)
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("reads version 1 otherwise (-want +got):\n%s", diff)
			}
			if c, ok := want.(Checker); ok && c.Check() != nil {
				t.Errorf("refuses version 1: %v", c.Check())
			}
			written, err := json.MarshalIndent(want, "", "  ")
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(append(written, '\n'), file) {
				t.Errorf("writes otherwise than version 1:\n%s", cmp.Diff(string(file), string(written)))
			}
		})
	}
}

// TestUnknownFields is what lets a later version add some.
func TestUnknownFields(t *testing.T) {
	for name, want := range version1() {
		file, err := os.ReadFile(filepath.Join("testdata/v1", name))
		if err != nil {
			t.Fatal(err)
		}
		later := bytes.Replace(file, []byte("{"), []byte(`{"invented_later": {"deep": [1, null]},`), 1)
		if diff := cmp.Diff(want, decodeLike(t, want, later)); diff != "" {
			t.Errorf("%s with a field of a later version (-want +got):\n%s", name, diff)
		}
	}
}

// decodeLike reads JSON through the entrance that a message of this type has.
func decodeLike(t *testing.T, like any, data []byte) any {
	t.Helper()
	var got any
	var err error
	switch like.(type) {
	case SnapshotRequest:
		got, err = Parse[SnapshotRequest](data)
	case StreamRequest:
		got, err = Parse[StreamRequest](data)
	case ControlRequest:
		got, err = Parse[ControlRequest](data)
	case SensorsRequest:
		got, err = Parse[SensorsRequest](data)
	case SetRequest:
		got, err = Parse[SetRequest](data)
	case LogsRequest:
		got, err = Parse[LogsRequest](data)
	case DevicesRequest:
		got, err = Parse[DevicesRequest](data)
	case Advert:
		got, err = ParseAdvert(data)
	case FrameHeader:
		got, err = ParseHeader(data)
	case Reading:
		got, err = ParseReading(data)
	case Readings:
		got, err = Decode[Readings](data)
	case OutputState:
		got, err = Decode[OutputState](data)
	case Outputs:
		got, err = Decode[Outputs](data)
	case AlbumRequest:
		got, err = Parse[AlbumRequest](data)
	case Album:
		got, err = Decode[Album](data)
	case CameraList:
		got, err = Decode[CameraList](data)
	case ControlReply:
		got, err = Decode[ControlReply](data)
	case Info:
		got, err = Decode[Info](data)
	case ClockReply:
		got, err = Decode[ClockReply](data)
	case Health:
		got, err = Decode[Health](data)
	case LogLine:
		got, err = Decode[LogLine](data)
	case Devices:
		got, err = Decode[Devices](data)
	case DeviceEvent:
		got, err = Decode[DeviceEvent](data)
	case BrokerInfo:
		got, err = Decode[BrokerInfo](data)
	default:
		t.Fatalf("no entrance for %T", like)
	}
	if err != nil {
		t.Fatal(err)
	}
	return got
}
