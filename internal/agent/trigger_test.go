package agent

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/perchcam/perch/pkg/api"
	"github.com/perchcam/perch/pkg/gpio/gpiotest"
)

// A device that has never had a link takes its pictures all the same.
func TestTriggersNeedNoLink(t *testing.T) {
	setenv(t, map[string]string{
		"PERCH_BROKER": "tcp://127.0.0.1:1", "PERCH_DEVICE": "nest", "PERCH_CAMERAS": "test=pattern,width=64,height=48",
		"PERCH_SENSORS": "door=gpio:GPIO5,pull=down,debounce=0", "PERCH_TRIGGERS": "on=door:rise do=snapshot:test,pause=100ms,keep=1",
	})
	cfg, err := Load()
	if err != nil {
		t.Fatal(err)
	}
	lines := gpiotest.NewLines()
	a, _ := start(t, Options{Config: cfg, Lines: lines})
	door := lines.Line("GPIO5")
	for limit := time.Now().Add(20 * time.Second); a.service.AlbumStats().Pictures == 0; {
		if time.Now().After(limit) {
			t.Fatalf("the door was opened, and no picture taken: %+v", a.service.AlbumStats())
		}
		door.Drive(true)
		time.Sleep(20 * time.Millisecond) // real goroutines open the line and take pictures
		door.Drive(false)
		time.Sleep(20 * time.Millisecond)
	}
	if !slices.Contains(a.advert().Routes, api.RouteAlbum) {
		t.Errorf("the advert has the routes %v", a.advert().Routes)
	}
	if text := string(a.Metrics()); !strings.Contains(text, "\nperch_album_pictures 1\n") {
		t.Errorf("the metrics are\n%s", text)
	}
}
