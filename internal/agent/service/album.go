package service

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/perchcam/perch/pkg/api"
	"github.com/perchcam/perch/pkg/camera"
	"github.com/perchcam/perch/pkg/gpio"
	"github.com/perchcam/perch/pkg/peer"
)

// maxPictures bounds the list of an album to what one answer holds (api.MaxAnswer), whatever its triggers keep.
const maxPictures = 500

// album holds the pictures that triggers took, bounded in number and bytes: the oldest leaves first.
type album struct {
	limit int // bytes

	mu    sync.Mutex // guards the following
	kept  []kept     // oldest first
	bytes int
	last  uint64 // number of the newest
	gone  map[string]uint64
}

// kept is one picture and what it was taken for.
type kept struct {
	number  uint64
	trigger int
	edge    gpio.Item
	picture camera.Picture
}

// AlbumStats says how full an album is.
type AlbumStats struct {
	Pictures int
	Bytes    int
	Gone     map[string]uint64 // by reason, as in api.Album
}

// put takes a picture in, of a trigger that keeps so many.
func (a *album) put(k kept, keep int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	size := len(k.picture.Data)
	if size > a.limit {
		a.gone[api.GoneTooLarge]++
		return
	}
	if cap(k.picture.Data) > size+size/4 { // more memory than is counted
		k.picture.Data = slices.Clone(k.picture.Data)
	}
	a.last++
	k.number = a.last
	a.kept = append(a.kept, k)
	a.bytes += size
	own := 0
	for _, other := range a.kept {
		if other.trigger == k.trigger {
			own++
		}
	}
	if own > keep {
		a.drop(slices.IndexFunc(a.kept, func(other kept) bool { return other.trigger == k.trigger }), api.GoneKeep)
	}
	for a.bytes > a.limit || len(a.kept) > maxPictures {
		a.drop(0, api.GoneRoom)
	}
}

func (a *album) drop(i int, reason string) {
	a.bytes -= len(a.kept[i].picture.Data)
	a.kept = slices.Delete(a.kept, i, i+1)
	a.gone[reason]++
}

// lose counts a picture that was never there.
func (a *album) lose(reason string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.gone[reason]++
}

// list returns what is there now, oldest first.
func (a *album) list() []kept {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Clone(a.kept)
}

func (a *album) stats() AlbumStats {
	a.mu.Lock()
	defer a.mu.Unlock()
	return AlbumStats{len(a.kept), a.bytes, maps.Clone(a.gone)}
}

// AlbumStats says how full the album is.
func (s *Service) AlbumStats() AlbumStats { return s.album.stats() }

// fetch answers RouteAlbum. Wall times are worked out now: the clock may have been set since.
func (s *Service) fetch(_ context.Context, options []byte) (peer.Payload, error) {
	q, err := api.Parse[api.AlbumRequest](options)
	switch {
	case err != nil:
		return peer.Payload{}, invalid(err)
	case q.Boot != "" && q.Boot != s.cfg.Boot:
		return peer.Payload{}, peer.Errorf(peer.CodeInvalid, "the agent has been restarted since that list, and its pictures are gone")
	}
	list := api.Album{Boot: s.cfg.Boot, Gone: s.album.stats().Gone}
	for _, k := range s.album.list() {
		k.picture.At = camera.WallTime(k.picture.Mono)
		switch {
		case q.Picture == k.number:
			return s.picture(k.picture, 0)
		case q.Picture == 0 && (q.Camera == "" || q.Camera == k.picture.Camera):
			list.Pictures = append(list.Pictures, api.AlbumPicture{
				Picture: k.number, Sensor: k.edge.Sensor, On: *k.edge.On, Edge: s.cfg.Board.WallTime(time.Duration(k.edge.Mono)),
				Bytes: len(k.picture.Data), Header: s.header(k.picture, 0),
			})
		}
	}
	if q.Picture != 0 {
		return peer.Payload{}, peer.Errorf(peer.CodeInvalid, "picture %d is not in the album", q.Picture)
	}
	return answer(list)
}
