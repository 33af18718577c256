package agent

import (
	"slices"
	"testing"

	"github.com/perchcam/perch/pkg/api"
	"github.com/perchcam/perch/pkg/wire"
)

// TestIntroduce reads back what a SETUP says in each dialect: the device, its advert, and for Alibaba's broker the services.
func TestIntroduce(t *testing.T) {
	ad := api.Advert{Device: "nest", ID: "0123456789abcdef", Boot: "b", Rev: 1, Routes: []string{"agent.info", "camera.snapshot", "camera.stream", "sensors.watch"}}
	for _, d := range []wire.Dialect{wire.RSocketBroker, wire.Alibaba, wire.Plain} {
		md, err := introduce(Config{Dialect: d, Tags: []wire.Tag{{Key: "row", Value: "3"}}}, ad, wire.Auth{Scheme: wire.AuthBearer, Secret: "t"})
		if err != nil {
			t.Fatal(d, err)
		}
		s, err := wire.ParseSetup(md)
		if err != nil {
			t.Fatal(d, err)
		}
		if s.Dialect != d || s.Device() != "nest" || s.Service != api.Service || s.Tag("row") != "3" || s.Auth.Secret != "t" || s.Advert == nil {
			t.Errorf("%s says %+v", d, s)
		}
		if want := []string{"agent", "camera", "sensors"}; d == wire.Alibaba && !slices.Equal(s.Services, want) {
			t.Errorf("services %v, want %v", s.Services, want)
		}
	}
}
