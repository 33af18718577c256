package service_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/perchcam/perch/internal/agent/service"
	"github.com/perchcam/perch/pkg/api"
	"github.com/perchcam/perch/pkg/camera"
	"github.com/perchcam/perch/pkg/camera/cameratest"
	"github.com/perchcam/perch/pkg/gpio"
	"github.com/perchcam/perch/pkg/gpio/gpiotest"
	"github.com/perchcam/perch/pkg/peer"
)

// triggered is a device with a door, a motion sensor, a light that shows viewing, triggers, and a log.
func triggered(t *testing.T, triggers string, size int) (*device, *gpiotest.Lines, *bytes.Buffer) {
	t.Helper()
	sensors, err := gpio.ParseSensors("door=gpio:GPIO17,pull=down,class=door,debounce=0;pir=gpio:GPIO27,class=motion,debounce=0")
	if err != nil {
		t.Fatal(err)
	}
	outputs, err := gpio.ParseOutputs("live=gpio:GPIO23,show=viewing")
	if err != nil {
		t.Fatal(err)
	}
	specs, err := gpio.ParseTriggers(triggers)
	if err != nil {
		t.Fatal(err)
	}
	lines := gpiotest.NewLines()
	board, err := gpio.New(gpio.Config{Sensors: sensors, Outputs: outputs, Lines: lines, Boot: "boot-1", Synced: func() bool { return true }})
	if err != nil {
		t.Fatal(err)
	}
	log := &bytes.Buffer{}
	d := newDevice(t, func(c *service.Config) {
		c.Board, c.Triggers, c.Album, c.Log = board, specs, size, slog.New(slog.NewTextHandler(log, nil))
	})
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{}, 2)
	go func() { _ = board.Run(ctx); ended <- struct{}{} }()
	go func() { d.service.RunTriggers(ctx); ended <- struct{}{} }()
	t.Cleanup(func() { cancel(); <-ended; <-ended })
	time.Sleep(time.Second)
	return d, lines, log
}

// press lets an input become active and inactive again, and gives its triggers time.
func press(lines *gpiotest.Lines, name string, times int) {
	for range times {
		lines.Line(name).Drive(true)
		time.Sleep(time.Second)
		lines.Line(name).Drive(false)
		time.Sleep(time.Second)
	}
}

func (d *device) album(t *testing.T, options string) api.Album {
	t.Helper()
	v, err := d.ask(t, api.RouteAlbum, options)
	if err != nil {
		t.Fatal(err)
	}
	a, err := api.Decode[api.Album](v.Data)
	if err != nil {
		t.Fatalf("%v: %s", err, v.Data)
	}
	return a
}

// numbers writes what an album holds in short: each picture's number, camera, sensor and level.
func numbers(a api.Album) string {
	var list []string
	for _, p := range a.Pictures {
		list = append(list, fmt.Sprintf("%d:%s:%s:%v", p.Picture, p.Header.Camera, p.Sensor, p.On))
	}
	return strings.Join(list, " ")
}

// A door that opens while the link is down: its pictures are there when it is back, and can be fetched.
func TestAlbumIsFilledWithoutALink(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, lines, _ := triggered(t, "on=door:rise do=snapshot:front,keep=3;on=pir:change do=snapshot:back,keep=2", 1<<20)
		press(lines, "GPIO17", 1)
		if got := numbers(d.album(t, "")); got != "1:front:door:true" {
			t.Errorf("after one opening: %s", got)
		}
		d.net.Down(true)
		opened := time.Now()
		press(lines, "GPIO17", 1)
		press(lines, "GPIO27", 1)
		d.net.Down(false)
		a := d.album(t, "{}")
		if got := numbers(a); got != "1:front:door:true 2:front:door:true 3:back:pir:true 4:back:pir:false" {
			t.Errorf("after the outage: %s", got)
		}
		second := a.Pictures[1]
		if late := second.Edge.Sub(opened); late < 0 || late > 100*time.Millisecond || a.Boot != "boot-1" || second.Header.Boot != "boot-1" {
			t.Errorf("the door was opened at %v: %+v", opened, second)
		}
		v, err := d.ask(t, api.RouteAlbum, `{"picture":2,"boot":"boot-1"}`)
		if err != nil {
			t.Fatal(err)
		}
		if h := header(t, v); h.Seq != second.Header.Seq || h.Camera != "front" || len(v.Data) != second.Bytes || !bytes.HasPrefix(v.Data, []byte{0xff, 0xd8}) {
			t.Errorf("picture 2 is %+v with %d bytes, and listed as %+v", h, len(v.Data), second)
		}
		if got := numbers(d.album(t, `{"camera":"back"}`)); got != "3:back:pir:true 4:back:pir:false" {
			t.Errorf("of one camera: %s", got)
		}
		for options, words := range map[string]string{
			`{"picture":9}`:                "picture 9 is not in the album",
			`{"picture":2,"boot":"other"}`: "the agent has been restarted",
			`{"camera":"no such"}`:         "camera",
		} {
			_, err := d.ask(t, api.RouteAlbum, options)
			says(t, err, peer.CodeInvalid, words)
		}
	})
}

