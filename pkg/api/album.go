package api

import (
	"fmt"
	"time"
)

// AlbumRequest are the options of RouteAlbum. Without Picture it is answered by the Album, with it by that picture.
type AlbumRequest struct {
	Camera  string `json:"camera,omitempty"`  // of the list: only this camera's; "" is all
	Picture uint64 `json:"picture,omitempty"` // its number in the list
	Boot    string `json:"boot,omitempty"`    // that of the list: after a restart other pictures have these numbers; "" takes any
}

// Check implements Checker.
func (q AlbumRequest) Check() error {
	if err := checkText("boot", q.Boot); err != nil {
		return err
	}
	return checkCamera(q.Camera)
}

// Album is what a device's triggers made it take, with or without a link, oldest first. It is in the device's memory, and bounded.
type Album struct {
	Boot     string             `json:"boot"`
	Pictures List[AlbumPicture] `json:"pictures"`
	Gone     map[string]uint64  `json:"gone,omitempty"` // pictures that are not, or no longer, here: how many by reason
}

// Reasons of Album.Gone.
const (
	GoneKeep     = "keep"      // the trigger keeps no more
	GoneRoom     = "room"      // newer ones of any trigger needed the memory
	GoneTooLarge = "too_large" // one picture had more bytes than the album may
	GoneFailed   = "failed"    // the camera had none to give
	GoneMerged   = "merged"    // a picture that was asked for after the edge had been taken for an earlier one
)

// AlbumPicture is one entry of an Album.
type AlbumPicture struct {
	Picture uint64      `json:"picture"` // counts all of an album, from 1
	Sensor  string      `json:"sensor"`  // whose edge it was
	On      bool        `json:"on"`      // its level after the edge
	Edge    time.Time   `json:"edge"`    // when that was
	Bytes   int         `json:"bytes"`
	Header  FrameHeader `json:"header"`
}

// Check implements Checker.
func (a Album) Check() error {
	if err := checkText("boot", a.Boot); err != nil {
		return err
	}
	for _, p := range a.Pictures {
		switch err := p.Header.Check(); {
		case err != nil:
			return err
		case p.Picture == 0:
			return fmt.Errorf(`a picture's number is missing`)
		}
		if err := CheckName("sensor", p.Sensor); err != nil {
			return err
		}
	}
	return nil
}
