//go:build linux && cgo

package v4l2

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Found is a camera that Discover found.
type Found struct {
	Name    string // made of its stable link, so it is the same after a reboot and in another socket
	Address string // the stable link, or the node itself if there is none
	Node    string // /dev/videoN now
	Card    string // what it calls itself
}

// links are the stable names of nodes: node → path below by-id or by-path.
type links struct{ byID, byPath map[string]string }

// readLinks reads udev's links below dir, /dev/v4l.
func readLinks(dir string) links {
	read := func(sub string) map[string]string {
		found := make(map[string]string)
		entries, _ := os.ReadDir(filepath.Join(dir, sub)) // no udev, no links
		for _, e := range entries {
			link := filepath.Join(dir, sub, e.Name())
			node, err := filepath.EvalSymlinks(link)
			if err != nil {
				continue
			}
			// Of several links to one node (…-usbv2-… besides …-usb-…) the first in order stays.
			if _, ok := found[node]; !ok {
				found[node] = link
			}
		}
		return found
	}
	return links{byID: read("by-id"), byPath: read("by-path")}
}

// name gives each camera its stable address and name. Two cameras of a make
// without serial numbers share one by-id link, which points at whichever came
// last; such are told apart by the socket they are plugged into.
func name(cams []Found, l links) []Found {
	cards := make(map[string]int)
	for _, c := range cams {
		cards[c.Card]++
	}
	cams = slices.Clone(cams)
	taken := make(map[string]int)
	for i := range cams {
		c := &cams[i]
		c.Address = c.Node
		if p := l.byPath[c.Node]; p != "" {
			c.Address = p
		}
		if p := l.byID[c.Node]; p != "" && cards[c.Card] == 1 {
			c.Address = p
		}
		c.Name = plain(filepath.Base(c.Address))
		taken[c.Name]++
		if n := taken[c.Name]; n > 1 {
			c.Name = plain(c.Name + "-" + filepath.Base(c.Node))
		}
	}
	return cams
}

// plain makes of a link's name one that a camera may have:
// usb-046d_HD_Webcam_C525_A1B2-video-index0 becomes hd-webcam-c525-a1b2.
func plain(s string) string {
	s = strings.TrimSuffix(strings.ToLower(s), "-video-index0")
	s = strings.TrimPrefix(s, "usb-")
	if vendor, rest, ok := strings.Cut(s, "_"); ok && len(vendor) == 4 && strings.Trim(vendor, "0123456789abcdef") == "" {
		s = rest // the vendor's number
	}
	s = strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= '0' && r <= '9', r == '.', r == '-':
			return r
		}
		return '-'
	}, s)
	s = strings.Trim(s, "-.")
	if len(s) > 63 {
		s = strings.Trim(s[len(s)-63:], "-.") // the end tells cameras apart: serial number, socket
	}
	if s == "" {
		return "camera"
	}
	return s
}
