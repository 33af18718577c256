package agent

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/perchcam/perch/pkg/camera"
	"github.com/perchcam/perch/pkg/camera/cameratest"
	"github.com/perchcam/perch/pkg/gpio"
	"github.com/perchcam/perch/pkg/gpio/gpiotest"
	"github.com/perchcam/perch/pkg/gpio/sense"
	"github.com/perchcam/perch/pkg/link"
	"github.com/perchcam/perch/pkg/session"
)

// healthy is a doctor on a machine where all is well, but that no broker is there.
func healthy() *Doctor {
	devices := gpiotest.NewDevices()
	devices.Measure("air", gpio.Value{Quantity: "temperature", Value: 20.04, Unit: "Cel"})
	return &Doctor{
		Lines: gpiotest.NewLines(), Devices: devices,
		root: fstest.MapFS{
			"etc/machine-id": {Data: []byte("0123456789abcdef0123456789abcdef\n")},
			"sys/devices/platform/soc/soc:firmware/get_throttled": {Data: []byte("0x0\n")},
			"sys/class/net/lo/mtu":                                {},
			"sys/class/net/wlan0/wireless/x":                      {},
		},
		host:    "nest",
		run:     func(context.Context, string, ...string) (string, error) { return "", errors.New("there is no systemd") },
		expand:  func(_ context.Context, specs []camera.Spec) []camera.Spec { return specs },
		open:    func(camera.Spec) (camera.Source, error) { return &cameratest.Source{}, nil },
		resolve: func(context.Context, string) ([]string, error) { return []string{"192.0.2.1"}, nil },
		dial: func(*link.Dialer) dialFunc {
			return func(_ context.Context, u link.URL) (net.Conn, error) {
				return nil, fmt.Errorf("cannot connect to %s: nobody there", u)
			}
		},
		synced: func() bool { return true },
		disk:   func() (int64, bool, error) { return 1 << 30, false, nil },
		saving: func(string) (bool, bool) { return false, true },
		groups: func(string) ([]string, error) { return []string{"video", "gpio", "i2c"}, nil },
		why:    func() []string { return nil },
		holder: func(string) string { return "" },
		proxy:  func(*http.Request) (*url.URL, error) { return nil, nil },
	}
}

