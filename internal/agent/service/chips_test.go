package service_test

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"periph.io/x/conn/v3/i2c"
	"periph.io/x/conn/v3/i2c/i2ctest"
	"periph.io/x/conn/v3/physic"

	"github.com/perchcam/perch/internal/agent/service"
	"github.com/perchcam/perch/pkg/api"
	"github.com/perchcam/perch/pkg/gpio"
	"github.com/perchcam/perch/pkg/gpio/sense"
)

// bus is an I²C bus with several chips, each of which plays its own conversation.
type bus map[uint16]*i2ctest.Playback

func (b bus) Tx(addr uint16, w, r []byte) error {
	chip := b[addr]
	if chip == nil {
		return fmt.Errorf("nobody answers at %#x", addr)
	}
	return chip.Tx(addr, w, r)
}

func (bus) SetSpeed(physic.Frequency) error { return nil }
func (bus) Close() error                    { return nil }
func (bus) String() string                  { return "i2c-1" }

// says gives a chip its conversation: what is written and what is read, in turn.
func (b bus) says(addr uint16, said ...[]byte) {
	chip := &i2ctest.Playback{DontPanic: true}
	for i := 0; i < len(said); i += 2 {
		chip.Ops = append(chip.Ops, i2ctest.IO{Addr: addr, W: said[i], R: said[i+1]})
	}
	b[addr] = chip
}

// Every driver's chip, from the bytes on its bus to the answer on a laptop. The conversations are explained in pkg/gpio/sense.
func TestChipsReachTheLaptop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		chips := bus{}
		chips.says(0x76, // bmxx80
			[]byte{0xd0}, []byte{0x60},
			[]byte{0x88}, []byte{0x10, 0x6e, 0x6c, 0x66, 0x32, 0x0, 0x5d, 0x95, 0xb8, 0xd5, 0xd0, 0xb, 0x77, 0x1e, 0x9d, 0xff, 0xf9, 0xff, 0xac, 0x26, 0xa, 0xd8, 0xbd, 0x10, 0x0, 0x4b},
			[]byte{0xe1}, []byte{0x6e, 0x1, 0x0, 0x13, 0x5, 0x0, 0x1e},
			[]byte{0xf4, 0x6c, 0xf2, 0x3, 0xf5, 0xa0, 0xf4, 0x6c}, nil,
			[]byte{0xf4, 0x6d}, nil,
			[]byte{0xf3}, []byte{0},
			[]byte{0xf7}, []byte{0x4a, 0x52, 0xc0, 0x80, 0x96, 0xc0, 0x7a, 0x76})
		chips.says(0x40, // ina219
			[]byte{5, 0x10, 0x62}, nil, []byte{0, 0x1f, 0xff}, nil,
			[]byte{1}, []byte{0xff, 0x9c}, []byte{2}, []byte{0x5d, 0xc2}, []byte{4}, []byte{0xff, 0x9c}, []byte{3}, []byte{0x00, 0x3c})
		chips.says(0x48, // ads1x15
			[]byte{1, 0xc3, 0x03}, nil, []byte{0}, []byte{0x40, 0x00})
		chips.says(0x38, // aht20
			[]byte{0x71}, []byte{0x18}, []byte{0xac, 0x33, 0x00}, nil, nil, []byte{0x18, 0x80, 0x00, 0x05, 0, 0, 0xe9})
		chips.says(0x44, // hdc302x
			[]byte{0x21, 0x30}, nil, []byte{0xe0, 0x00}, []byte{0x68, 0xc5, 0x51, 0x3b, 0x82, 0x31}, []byte{0x30, 0x93}, nil)
		specs, err := gpio.ParseSensors("air=bme280:i2c-1; power=ina219:i2c-1; tank=ads1115:i2c-1; shed=aht20:i2c-1; roof=hdc302x:i2c-1; none=ina219:i2c-1/0x41")
		if err != nil {
			t.Fatal(err)
		}
		board, err := gpio.New(gpio.Config{Sensors: specs, Devices: sense.Devices{Bus: func(string) (i2c.BusCloser, error) { return chips, nil }}, Boot: "boot-1"})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(context.Background())
		ended := make(chan error)
		go func() { ended <- board.Run(ctx) }()
		d := newDevice(t, func(c *service.Config) { c.Board = board })
		time.Sleep(5 * time.Second)
		v, err := d.ask(t, api.RouteRead, "")
		if err != nil {
			t.Fatal(err)
		}
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		list, err := api.Decode[api.Readings](v.Data)
		if err != nil {
			t.Fatal(err)
		}
		want := map[string][]api.Value{
			"air":   {{Quantity: "temperature", Value: 23.72, Unit: "Cel"}, {Quantity: "humidity", Value: 65.306, Unit: "%RH"}, {Quantity: "pressure", Value: 100942.695, Unit: "Pa"}},
			"power": {{Quantity: "voltage", Value: 12, Unit: "V"}, {Quantity: "current", Value: -0.01, Unit: "A"}, {Quantity: "power", Value: 0.117, Unit: "W"}},
			"tank":  {{Quantity: "voltage", Value: 2.048, Unit: "V"}},
			"shed":  {{Quantity: "temperature", Value: 12.5, Unit: "Cel"}, {Quantity: "humidity", Value: 50, Unit: "%RH"}},
			"roof":  {{Quantity: "temperature", Value: 26.621, Unit: "Cel"}, {Quantity: "humidity", Value: 23.246, Unit: "%RH"}},
			"none":  nil,
		}
		got := map[string][]api.Value{}
		for _, r := range list.Readings {
			got[r.Sensor] = r.Values
			if failed := r.Type == api.ReadingError; failed != (r.Sensor == "none") {
				t.Errorf("%s: %+v", r.Sensor, r.Error)
			}
		}
		if diff := cmp.Diff(want, got, cmpopts.EquateApprox(1e-6, 0)); diff != "" {
			t.Error(diff)
		}
	})
}
