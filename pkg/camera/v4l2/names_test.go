//go:build linux && cgo

package v4l2

import (
	"os"
	"path/filepath"
	"regexp"
	"testing"
)

// udev makes nodes and links below a folder: link → node.
func udev(t *testing.T, made map[string]string) (dev string) {
	t.Helper()
	dev = t.TempDir()
	for link, node := range made {
		path := filepath.Join(dev, "v4l", link)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dev, node), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(filepath.Join(dev, node), path); err != nil {
			t.Fatal(err)
		}
	}
	return dev
}

func TestNamesAreMadeOfWhatStays(t *testing.T) {
	dev := udev(t, map[string]string{
		"by-id/usb-046d_HD_Webcam_C525_A1B2C3-video-index0":              "video0",
		"by-path/platform-fd500000.pcie-usb-0:1.3:1.0-video-index0":      "video0",
		"by-id/usb-Sonix_USB_2.0_Camera-video-index0":                    "video4", // of the two without a serial number
		"by-path/platform-fd500000.pcie-usb-0:1.1:1.0-video-index0":      "video2",
		"by-path/platform-fd500000.pcie-usb-0:1.2:1.0-video-index0":      "video4",
		"by-path/platform-fd500000.pcie-usbv2-0:1.2:1.0-video-index0":    "video4",
		"by-path/platform-fd500000.pcie-usb-0:1.3:1.0-video-index1-meta": "video1",
	})
	node := func(n string) string { return filepath.Join(dev, n) }
	got := name([]Found{
		{Node: node("video0"), Card: "HD Webcam C525"},
		{Node: node("video2"), Card: "USB 2.0 Camera"},
		{Node: node("video4"), Card: "USB 2.0 Camera"},
		{Node: node("video6"), Card: "Dummy video device"},
	}, readLinks(filepath.Join(dev, "v4l")))
	want := []struct{ name, address string }{
		{"hd-webcam-c525-a1b2c3", node("v4l/by-id/usb-046d_HD_Webcam_C525_A1B2C3-video-index0")},
		{"platform-fd500000.pcie-usb-0-1.1-1.0", node("v4l/by-path/platform-fd500000.pcie-usb-0:1.1:1.0-video-index0")},
		{"platform-fd500000.pcie-usb-0-1.2-1.0", node("v4l/by-path/platform-fd500000.pcie-usb-0:1.2:1.0-video-index0")},
		{"video6", node("video6")},
	}
	for i, w := range want {
		if got[i].Name != w.name || got[i].Address != w.address {
			t.Errorf("%s: got %q at %s, want %q at %s", got[i].Node, got[i].Name, got[i].Address, w.name, w.address)
		}
	}
}

func FuzzPlainIsAName(f *testing.F) {
	f.Add("usb-046d_HD_Webcam_C525-video-index0")
	f.Add("-._:")
	valid := regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{0,62}$`)
	f.Fuzz(func(t *testing.T, s string) {
		if got := plain(s); !valid.MatchString(got) {
			t.Errorf("%q becomes %q", s, got)
		}
	})
}