func sample(t *testing.T) Config {
	t.Helper()
	setenv(t, map[string]string{
		"PERCH_BROKER": "tcp://192.0.2.1:1", "PERCH_CAMERAS": "yard=pattern", "PERCH_OUTPUTS": "ir=gpio:GPIO22",
		"PERCH_SENSORS": "door=gpio:GPIO17;air=iio:bme280",
	})
	c, err := Load()
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// Each case breaks one thing, and only what is said about it changes.
func TestCheckFindsWhatIsWrong(t *testing.T) {
	broken := func(err error) func(camera.Spec) (camera.Source, error) {
		return func(camera.Spec) (camera.Source, error) {
			s := &cameratest.Source{}
			s.Break(err)
			return s, nil
		}
	}
	refusing := func(err error) func(*link.Dialer) dialFunc {
		return func(*link.Dialer) dialFunc {
			return func(context.Context, link.URL) (net.Conn, error) { return nil, err }
		}
	}
	file := func(name, text string) func(*Doctor, *Config) {
		return func(d *Doctor, _ *Config) { d.root.(fstest.MapFS)[name] = &fstest.MapFile{Data: []byte(text)} }
	}
	const throttledFile = "sys/devices/platform/soc/soc:firmware/get_throttled"
	cases := []struct {
		name                string
		change              func(*Doctor, *Config)
		status, about, text string
		next                string
	}{
		{"nothing", func(*Doctor, *Config) {}, Fail, "broker", "nobody there", "does a broker listen there, and not on its own loopback only?"},
		{"no machine id", func(d *Doctor, _ *Config) { delete(d.root.(fstest.MapFS), "etc/machine-id") }, Warn, "device", "no machine id", "systemd-machine-id-setup"},
		{"no token", func(_ *Doctor, c *Config) { c.TokenFile = "/absent" }, Fail, "settings", "/absent: no such file", "edit " + File},
		{"no clock", func(d *Doctor, _ *Config) { d.synced = func() bool { return false } }, Warn, "clock", "set by no time source", "timedatectl"},
		{"a clock in the past", func(d *Doctor, _ *Config) {
			d.synced = func() bool { return false }
			d.root.(fstest.MapFS)[clockFile] = &fstest.MapFile{ModTime: time.Now().Add(time.Hour)}
		}, Warn, "clock", "in the past: certificates are judged by", "timedatectl"},
		{"under-voltage of a Pi 5", func(d *Doctor, c *Config) {
			delete(d.root.(fstest.MapFS), throttledFile)
			file("sys/devices/platform/soc@107c000000/soc@107c000000:firmware/get_throttled", "0x1\n")(d, c)
		}, Fail, "power", "under-voltage, now", "power supply"},
		{"under-voltage", file(throttledFile, "0x50005\n"), Fail, "power", "under-voltage, throttled, now", "power supply"},
		{"throttled once", file(throttledFile, "0x40000\n"), Warn, "power", "throttled, since the start but not now", "power supply"},
		{"power saving", func(d *Doctor, _ *Config) { d.saving = func(string) (bool, bool) { return true, true } }, Warn, "wifi wlan0", "power saving is on", "power_save off"},
		{"power saving not known", func(d *Doctor, _ *Config) { d.saving = func(string) (bool, bool) { return false, false } }, Warn, "wifi wlan0", "cannot be told", "iw dev wlan0"},
		{"disk full", func(d *Doctor, _ *Config) { d.disk = func() (int64, bool, error) { return 7 << 20, false, nil } }, Warn, "disk", "7 MiB are free", "make room"},
		{"read-only", func(d *Doctor, _ *Config) { d.disk = func() (int64, bool, error) { return 0, true, nil } }, OK, "disk", "read-only, which is fine", ""},
		{"not in a group", func(d *Doctor, _ *Config) {
			d.groups = func(string) ([]string, error) { return []string{"video"}, nil }
		}, Fail, "groups", "perch is not in the group gpio", "usermod -aG gpio perch"},
		{"no camera", func(_ *Doctor, c *Config) { c.Cameras = nil }, Warn, "cameras", "none is found", "plugged in"},
		{"a ribbon camera without its program", func(d *Doctor, c *Config) {
			c.Cameras = nil
			d.why = func() []string {
				return []string{"cannot use /dev/video0: this is the receiver of a ribbon (CSI) camera"}
			}
		}, Warn, "cameras", "/dev/video0: this is the receiver of a ribbon (CSI) camera", "install rpicam-apps"},
		{"a node that is no camera", func(d *Doctor, _ *Config) {
			d.open = broken(fmt.Errorf("this is the receiver of a ribbon camera: use kind rpicam: %w", camera.ErrUnsupported))
		}, Fail, "camera yard", "use kind rpicam", "PERCH_CAMERAS=auto"},
		{"a camera that somebody has", func(d *Doctor, c *Config) {
			c.Cameras[0].Kind = camera.KindV4L2
			d.holder = func(string) string { return "ffmpeg, process 812" }
		}, Warn, "camera yard", "ffmpeg, process 812 has it open", "end that program"},
		{"a camera that the service has", func(d *Doctor, c *Config) {
			c.Cameras[0].Kind = camera.KindV4L2
			d.holder = func(string) string { return "perch-agent, process 812" }
		}, OK, "camera yard", "", ""},
		{"a camera that is wrong", func(d *Doctor, _ *Config) {
			d.open = func(camera.Spec) (camera.Source, error) { return nil, errors.New("no such key") }
		}, Fail, "camera yard", "no such key", "PERCH_CAMERAS"},
		{"a camera that is absent", func(d *Doctor, _ *Config) { d.open = broken(fmt.Errorf("cannot open x: %w", camera.ErrAbsent)) }, Fail, "camera yard", "not there", "plugged in"},
		{"a camera that is busy", func(d *Doctor, _ *Config) { d.open = broken(fmt.Errorf("cannot open x: %w", camera.ErrBusy)) }, Warn, "camera yard", "in use by another program", "end the program"},
		{"a camera that is forbidden", func(d *Doctor, _ *Config) { d.open = broken(camera.ErrDenied) }, Fail, "camera yard", "no permission", "usermod -aG video"},
		{"a camera that smokes", func(d *Doctor, _ *Config) { d.open = broken(errors.New("it smokes")) }, Fail, "camera yard", "it smokes", ""},
		{"a line that is taken", func(d *Doctor, _ *Config) {
			d.Lines.(*gpiotest.Lines).Line("GPIO17").Busy("somebody")
		}, Fail, "sensor door", "is in use by somebody", "free the line"},
		{"a line of ours", func(d *Doctor, _ *Config) { d.Lines.(*gpiotest.Lines).Line("GPIO17").Busy("perch:door") }, OK, "sensor door", "line 0 of fake", ""},
		{"a line that is missing", func(d *Doctor, _ *Config) { d.Lines.(*gpiotest.Lines).Line("GPIO22").Missing() }, Fail, "output ir", "no chip has a line GPIO22", ""},
		{"a sensor that fails", func(d *Doctor, _ *Config) {
			d.Devices.(*gpiotest.Devices).Fail("air", errors.New("no answer"))
		}, Fail, "sensor air", "no answer", ""},
		{"a sensor whose driver is not loaded", func(d *Doctor, _ *Config) {
			d.Devices.(*gpiotest.Devices).Fail("air", hinted{})
		}, Fail, "sensor air", "there is no iio device", "dtoverlay=i2c-sensor,bme280"},
		{"a sensor that is not there", func(d *Doctor, _ *Config) { d.Devices = sense.Devices{Sys: "/absent"} }, Fail, "sensor air", `there is no iio device "bme280"`, "dtoverlay=i2c-sensor,bme280"},
		{"no name", func(d *Doctor, _ *Config) {
			d.resolve = func(context.Context, string) ([]string, error) { return nil, errors.New("no such host") }
		}, Fail, "broker", "no such host", "getent hosts"},
		{"a name of mDNS", func(d *Doctor, c *Config) {
			c.Broker[0].Host = "broker.local"
			d.resolve = func(context.Context, string) ([]string, error) { return nil, errors.New("no such host") }
		}, Fail, "broker", "no such host", "avahi-daemon"},
		{"a proxy that is no address", func(d *Doctor, c *Config) {
			c.Broker[0].Scheme = link.TLS
			d.proxy = func(*http.Request) (*url.URL, error) { return nil, errors.New("invalid proxy address") }
		}, Fail, "broker", "invalid proxy address", "HTTPS_PROXY"},
		{"a proxy that does not let through", func(d *Doctor, c *Config) {
			c.Broker[0].Scheme = link.TLS
			d.proxy = func(*http.Request) (*url.URL, error) { return url.Parse("http://ann:s3cret@proxy:3128") }
			d.resolve = func(context.Context, string) ([]string, error) { return nil, errors.New("only the proxy knows names") }
			d.dial = refusing(fmt.Errorf("%w x: it answers 403", link.ErrProxy))
		}, Fail, "broker", "it answers 403", "NO_PROXY=192.0.2.1"},
		{"the wrong key", func(d *Doctor, _ *Config) { d.dial = refusing(link.ErrPin) }, Fail, "broker", "not the pinned one", "PERCH_BROKER_PIN"},
		{"a firewall of this machine", func(d *Doctor, _ *Config) { d.dial = refusing(fs.ErrPermission) }, Fail, "broker", "permission denied", "firewall"},
		{"a service that is not connected", func(d *Doctor, _ *Config) {
			d.run = func(context.Context, string, ...string) (string, error) {
				return "ActiveState=active\nStatusText=offline, tcp://b: refused", nil
			}
		}, Fail, "service", "it runs and is not connected: offline, tcp://b: refused", "journalctl"},
		{"a service that is connected", func(d *Doctor, _ *Config) {
			d.run = func(context.Context, string, ...string) (string, error) {
				return "StatusText=online, tcp://b\nActiveState=active", nil
			}
		}, OK, "service", "it runs: online, tcp://b", ""},
	}
	usual := map[string]bool{}
	for i, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			d, cfg := healthy(), sample(t)
			c.change(d, &cfg)
			found := false
			for _, f := range d.Check(t.Context(), cfg, nil) {
				key := fmt.Sprint(f.Status, f.About)
				if i == 0 {
					usual[key] = true
				}
				if f.Status == c.status && f.About == c.about && strings.Contains(f.Text, c.text) && strings.Contains(f.Next, c.next) {
					found = true
				} else if f.Status != OK && !usual[key] {
					t.Errorf("also: %+v", f)
				}
				if f.Status == Fail && f.Next == "" && c.next != "" && f.About == c.about {
					t.Errorf("no advice: %+v", f)
				}
			}
			if !found {
				t.Errorf("it does not say %s %s %q → %q:\n%+v", c.status, c.about, c.text, c.next, d.Check(t.Context(), cfg, nil))
			}
		})
	}
}

