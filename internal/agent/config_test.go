package agent

import (
	"log/slog"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/perchcam/perch/pkg/camera"
	"github.com/perchcam/perch/pkg/link"
	"github.com/perchcam/perch/pkg/wire"
)

// setenv makes env the only variables with our prefix.
func setenv(t *testing.T, env map[string]string) {
	t.Helper()
	for _, line := range os.Environ() {
		if name, _, _ := strings.Cut(line, "="); strings.HasPrefix(name, prefix+"_") {
			t.Setenv(name, "") // restored when the test ends
			os.Unsetenv(name)
		}
	}
	for name, value := range env {
		t.Setenv(name, value)
	}
}

func TestLoadDefaults(t *testing.T) {
	setenv(t, map[string]string{"PERCH_BROKER": "tcp://b", "PERCH_DEVICE": "", "PERCH_LOG_LEVEL": ""})
	// envconfig would take these without the prefix, if the fields had its own tag.
	for _, name := range []string{"BROKER", "DEVICE", "TAGS", "CAMERAS"} {
		t.Setenv(name, "tcp://stranger")
	}
	got, err := Load()
	if err != nil {
		t.Fatal(err)
	}
	want := Config{
		Broker:  Brokers{{Scheme: link.TCP, Host: "b", Port: 7878}},
		Cameras: Cameras{{Kind: camera.KindAuto}},
		Album:   8 << 20,
		Retain:  16 << 20, SessionTime: Span(2 * time.Minute),
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

func TestLoadEverything(t *testing.T) {
	setenv(t, map[string]string{
		"PERCH_BROKER": "tls://a:1,wss://b/x", "PERCH_DEVICE": "hen-house", "PERCH_CAMERAS": "yard=v4l2:/dev/video0,fps=5;test=pattern",
		"PERCH_TAGS": "site=farm, row=3", "PERCH_LOG_LEVEL": "WARN", "PERCH_RESUME": "require", "PERCH_RETAIN": "512KiB",
		"PERCH_SESSION_TIME": "10m", "PERCH_DIALECT": "plain",
		"PERCH_SENSORS": "door=gpio:GPIO17", "PERCH_TRIGGERS": "on=door:rise do=snapshot:yard,keep=7;on=door:fall do=snapshot:test", "PERCH_ALBUM": "1M",
	})
	c, err := Load()
	if err != nil {
		t.Fatal(err)
	}
	if len(c.Broker) != 2 || c.Broker[1].Path != "/x" || c.Device != "hen-house" || len(c.Cameras) != 2 || c.Cameras[0].Want.FPS != 5 ||
		len(c.Tags) != 2 || c.Tags[1] != (wire.Tag{Key: "row", Value: "3"}) || slog.Level(c.LogLevel) != slog.LevelWarn ||
		len(c.Triggers) != 2 || c.Triggers[0].Keep != 7 || c.Album != 1<<20 ||
		c.Resume != link.ResumeRequire || c.Retain != 512<<10 || c.SessionTime != Span(10*time.Minute) || c.Dialect != wire.Plain {
		t.Errorf("got %+v", c)
	}
}

func TestLoadListsEveryMistake(t *testing.T) {
	setenv(t, map[string]string{
		"PERCH_BROKER": "broker.example,tcp://", "PERCH_DEVICE": "Hen House", "PERCH_CAMERAS": "a=b;c", "PERCH_TAGS": "device=x,site,a=1,a=2,io.rsocket.broker.Zone=1",
		"PERCH_LOG_LEVEL": "loud", "PERCH_RESUME": "maybe", "PERCH_RETAIN": "1 elephant", "PERCH_SESSION_TIME": "5", "PERCH_DIALECT": "esperanto",
		"PERCH_SENSORS": "door=gpio:1;air=iio:bme280", "PERCH_TRIGGERS": "on=attic:rise do=snapshot:yard;on=air:fall do=siren:x", "PERCH_ALBUM": "1G",
		"PERCH_DEVISE": "x", "PERCH_SOMETHING_ELSE": "x", "PERCH_EMPTY": "",
	})
	_, err := Load()
	if err == nil {
		t.Fatal("everything is wrong, and it is taken")
	}
	want := []string{
		"PERCH_DEVISE: there is no such variable; is it PERCH_DEVICE?",
		"PERCH_SOMETHING_ELSE: there is no such variable; perch-agent --help lists them",
		`PERCH_BROKER: "broker.example" is no address`,
		`PERCH_BROKER: "tcp://" is no address`,
		`PERCH_DEVICE: device "Hen House" is no valid name`,
		`PERCH_CAMERAS: camera a: unknown kind "b"`,
		`PERCH_CAMERAS: camera "c": write it as`,
		"PERCH_TAGS: the tag device has a meaning of its own",
		`PERCH_TAGS: "site=" is no tag`,
		"PERCH_TAGS: the tag a is given twice",
		"PERCH_TAGS: the tag io.rsocket.broker.Zone is the broker's own",
		`PERCH_LOG_LEVEL: "loud" is not one of`,
		`PERCH_RESUME: "maybe" is not one of`,
		`PERCH_RETAIN: "1 elephant" is no size`,
		`PERCH_SESSION_TIME: "5" is no time`,
		`PERCH_DIALECT: unknown dialect "esperanto"`,
		`PERCH_TRIGGERS: trigger "2", do: unknown action "siren"`,
		"PERCH_ALBUM: 1GiB is out of bounds: it may be 64KiB to 64MiB",
	}
	lines := strings.Split(err.Error(), "\n")
	for _, w := range want {
		found := false
		for i, line := range lines {
			if strings.HasPrefix(line, w) {
				lines = append(lines[:i], lines[i+1:]...)
				found = true
				break
			}
		}
		if !found {
			t.Errorf("missing: %s", w)
		}
	}
	if len(lines) > 0 {
		t.Errorf("not expected:\n%s", strings.Join(lines, "\n"))
	}
}

func TestLoadWithoutBrokerSaysWhatToDo(t *testing.T) {
	setenv(t, nil)
	_, err := Load()
	if err == nil || !strings.Contains(err.Error(), "PERCH_BROKER") || !strings.Contains(err.Error(), File) || !strings.Contains(err.Error(), "systemctl restart perch-agent") {
		t.Errorf("got %v", err)
	}
}

func TestWhatDoesNotGoTogether(t *testing.T) {
	cases := []struct {
		env  map[string]string
		says string // "" is no error
	}{
		{map[string]string{"PERCH_BROKER": "tcp://b", "PERCH_TOKEN_FILE": "/f"}, "PERCH_BROKER: the token would travel to tcp://b:7878"},
		{map[string]string{"PERCH_BROKER": "tls://a,ws://b", "PERCH_TOKEN_FILE": "/f"}, "PERCH_BROKER: the token would travel to ws://b:80"},
		{map[string]string{"PERCH_BROKER": "tcp://b", "PERCH_TOKEN_FILE": "/f", "PERCH_INSECURE": "1"}, ""},
		{map[string]string{"PERCH_BROKER": "tcp://127.0.0.1,wss://b", "PERCH_TOKEN_FILE": "/f"}, ""},
		{map[string]string{"PERCH_BROKER": "tls://b", "PERCH_TOKEN_FILE": "abc.DEF"}, "PERCH_TOKEN_FILE: it is the name of a file"},
		{map[string]string{"PERCH_BROKER": "tls://b", "PERCH_TLS_KEY": "k"}, "PERCH_TLS_CERT: a certificate needs its key"},
		{map[string]string{"PERCH_BROKER": "tls://b", "PERCH_TLS_CA": "k", "PERCH_BROKER_PIN": "sha256:47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU"}, "PERCH_BROKER_PIN: with a pin"},
		{map[string]string{"PERCH_BROKER": "tls://b", "PERCH_BROKER_PIN": "sha256:short"}, `PERCH_BROKER_PIN: "sha256:short" is no pin`},
		{map[string]string{"PERCH_BROKER": "tls://b", "PERCH_SENSORS": "air=iio:bme280", "PERCH_TRIGGERS": "on=door:rise do=snapshot:yard"}, `PERCH_TRIGGERS: trigger 1: no sensor is named "door"`},
		{map[string]string{"PERCH_BROKER": "tls://b", "PERCH_SENSORS": "air=iio:bme280", "PERCH_TRIGGERS": "on=air:rise do=snapshot:yard"}, `PERCH_TRIGGERS: trigger 1: the sensor "air" has no edges`},
		{map[string]string{"PERCH_BROKER": "tls://b", "PERCH_SENSORS": "door=gpio:1", "PERCH_CAMERAS": "hall=pattern", "PERCH_TRIGGERS": "on=door:rise do=snapshot:yard"}, `PERCH_TRIGGERS: trigger 1: no camera is named "yard"`},
		{map[string]string{"PERCH_BROKER": "tls://b", "PERCH_SENSORS": "door=gpio:1", "PERCH_TRIGGERS": "on=door:rise do=snapshot:yard"}, ""},
		{map[string]string{"PERCH_BROKER": "tls://b", "PERCH_INSECURE": "yes"}, `PERCH_INSECURE: "yes" is neither 1 nor 0`},
	}
	for _, c := range cases {
		setenv(t, c.env)
		_, err := Load()
		if c.says == "" && err != nil || c.says != "" && (err == nil || !strings.HasPrefix(err.Error(), c.says)) {
			t.Errorf("%v: %v, want %q", c.env, err, c.says)
		}
	}
}

func TestBounds(t *testing.T) {
	for name, values := range map[string][2]string{"PERCH_RETAIN": {"65535", "2G"}, "PERCH_SESSION_TIME": {"999ms", "25h"}} {
		for _, v := range values {
			setenv(t, map[string]string{"PERCH_BROKER": "tcp://b", name: v})
			if _, err := Load(); err == nil || !strings.HasPrefix(err.Error(), name) || !strings.Contains(err.Error(), "out of bounds") {
				t.Errorf("%s=%s: %v", name, v, err)
			}
		}
	}
}

func TestSize(t *testing.T) {
	for text, want := range map[string]Size{"0": 0, "100": 100, "64k": 64 << 10, "64 KiB": 64 << 10, "1MB": 1 << 20, "2GiB": 2 << 30} {
		var got Size
		if err := got.Decode(text); err != nil || got != want {
			t.Errorf("%q is %d, %v; want %d", text, got, err, want)
		}
		var again Size
		if err := again.Decode(got.String()); err != nil || again != got {
			t.Errorf("%d is written as %q and read as %d, %v", got, got.String(), again, err)
		}
	}
	for _, text := range []string{"", "x", "-1", "1TB", "1.5M", "99999999999", "k"} {
		var got Size
		if err := got.Decode(text); err == nil {
			t.Errorf("%q is read as %d", text, got)
		}
	}
}

// Every variable says what it is, and its example and its default are values that it takes.
func TestVars(t *testing.T) {
	for _, v := range Vars() {
		base := map[string]string{"PERCH_BROKER": "tls://b"}
		if strings.HasPrefix(v.Name, "PERCH_TLS_") {
			base["PERCH_TLS_CERT"], base["PERCH_TLS_KEY"] = "cert.pem", "key.pem"
		}
		if v.Name == "PERCH_TRIGGERS" {
			base["PERCH_SENSORS"] = "door=gpio:GPIO17"
		}
		if v.Desc == "" || v.Example == "" {
			t.Errorf("%s has no description or no example", v.Name)
		}
		for _, value := range []string{v.Example, v.Default} {
			if value == "" || value == "the host name" {
				continue
			}
			env := map[string]string{v.Name: value}
			for name, value := range base {
				if _, set := env[name]; !set {
					env[name] = value
				}
			}
			setenv(t, env)
			if _, err := Load(); err != nil {
				t.Errorf("%s=%s: %v", v.Name, value, err)
			}
		}
	}
	if _, found := reflect.TypeFor[Config]().FieldByNameFunc(func(name string) bool {
		f, _ := reflect.TypeFor[Config]().FieldByName(name)
		_, tagged := f.Tag.Lookup("envconfig")
		return tagged
	}); found {
		t.Error("a field has envconfig's own tag: the library would take its variable without the prefix too")
	}
}
