package sense

import (
	"errors"
	"io/fs"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"periph.io/x/conn/v3/i2c"
	"periph.io/x/conn/v3/i2c/i2ctest"
	"periph.io/x/conn/v3/physic"

	"github.com/perchcam/perch/pkg/gpio"
)

// Conversations with a BME280 and a BMP280; the calibration is that of a real chip, from periph's tests.
var (
	bmeStart = []i2ctest.IO{
		{Addr: 0x76, W: []byte{0xd0}, R: []byte{0x60}}, // the chip's id
		{Addr: 0x76, W: []byte{0x88}, R: []byte{0x10, 0x6e, 0x6c, 0x66, 0x32, 0x0, 0x5d, 0x95, 0xb8, 0xd5, 0xd0, 0xb, 0x77, 0x1e, 0x9d, 0xff, 0xf9, 0xff, 0xac, 0x26, 0xa, 0xd8, 0xbd, 0x10, 0x0, 0x4b}},
		{Addr: 0x76, W: []byte{0xe1}, R: []byte{0x6e, 0x1, 0x0, 0x13, 0x5, 0x0, 0x1e}},
		{Addr: 0x76, W: []byte{0xf4, 0x6c, 0xf2, 0x3, 0xf5, 0xa0, 0xf4, 0x6c}},
	}
	bmeSense = []i2ctest.IO{
		{Addr: 0x76, W: []byte{0xf4, 0x6d}},
		{Addr: 0x76, W: []byte{0xf3}, R: []byte{8}}, // busy
		{Addr: 0x76, W: []byte{0xf3}, R: []byte{0}},
		{Addr: 0x76, W: []byte{0xf7}, R: []byte{0x4a, 0x52, 0xc0, 0x80, 0x96, 0xc0, 0x7a, 0x76}},
	}
	bmp280Start = []i2ctest.IO{
		{Addr: 0x76, W: []byte{0xd0}, R: []byte{0x58}},
		bmeStart[1],
		{Addr: 0x76, W: []byte{0xf4, 0x6c, 0xf5, 0xa0, 0xf4, 0x6c}},
	}
)

// playback gives out a bus that plays a conversation, and checks at the end that all of it was said.
func playback(t *testing.T, ops ...[]i2ctest.IO) Devices {
	var all []i2ctest.IO
	for _, o := range ops {
		all = append(all, o...)
	}
	bus := &i2ctest.Playback{Ops: all, DontPanic: true}
	t.Cleanup(func() {
		if bus.Count != len(all) {
			t.Errorf("%d of %d transactions were made", bus.Count, len(all))
		}
	})
	return Devices{Bus: func(name string) (i2c.BusCloser, error) {
		if name != "i2c-1" {
			t.Errorf("bus %q", name)
		}
		return bus, nil
	}}
}

// spec is one sensor in its owner's words.
func spec(t *testing.T, text string) gpio.SensorSpec {
	t.Helper()
	specs, err := gpio.ParseSensors("x=" + text)
	if err != nil {
		t.Fatal(err)
	}
	return specs[0]
}