// Each trigger keeps its own number of pictures, and all together no more than the album's bytes; what leaves is counted.
func TestAlbumIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, lines, _ := triggered(t, "on=door:rise do=snapshot:front,keep=2;on=pir:rise do=snapshot:front,keep=100", 1<<20)
		press(lines, "GPIO27", 1)
		press(lines, "GPIO17", 3)
		a := d.album(t, "")
		if got := numbers(a); got != "1:front:pir:true 3:front:door:true 4:front:door:true" || len(a.Gone) != 1 || a.Gone[api.GoneKeep] != 1 {
			t.Errorf("keep=2 of the door: %s, gone %v", got, a.Gone)
		}
	})
	size := len(cameratest.Grey(64, 48, 128))
	synctest.Test(t, func(t *testing.T) {
		d, lines, _ := triggered(t, "on=door:rise do=snapshot:front,keep=100", 3*size+size/2)
		press(lines, "GPIO17", 5)
		a, st := d.album(t, ""), d.service.AlbumStats()
		if len(a.Pictures) != 3 || a.Pictures[2].Picture != 5 || a.Gone[api.GoneRoom] != 2 || st.Pictures != 3 || st.Bytes > 3*size+size/2 {
			t.Errorf("%s, gone %v, %+v", numbers(a), a.Gone, st)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		d, lines, _ := triggered(t, "on=door:rise do=snapshot:front,keep=100", size/2)
		press(lines, "GPIO17", 1)
		if a := d.album(t, ""); len(a.Pictures) != 0 || a.Gone[api.GoneTooLarge] != 1 {
			t.Errorf("%s, gone %v", numbers(a), a.Gone)
		}
	})
}

// A camera that gives no picture costs that picture, which is counted; the next one is taken as ever. While one is taken, it is shown.
func TestTriggersOutliveTheirCamera(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, lines, log := triggered(t, "on=door:rise do=snapshot:front,keep=1", 1<<20)
		for range 10 {
			d.front.Break(camera.ErrBusy)
			press(lines, "GPIO17", 2)
			d.front.Mend()
			time.Sleep(time.Minute)
			press(lines, "GPIO17", 1)
		}
		if n := strings.Count(log.String(), "\n"); n < 2 || n > 4 || !strings.Contains(log.String(), "gets no pictures") || !strings.Contains(log.String(), "again") {
			t.Errorf("a camera that comes and goes is logged as\n%s", log)
		}
		shown := len(lines.Line("GPIO23").Levels())
		press(lines, "GPIO17", 1)
		a := d.album(t, "")
		if len(a.Pictures) != 1 || a.Gone[api.GoneFailed] != 20 {
			t.Errorf("%s, gone %v", numbers(a), a.Gone)
		}
		if levels := lines.Line("GPIO23").Levels(); len(levels) != shown+2 || !levels[shown] || levels[shown+1] {
			t.Errorf("a picture was taken, and the light that shows it was %v", levels)
		}
	})
}

// Edges that come while the camera is slow have one picture together: it is newer than all of them.
func TestEdgesShareANewerPicture(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, lines, _ := triggered(t, "on=door:change do=snapshot:front,keep=100,pause=100ms", 1<<20)
		d.front.Start = 5 * time.Second
		lines.Line("GPIO17").Drive(true) // the picture that this asks for takes its time
		for range 4 {
			time.Sleep(time.Second)
			lines.Line("GPIO17").Drive(false)
			time.Sleep(time.Second)
			lines.Line("GPIO17").Drive(true)
		}
		time.Sleep(time.Minute)
		a := d.album(t, "")
		if n := len(a.Pictures); n == 0 || n > 3 || uint64(n)+a.Gone[api.GoneMerged]+a.Gone[api.GoneFailed] != 9 || a.Gone[api.GoneMerged] == 0 {
			t.Errorf("%s, gone %v", numbers(a), a.Gone)
		}
	})
}

func TestWithoutTriggersThereIsNoAlbum(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, err := newDevice(t, nil).ask(t, api.RouteAlbum, "")
		says(t, err, peer.CodeRejected, "this device has no triggers; PERCH_TRIGGERS gives it some")
	})
}
