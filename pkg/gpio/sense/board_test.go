package sense

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/perchcam/perch/pkg/gpio"
)

// From a chip's bytes and a driver's files to the item of a watcher: what is measured, what is missing and what to do about it.
func TestReadingsThroughABoard(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		root := sys(t, pi)
		d := playback(t, bmeStart, bmeSense, bmeSense)
		d.Sys = root
		specs, err := gpio.ParseSensors("air=bme280:i2c-1,every=10s,digits=2; box=hwmon:1-0044,every=10s; rack=iio:bmp280,every=10s")
		if err != nil {
			t.Fatal(err)
		}
		b, err := gpio.New(gpio.Config{Sensors: specs, Devices: d, Boot: "boot", Synced: func() bool { return true }})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- b.Run(ctx) }()
		read := func(name string) string {
			items, err := b.Read(name)
			if err != nil {
				t.Fatal(err)
			}
			j, err := json.Marshal(items[0])
			if err != nil {
				t.Fatal(err)
			}
			return regexp.MustCompile(`"(seq|mono_ns)":[0-9]+,?`).ReplaceAllString(string(j), "")
		}
		check := func(name, want string) {
			t.Helper()
			if got := read(name); got != want {
				t.Errorf("got  %s\nwant %s", got, want)
			}
		}
		time.Sleep(time.Second)
		synctest.Wait()
		head := `{"v":1,"boot":"boot","sensor":"air","type":"state","at":"2000-01-01T00:00:00.026Z","synced":true,`
		check("air", head+`"values":[{"q":"temperature","v":23.72,"u":"Cel"},{"q":"humidity","v":65.31,"u":"%RH"},{"q":"pressure","v":100942.7,"u":"Pa"}]}`)
		head = `{"v":1,"boot":"boot","sensor":"box","type":"state","at":"2000-01-01T00:00:00Z","synced":true,`
		check("box", head+`"values":[{"q":"humidity","v":61.2,"u":"%RH"},{"q":"temperature","v":-0.04,"u":"Cel"}]}`)
		if got := read("rack"); !strings.Contains(got, `"error":{"code":"missing","text":"there is no iio device \"bmp280\"`) ||
			!strings.Contains(got, `"hint":"add the line dtoverlay=i2c-sensor,bmp280 to /boot/firmware/config.txt and restart the Pi"`) {
			t.Error(got)
		}

		// The missing one comes, another begins to fail.
		put(t, filepath.Join(root, "devices/platform/soc/i2c-1/1-0076/iio:device0/name"), "bmp280")
		put(t, filepath.Join(root, "class/hwmon/hwmon1/temp1_input"), "EIO")
		time.Sleep(20 * time.Second)
		synctest.Wait()
		if got := read("rack"); !strings.Contains(got, `{"q":"temperature","v":-1.25,"u":"Cel"}`) {
			t.Error(got)
		}
		if got := read("box"); !strings.Contains(got, `"type":"error"`) || !strings.Contains(got, `"code":"io"`) || strings.Contains(got, "values") {
			t.Error(got)
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		_ = os.RemoveAll(root)
	})
}