func TestChips(t *testing.T) {
	for _, c := range []struct {
		spec string
		ops  [][]i2ctest.IO
		want []gpio.Value
	}{
		{"bme280:i2c-1/0x76", [][]i2ctest.IO{bmeStart, bmeSense}, []gpio.Value{
			value("temperature", 23.72, "Cel"), value("humidity", 65.3056, "%RH"), value("pressure", 100942.6953125, "Pa"),
		}},
		{"bmp280:i2c-1", [][]i2ctest.IO{bmp280Start, bmeSense[:1], bmeSense[2:3], {{Addr: 0x76, W: []byte{0xf7}, R: []byte{0x4a, 0x52, 0xc0, 0x80, 0x96, 0xc0}}}}, []gpio.Value{
			value("temperature", 23.72, "Cel"), value("pressure", 100942.6953125, "Pa"),
		}},
		{"aht20:i2c-1", [][]i2ctest.IO{{
			{Addr: 0x38, W: []byte{0x71}, R: []byte{0x00}},       // not calibrated
			{Addr: 0x38, W: []byte{0xbe, 0x08, 0x00}},            // calibrate
			{Addr: 0x38, W: []byte{0xac, 0x33, 0x00}},            // measure
			{Addr: 0x38, R: crc(0x98, 0x80, 0x00, 0x05, 0, 0)},   // busy
			{Addr: 0x38, R: crc(0x18, 0x80, 0x00, 0x05, 0, 0)},   // done: 50 %, 12.5 °C
			{Addr: 0x38, W: []byte{0xac, 0x33, 0x00}},            // again
			{Addr: 0x38, R: crc(0x18, 0x80, 0x00, 0x03, 0, 0x0)}, // -12.5 °C
		}}, []gpio.Value{value("temperature", 12.5, "Cel"), value("humidity", 50, "%RH")}},
		{"hdc302x:i2c-1/0x44", [][]i2ctest.IO{{
			{Addr: 0x44, W: []byte{0x21, 0x30}},
			{Addr: 0x44, W: []byte{0xe0, 0x00}, R: []byte{0x68, 0xc5, 0x51, 0x3b, 0x82, 0x31}},
			{Addr: 0x44, W: []byte{0x30, 0x93}}, // stop
		}}, []gpio.Value{value("temperature", 26.6208896, "Cel"), value("humidity", 23.24559, "%RH")}},
		{"ina219:i2c-1/0x40", [][]i2ctest.IO{{
			{Addr: 0x40, W: []byte{5, 0x10, 0x62}}, // calibration for 0.1 Ω: 4,194
			{Addr: 0x40, W: []byte{0, 0x1f, 0xff}},
			{Addr: 0x40, W: []byte{1}, R: []byte{0xff, 0x9c}},
			{Addr: 0x40, W: []byte{2}, R: []byte{0x5d, 0xc2}}, // 3,000 steps of 4 mV, conversion done
			{Addr: 0x40, W: []byte{4}, R: []byte{0xff, 0x9c}}, // -100 steps of 97.656 µA
			{Addr: 0x40, W: []byte{3}, R: []byte{0x00, 0x3c}}, // 60 steps of 1.953 mW
		}}, []gpio.Value{value("voltage", 12, "V"), value("current", -0.0097656, "A"), value("power", 0.1171875, "W")}},
		{"ads1115:i2c-1/0x48,channel=0", [][]i2ctest.IO{{
			{Addr: 0x48, W: []byte{1, 0xc3, 0x03}},            // single shot, AIN0, 4.096 V, 8 per second
			{Addr: 0x48, W: []byte{0}, R: []byte{0x40, 0x00}}, // half of the range
		}}, []gpio.Value{value("voltage", 2.048, "V")}},
		{"ads1015:i2c-1/0x49,channel=0-1,range=2.048", [][]i2ctest.IO{{
			{Addr: 0x49, W: []byte{1, 0x85, 0x03}},
			{Addr: 0x49, W: []byte{0}, R: []byte{0xc0, 0x00}},
		}}, []gpio.Value{value("voltage", -1.024, "V")}},
		{"bmp180:i2c-1", [][]i2ctest.IO{{
			{Addr: 0x77, W: []byte{0xd0}, R: []byte{0x55}},
			{Addr: 0x77, W: []byte{0xaa}, R: []byte{35, 136, 251, 103, 199, 169, 135, 91, 98, 137, 80, 22, 25, 115, 0, 46, 128, 0, 209, 246, 10, 123}},
			{Addr: 0x77, W: []byte{0xf4, 0x2e}},
			{Addr: 0x77, W: []byte{0xf6}, R: []byte{0x71, 0xbf}},
			{Addr: 0x77, W: []byte{0xf4, 0x34 | 2<<6}},
			{Addr: 0x77, W: []byte{0xf6}, R: []byte{0xab, 0x96, 0}},
		}}, []gpio.Value{value("temperature", 25.3, "Cel"), value("pressure", 100568, "Pa")}},
	} {
		t.Run(c.spec, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { // chips are slow
				d := playback(t, c.ops...)
				s, err := d.OpenSensor(spec(t, c.spec))
				if err != nil {
					t.Fatal(err)
				}
				got, err := s.Read(t.Context())
				if diff := cmp.Diff(c.want, got, cmpopts.EquateApprox(1e-5, 0)); err != nil || diff != "" {
					t.Errorf("%v %s", err, diff)
				}
				if strings.HasPrefix(c.spec, "aht20") {
					if got, err := s.Read(t.Context()); err != nil || got[0].Value != -12.5 {
						t.Errorf("%v, %v", got, err)
					}
				}
				if err := s.Close(); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// crc appends the checksum of an AHT20: polynomial 0x31, initially 0xff.
func crc(b ...byte) []byte {
	sum := byte(0xff)
	for _, x := range b {
		sum ^= x
		for range 8 {
			if sum&0x80 != 0 {
				sum = sum<<1 ^ 0x31
			} else {
				sum <<= 1
			}
		}
	}
	return append(b, sum)
}

// A BMP280 in a BME280's place would report a humidity of 0.
func TestAnotherChipThanConfigured(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, err := playback(t, bmp280Start).OpenSensor(spec(t, "bme280:i2c-1"))
		if err == nil || !strings.HasSuffix(err.Error(), "it is a bmp280") {
			t.Errorf("%v", err)
		}
		if h, ok := errors.AsType[gpio.Hinter](err); !ok || h.Hint() != "configure it as bmp280:i2c-1/0x76" {
			t.Errorf("hint %v", h)
		}
	})
}

func TestGarbageFromAChipIsAnError(t *testing.T) {
	for text, ops := range map[string][]i2ctest.IO{
		"bme280:i2c-1": {{Addr: 0x76, W: []byte{0xd0}, R: []byte{0xff}}},
		"aht20:i2c-1": {
			{Addr: 0x38, W: []byte{0x71}, R: []byte{0x18}},
			{Addr: 0x38, W: []byte{0xac, 0x33, 0x00}},
			{Addr: 0x38, R: []byte{0x18, 0x80, 0, 5, 0, 0, 0x42}},
		},
		"hdc302x:i2c-1": {
			{Addr: 0x44, W: []byte{0x21, 0x30}},
			{Addr: 0x44, W: []byte{0xe0, 0x00}, R: []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}},
			{Addr: 0x44, W: []byte{0x30, 0x93}},
		},
		"ina219:i2c-1": {
			{Addr: 0x40, W: []byte{5, 0x10, 0x62}},
			{Addr: 0x40, W: []byte{0, 0x1f, 0xff}},
			{Addr: 0x40, W: []byte{1}, R: []byte{0xff, 0xff}},
			{Addr: 0x40, W: []byte{2}, R: []byte{0xff, 0xff}}, // the overflow bit
		},
	} {
		synctest.Test(t, func(t *testing.T) {
			s, err := playback(t, ops).OpenSensor(spec(t, text))
			if err == nil {
				_, err = s.Read(t.Context())
				s.Close()
			}
			if err == nil || !strings.Contains(err.Error(), strings.TrimSuffix(text, ":i2c-1")+" at i2c-1/0x") {
				t.Errorf("%s: %v", text, err)
			}
		})
	}
}

// stuckBus is a bus on which a BME280 started and then stayed busy for ever, as when its line is cut: all ones.
type stuckBus struct{ i2ctest.Playback }

func (b *stuckBus) Tx(addr uint16, w, r []byte) error {
	if b.Count < len(b.Ops) {
		return b.Playback.Tx(addr, w, r)
	}
	time.Sleep(200 * time.Microsecond) // 400 kHz
	for i := range r {
		r[i] = 0xff
	}
	return nil
}

func (b *stuckBus) SetSpeed(physic.Frequency) error { return nil }

func TestAChipThatIsNeverDone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bus := &stuckBus{i2ctest.Playback{Ops: bmeStart, DontPanic: true}}
		s, err := Devices{Bus: func(string) (i2c.BusCloser, error) { return bus, nil }}.OpenSensor(spec(t, "bme280:i2c-1"))
		if err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		if _, err := s.Read(t.Context()); err == nil || time.Since(began) > 4*time.Second {
			t.Errorf("after %v: %v", time.Since(began), err)
		}
	})
}

func TestAMissingBus(t *testing.T) {
	if _, err := os.Stat("/dev/i2c-250"); err == nil {
		t.Skip("there is a bus 250")
	}
	_, err := Devices{}.OpenSensor(spec(t, "bme280:i2c-250"))
	if !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%v", err)
	}
	if h, ok := errors.AsType[gpio.Hinter](err); !ok || !strings.Contains(h.Hint(), "dtparam=i2c_arm=on") {
		t.Errorf("hint %v", h)
	}
}
