package client

import (
	"context"

	"github.com/perchcam/perch/pkg/api"
)

// Album lists the pictures that the device's triggers took and that it still has. camera "" is all cameras.
func (c *Client) Album(ctx context.Context, device, camera string) (api.Album, error) {
	return answer[api.Album](ctx, c, question{
		route: api.RouteAlbum, device: device, what: "the album", data: api.AlbumRequest{Camera: camera},
	})
}

// AlbumPicture returns one picture of an album, by the number that it has there. The device may have thrown it away meanwhile, or been
// restarted: then the error is an ErrInvalid.
func (c *Client) AlbumPicture(ctx context.Context, device string, of api.Album, number uint64) (Picture, error) {
	p, n, err := c.ask(ctx, question{
		route: api.RouteAlbum, device: device, what: "the picture", data: api.AlbumRequest{Picture: number, Boot: of.Boot},
	})
	if err != nil {
		return Picture{}, err
	}
	return c.picture(ctx, n, device, p, false)
}
