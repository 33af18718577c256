package gpio_test

import (
	"math"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/perchcam/perch/pkg/gpio"
	"github.com/perchcam/perch/pkg/gpio/gpiotest"
)

func celsius(v float64) gpio.Value { return gpio.Value{Quantity: "temperature", Value: v, Unit: "Cel"} }

func measuring(t *testing.T, sensors string, values ...gpio.Value) *bench {
	b := build(t, sensors, "", gpiotest.NewLines(), gpiotest.NewDevices())
	b.devices.Measure("air", values...)
	b.start()
	return b
}

func TestDeltaAndDigits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := measuring(t, "air=iio:bme280,every=10s,delta=0.5,digits=2", celsius(20))
		w := b.watch(gpio.WatchOptions{})
		b.want(w, gpio.TypeState)
		var told []float64
		for _, v := range []float64{20.3, 20.4999, 20.499, 19.9, 19.4, -0.004, -0.004, 0.4, 0.5} {
			b.devices.Measure("air", celsius(v))
			time.Sleep(10 * time.Second)
			synctest.Wait()
			if items, _ := b.Read(); math.Abs(items[0].Values[0].Value-v) > 0.005 || items[0].At.Before(time.Now().Add(-10*time.Second)) {
				t.Errorf("Read is not fresh: %+v", items[0])
			}
			if it, err := w.Next(expired()); err == nil {
				told = append(told, it.Values[0].Value)
			}
		}
		if d := cmp.Diff([]float64{20.5, 19.9, 19.4, 0, 0.5}, told); d != "" || math.Signbit(told[3]) {
			t.Error(d)
		}
	})
}

func TestUnitReplacesThatOfASingleValue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := measuring(t, "air=iio:rain,unit=%", gpio.Value{Quantity: "voltage", Value: 12, Unit: "V"})
		if items, _ := b.Read(); items[0].Values[0].Unit != "%" {
			t.Errorf("%+v", items[0])
		}
		if info := b.Sensors()[0]; len(info.Units) != 1 || info.Units[0] != "%" {
			t.Errorf("%+v", info)
		}
	})
}

// A sensor that fails now and then by its nature is not called failing; one that does not answer any more is, with its last good time.
func TestASensorMayStumble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := measuring(t, "air=iio:dht11,every=60s", celsius(20))
		w := b.watch(gpio.WatchOptions{})
		state := b.want(w, gpio.TypeState)
		time.Sleep(59 * time.Second)
		b.devices.Fail("air", syscall.EIO)
		time.Sleep(3 * time.Second) // two tries
		b.devices.Measure("air", celsius(21))
		if it := b.want(w, gpio.TypeReading); it.Values[0].Value != 21 {
			t.Errorf("%+v", it)
		}
		b.devices.Fail("air", syscall.EIO)
		it := b.want(w, gpio.TypeError)
		if it.Error.Code != "io" || it.Error.Text != "input/output error" || !it.LastOK.After(state.At) || it.Values != nil {
			t.Errorf("%+v", it)
		}
		time.Sleep(time.Hour)
		b.nothing(w)
		if items, _ := b.Read(); items[0].Type != gpio.TypeError || items[0].Values != nil {
			t.Errorf("an old value is passed off as one: %+v", items[0])
		}
		b.devices.Measure("air", celsius(-3))
		if it := b.want(w, gpio.TypeReading); it.Values[0].Value != -3 {
			t.Errorf("%+v", it)
		}
		if n := b.devices.Opens("air"); n < 3 {
			t.Errorf("a failing device was opened anew %d times", n)
		}
	})
}

func TestWhatIsNoNumberIsAnError(t *testing.T) {
	for _, values := range [][]gpio.Value{{celsius(math.NaN())}, {celsius(1), celsius(math.Inf(-1))}, {}} {
		synctest.Test(t, func(t *testing.T) {
			b := measuring(t, "air=iio:bme280", values...)
			if items, _ := b.Read(); items[0].Type != gpio.TypeError || items[0].Error.Code != "io" {
				t.Errorf("%v gave %+v", values, items[0])
			}
		})
	}
}

func TestHintsReachTheReader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := build(t, "air=iio:bme280", "", gpiotest.NewLines(), gpiotest.NewDevices())
		b.devices.Fail("air", hinted{})
		b.start()
		items, _ := b.Read()
		if f := items[0].Error; f.Hint != "add a line" || f.Code != "missing" || !strings.Contains(f.Text, "gone") {
			t.Errorf("%+v", f)
		}
	})
}

type hinted struct{}

func (hinted) Error() string { return "it is gone" }
func (hinted) Hint() string  { return "add a line" }
func (hinted) Unwrap() error { return syscall.ENOENT }

func TestReadsKeepTheirPace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := measuring(t, "air=iio:bme280,every=10s", celsius(1))
		first, _ := b.Read()
		time.Sleep(100 * time.Second)
		synctest.Wait()
		last, _ := b.Read()
		if d := last[0].At.Sub(first[0].At); d != 100*time.Second {
			t.Errorf("the tenth reading is %v after the first", d)
		}
	})
}
