package gpio_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/perchcam/perch/pkg/gpio"
)

func TestTriggers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := run(t, "door=gpio:GPIO17,debounce=0; pir=gpio:GPIO27,class=motion,debounce=0,hold=5s", "")
		specs, err := gpio.ParseTriggers("on=door:rise do=snapshot:front,pause=1s; on=door:change do=snapshot:hall,pause=100ms; on=pir:fall do=snapshot:back")
		if err != nil {
			t.Fatal(err)
		}
		watch, err := b.Triggers(specs)
		if err != nil {
			t.Fatal(err)
		}
		b.press("GPIO17", 5) // each 100 ms
		time.Sleep(2 * time.Second)
		b.press("GPIO17", 1)
		b.press("GPIO27", 1)
		time.Sleep(10 * time.Second)
		fired := map[string]int{}
		for {
			f, err := watch.Next(expired())
			if err != nil {
				if !errors.Is(err, context.DeadlineExceeded) {
					t.Error(err)
				}
				break
			}
			fired[f.Trigger.Target]++
			if f.Item.Type != gpio.TypeChange || f.Item.Sensor != f.Trigger.Sensor || f.Item.Seq == 0 {
				t.Errorf("%+v", f)
			}
		}
		// Taken late, all at once: the pause is between firings as they happened, not as they are taken.
		if d := cmp.Diff(map[string]int{"front": 2, "hall": 6, "back": 1}, fired); d != "" {
			t.Error(d)
		}
	})
}

func TestTriggersReportEveryMistake(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := run(t, "air=iio:bme280; rain=gpio:5,count=true", "")
		specs, _ := gpio.ParseTriggers("on=attic:rise do=snapshot:a; on=air:rise do=snapshot:a; on=rain:rise do=snapshot:a")
		_, err := b.Triggers(specs)
		for _, want := range []string{`trigger 1: no sensor is named "attic"`, `trigger 2: the sensor "air" has no edges`, `trigger 3: the sensor "rain" has no edges`} {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("no %q in %v", want, err)
			}
		}
		none, err := b.Triggers(nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := none.Next(expired()); !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
	})
}