type hinted struct{}

func (hinted) Error() string { return "there is no iio device" }
func (hinted) Hint() string {
	return "add the line dtoverlay=i2c-sensor,bme280 to /boot/firmware/config.txt"
}

func TestCheckOfFilesThatOnlyRootMayRead(t *testing.T) {
	if f := unread("settings", "edit", fmt.Errorf("open x: %w", fs.ErrPermission)); f.Status != Warn || !strings.Contains(f.Next, "sudo perch-agent check") {
		t.Errorf("%+v", f)
	}
}

// Whoever answers is no broker.
func TestCheckOfAStranger(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			nc, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = nc.Write([]byte("SSH-2.0-OpenSSH_9.2\r\n"))
			nc.Close()
		}
	}()
	cfg := sample(t)
	if cfg.Broker, err = link.ParseURLs("tcp://" + l.Addr().String()); err != nil {
		t.Fatal(err)
	}
	d := healthy()
	d.resolve, d.dial = resolve, func(l *link.Dialer) dialFunc { return l.Dial }
	var out bytes.Buffer
	Print(&out, d.Check(t.Context(), cfg, nil))
	if s := out.String(); !strings.Contains(s, "it does not answer: ") || !strings.Contains(s, "→ is it a broker that listens there?") {
		t.Errorf("it says\n%s", s)
	}
}

