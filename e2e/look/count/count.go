// Package count counts the JPEG pictures of a stream without decoding them.
package count

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"time"
)

// Pictures reads to the end and counts the JPEG pictures.
func Pictures(r io.Reader) (n int) {
	buf := make([]byte, 256<<10)
	last := byte(0)
	for {
		k, err := r.Read(buf)
		if k > 0 {
			if last == 0xFF && buf[0] == 0xD8 {
				n++
			}
			n += bytes.Count(buf[:k], []byte{0xFF, 0xD8})
			last = buf[k-1]
		}
		if err != nil {
			return n
		}
	}
}

// URL counts the pictures of an HTTP stream in the time d.
func URL(url string, d time.Duration) (int, error) {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return 0, err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return 0, fmt.Errorf("%s: %s", url, res.Status)
	}
	n := Pictures(res.Body)
	if n == 0 {
		return 0, fmt.Errorf("%s: no picture in %v", url, d)
	}
	return n, nil
}
