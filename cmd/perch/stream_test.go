package main

import (
	"strings"
	"testing"

	"github.com/perchcam/perch/pkg/api"
	"github.com/perchcam/perch/pkg/client"
)

// Each picture that did not come is counted once, by its reason.
func TestTally(t *testing.T) {
	s := &tally{device: "hen-house"}
	for _, h := range []api.FrameHeader{
		{Seq: 10, Skipped: 5}, // before the first: nobody's loss
		{Seq: 14, Skipped: 3, Failed: 2},
		{Seq: 20, Skipped: 5, Failed: 1, Lost: 4},
	} {
		s.add(client.Picture{FrameHeader: h, Data: []byte("picture")})
	}
	s.add(client.Picture{FrameHeader: api.FrameHeader{Seq: 28}, Data: []byte("picture"), Gap: &client.Gap{Missing: 7}})
	got := s.summary()
	if got.Frames != 4 || got.Skipped != 1 || got.Failed != 3 || got.Missing != 4+7 || got.Gaps != 1 {
		t.Errorf("%+v", got)
	}
	if text := s.String(); !strings.Contains(text, "skipped 1, missing 11, lost by the camera itself 3") {
		t.Error(text)
	}
}