func TestCheckOfWrongSettings(t *testing.T) {
	list := healthy().Check(t.Context(), Config{}, errors.New("PERCH_A: x\nPERCH_B: y"))
	n := 0
	for _, f := range list {
		if f.About == "settings" && f.Status == Fail && strings.HasPrefix(f.Text, "PERCH_") {
			n++
		}
	}
	if n != 2 || !Failed(list) {
		t.Errorf("%+v", list)
	}
}

// The whole way to a broker that is there, as the device itself; and not a second time while the service runs.
func TestCheckOfABroker(t *testing.T) {
	b := newBroker(t)
	cfg := sample(t)
	var err error
	if cfg.Broker, err = link.ParseURLs(b.addr); err != nil {
		t.Fatal(err)
	}
	d := healthy()
	d.resolve, d.dial = resolve, func(l *link.Dialer) dialFunc { return l.Dial }
	text := func() string {
		var out bytes.Buffer
		Print(&out, d.Check(t.Context(), cfg, nil))
		return out.String()
	}
	if s := text(); !strings.Contains(s, "it takes this device as nest, in the dialect rsocket-broker") || strings.Contains(s, Fail) {
		t.Errorf("it says\n%s", s)
	}
	c := within(t, b.sessions, "a session")
	if ad := advertOf(t, c.Setup().Metadata); ad.Device != "nest" {
		t.Errorf("it came as %s", ad.Device)
	}
	if e, ok := errors.AsType[*session.Error](within(t, b.ended, "its end")); !ok || e.Text != "goodbye" {
		t.Errorf("it left with %v", e)
	}
	d.run = func(context.Context, string, ...string) (string, error) {
		return "ActiveState=active\nStatusText=online, x", nil
	}
	if s := text(); strings.Contains(s, "takes this device") || strings.Contains(s, Fail) {
		t.Errorf("it says\n%s", s)
	}
	if len(b.sessions) != 0 {
		t.Error("it connected a second time beside the service")
	}
}

// The settings that hold are said, a password never, and a remedy once.
func TestCheckOfSettings(t *testing.T) {
	d, cfg := healthy(), sample(t)
	setenv(t, map[string]string{"PERCH_BROKER": "tcp://192.0.2.1:1", "HTTPS_PROXY": "http://ann:s3cret@proxy:3128"})
	var out bytes.Buffer
	Print(&out, d.Check(t.Context(), cfg, nil))
	for _, want := range []string{"PERCH_BROKER=tcp://192.0.2.1:1\n", "HTTPS_PROXY=http://ann:xxxxx@proxy:3128\n", "else as usual: INSECURE 0, DEVICE the host name, CAMERAS auto,"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("it does not say %q:\n%s", want, out.String())
		}
	}
	out.Reset()
	setenv(t, nil)
	_, err := Load()
	Print(&out, healthy().Check(t.Context(), Config{}, err))
	if n := strings.Count(out.String(), "systemctl restart perch-agent"); n != 1 {
		t.Errorf("what to do is said %d times:\n%s", n, out.String())
	}
}

func TestPrint(t *testing.T) {
	list := []Finding{fine("disk", "room\nenough"), warn("clock", "set it", "late"), fail("broker", "", "gone")}
	var out bytes.Buffer
	Print(&out, list)
	want := "ok    disk             room\n                       enough\nwarn  clock            late\n                       → set it\nfail  broker           gone\n"
	if out.String() != want {
		t.Errorf("got\n%swant\n%s", out.String(), want)
	}
	out.Reset()
	if err := PrintJSON(&out, list); err != nil {
		t.Fatal(err)
	}
	var got struct {
		OK       bool
		Findings []Finding
	}
	if err := json.Unmarshal(out.Bytes(), &got); err != nil || got.OK || len(got.Findings) != 3 || got.Findings[1] != list[1] {
		t.Errorf("%s, %v", out.String(), err)
	}
}

func TestLoadFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "default")
	text := "# a comment\n\n;PERCH_A=no\nPERCH_A=plain text \nPERCH_B=\"in quotes; #1\"\nPERCH_C='x'\nPERCH_D=file\nno assignment\n"
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	setenv(t, map[string]string{"PERCH_D": "environment"})
	for _, name := range []string{"PERCH_A", "PERCH_B", "PERCH_C"} {
		t.Setenv(name, "") // restored when the test ends
		os.Unsetenv(name)
	}
	if err := LoadFile(path); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"PERCH_A": "plain text", "PERCH_B": "in quotes; #1", "PERCH_C": "x", "PERCH_D": "environment"} {
		if got := os.Getenv(name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	if err := LoadFile("/absent"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a file that is not there: %v", err)
	}
}
