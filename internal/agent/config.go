package agent

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/kelseyhightower/envconfig"

	"github.com/perchcam/perch/internal/edits"
	"github.com/perchcam/perch/pkg/api"
	"github.com/perchcam/perch/pkg/camera"
	"github.com/perchcam/perch/pkg/gpio"
	"github.com/perchcam/perch/pkg/link"
	"github.com/perchcam/perch/pkg/wire"
)

// File is where a package's user sets the variables.
const File = "/etc/default/perch-agent"

// Config is the agent's configuration: one variable PERCH_… for each field, read by Load.
//
// The tags are the one description of it. envconfig reads default and split_words; desc, unit, example and otherwise (what holds
// where there is no fixed default) are for Vars, from which the file in the package, the manual page and the tables are made. The
// tag envconfig must not be used: with it the library takes the variable without its prefix as well.
type Config struct {
	Broker      Brokers       `example:"tls://broker.example.org:7878" desc:"Where the broker is: tls://HOST:PORT, tcp://…, wss://… or ws://…; several with commas, in the order to try them. tls:// and wss:// go through the proxy that HTTPS_PROXY names, but for hosts in NO_PROXY. Needed."`
	BrokerPin   link.Pin      `split_words:"true" example:"sha256:47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU" desc:"The broker's key, as perch-broker prints it. Then neither names nor dates in its certificate count, nor who signed it."`
	TokenFile   string        `split_words:"true" example:"/etc/perch/token" desc:"The file with the token that admits this device. Others must not be able to read it."`
	TLSCa       string        `split_words:"true" example:"/etc/perch/ca.pem" desc:"The file with the certificates that the broker's must be signed by, in place of the system's."`
	TLSCert     string        `split_words:"true" example:"/etc/perch/cert.pem" desc:"The file with the certificate that this device shows, where the broker asks for one."`
	TLSKey      string        `split_words:"true" example:"/etc/perch/key.pem" desc:"The file with its key. Others must not be able to read it."`
	Insecure    Switch        `default:"0" example:"1" desc:"1 lets the token travel over tcp:// and ws:// to other machines, where anyone on the way can read it."`
	Device      string        `otherwise:"the host name" example:"hen-house" desc:"The name this Pi answers to: a-z, 0-9, dot, underscore and hyphen, at most 63 of them. A host name that images come with (raspberrypi) gets a part of the machine's id."`
	Cameras     Cameras       `default:"auto" example:"yard=v4l2:/dev/video0,width=1280,height=720;test=pattern" desc:"Its cameras, as NAME=KIND:ADDRESS,KEY=VALUE,…;… with KIND one of v4l2, rpicam, replay, pattern. auto is every camera that is found."`
	Sensors     gpio.Sensors  `example:"door=gpio:GPIO17,pull=up,active=low,debounce=50ms,class=door;air=iio:bme280,every=30s" desc:"Its sensors, as NAME=KIND:ADDRESS,KEY=VALUE,…;… with KIND gpio for what is wired to a pin, or iio, hwmon, w1, thermal, or a chip on I2C."`
	Outputs     gpio.Outputs  `example:"ir=gpio:GPIO22,initial=off,max_on=60s" desc:"Its outputs, as NAME=gpio:LINE,KEY=VALUE,…;…"`
	Triggers    gpio.Triggers `example:"on=door:rise do=snapshot:yard,keep=5" desc:"What it does by itself, with or without a link, as on=SENSOR:EDGE do=snapshot:CAMERA,KEY=VALUE,…;… with EDGE rise, fall or change. keep=N is how many pictures are kept, 5 by default, and pause=TIME the least time between two, 1s by default. perch album lists and fetches them."`
	Album       Size          `default:"8MiB" unit:"bytes, or KiB, MiB" example:"16MiB" desc:"How much memory the pictures of all triggers may take together; the oldest leave first."`
	Tags        Tags          `example:"site=farm,row=3" desc:"What a laptop may select it by, as KEY=VALUE,…"`
	LogLevel    Level         `split_words:"true" default:"info" example:"debug" desc:"What is logged: debug, info, warn or error."`
	Resume      link.Resume   `default:"auto" example:"off" desc:"Whether a session outlives its links: auto, which does without where a broker refuses it; require; or off."`
	Retain      Size          `default:"16MiB" unit:"bytes, or KiB, MiB, GiB; 4M and 4MB are 4MiB" example:"4MiB" desc:"How much that was sent and not yet acknowledged is kept for a resumption, at most."`
	SessionTime Span          `split_words:"true" default:"2m" unit:"time: 90s, 2m" example:"10m" desc:"How long a session may be without a link before it is given up."`
	Dialect     wire.Dialect  `default:"rsocket-broker" example:"plain" desc:"What the broker speaks: rsocket-broker, alibaba or plain. Perch's own understands all three."`
}

const prefix = "PERCH"

// Load reads the environment. An empty variable counts as one that is not set, and is removed. The error lists everything that is
// wrong, each line with its variable's name.
func Load() (Config, error) {
	var cfg Config
	vars := Vars()
	errs := unknown(vars)
	unread := map[string]bool{}
	fields := reflect.ValueOf(&cfg).Elem()
	for i, v := range vars {
		if err := load(fields.Field(i), fields.Type().Field(i)); err != nil {
			unread[v.Name] = true
			errs = append(errs, of(v.Name, err))
		}
	}
	for _, m := range cfg.check() {
		if !unread[m.name] {
			errs = append(errs, of(m.name, m.err))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return Config{}, err
	}
	return cfg, nil
}

// of puts a variable's name before every line of what is wrong with it.
func of(name string, err error) error {
	var errs []error
	for line := range strings.SplitSeq(err.Error(), "\n") {
		errs = append(errs, fmt.Errorf("%s: %s", name, line))
	}
	return errors.Join(errs...)
}

// load reads one field. envconfig stops at the first value it cannot read, so it is given one field at a time.
func load(field reflect.Value, f reflect.StructField) error {
	one := reflect.New(reflect.StructOf([]reflect.StructField{{Name: f.Name, Type: f.Type, Tag: f.Tag}}))
	err := envconfig.Process(prefix, one.Interface())
	field.Set(one.Elem().Field(0))
	if e, ok := errors.AsType[*envconfig.ParseError](err); ok {
		return e.Err
	}
	return err
}

// unknown removes empty variables, and complains about those that nobody reads: most are typing errors.
func unknown(vars []Var) (errs []error) {
	known := map[string]bool{}
	for _, v := range vars {
		known[v.Name] = true
	}
	env := os.Environ()
	slices.Sort(env)
	for _, line := range env {
		name, value, _ := strings.Cut(line, "=")
		switch {
		case !strings.HasPrefix(name, prefix+"_"):
		case value == "":
			_ = os.Unsetenv(name)
		case !known[name]:
			errs = append(errs, fmt.Errorf("%s: there is no such variable%s", api.Text(name), like(name, known)))
		}
	}
	return errs
}

// like proposes the variable that was meant.
func like(name string, known map[string]bool) string {
	best, distance := "", 4
	for other := range known {
		if d := edits.Between(name, other); d < distance || d == distance && other < best {
			best, distance = other, d
		}
	}
	if best == "" {
		return "; perch-agent --help lists them"
	}
	return "; is it " + best + "?"
}

// Check says what is wrong with the configuration, all of it, each line with its variable's name.
func (c Config) Check() error {
	var errs []error
	for _, m := range c.check() {
		errs = append(errs, of(m.name, m.err))
	}
	return errors.Join(errs...)
}

type mistake struct {
	name string // of the variable
	err  error
}

func (c Config) check() (list []mistake) {
	wrong := func(name string, err error) {
		if err != nil {
			list = append(list, mistake{prefix + "_" + name, err})
		}
	}
	if len(c.Broker) == 0 {
		wrong("BROKER", fmt.Errorf("it is not set: put the broker's address into %s, such as %s_BROKER=tls://broker.example.org:7878, then run: systemctl restart perch-agent", File, prefix))
	}
	if c.TokenFile != "" && !c.Insecure {
		for _, u := range c.Broker {
			if !u.Secure() && !u.Loopback() {
				wrong("BROKER", fmt.Errorf("the token would travel to %s for anyone on the way to read: take tls:// or wss://, or set %s_INSECURE=1", u, prefix))
			}
		}
	}
	if c.TokenFile != "" && !filepath.IsAbs(c.TokenFile) {
		wrong("TOKEN_FILE", errors.New("it is the name of a file, from / on; the token itself belongs into that file, because settings are shown"))
	}
	if (c.TLSCert == "") != (c.TLSKey == "") {
		wrong("TLS_CERT", fmt.Errorf("a certificate needs its key, and a key its certificate: set %s_TLS_CERT and %s_TLS_KEY", prefix, prefix))
	}
	if c.BrokerPin != "" && c.TLSCa != "" {
		wrong("BROKER_PIN", fmt.Errorf("with a pin nobody's signature counts: unset %s_TLS_CA or the pin", prefix))
	}
	if c.Device != "" {
		wrong("DEVICE", api.CheckName("device", c.Device))
	}
	wrong("TRIGGERS", c.checkTriggers())
	wrong("ALBUM", bounds(int64(c.Album), 64<<10, 64<<20, func(n int64) string { return Size(n).String() }))
	wrong("RETAIN", bounds(int64(c.Retain), 64<<10, 1<<30, func(n int64) string { return Size(n).String() }))
	wrong("SESSION_TIME", bounds(int64(c.SessionTime), int64(time.Second), int64(24*time.Hour), func(n int64) string { return time.Duration(n).String() }))
	return list
}

// checkTriggers looks for what the triggers name. Cameras that are searched for may have any name.
func (c Config) checkTriggers() error {
	errs := []error{gpio.CheckTriggers(c.Triggers, c.Sensors)}
	auto := slices.ContainsFunc(c.Cameras, func(s camera.Spec) bool { return s.Kind == camera.KindAuto })
	for i, t := range c.Triggers {
		if !auto && !slices.ContainsFunc(c.Cameras, func(s camera.Spec) bool { return s.Name == t.Target }) {
			errs = append(errs, fmt.Errorf("trigger %d: no camera is named %q", i+1, t.Target))
		}
	}
	return errors.Join(errs...)
}

func bounds(n, low, top int64, text func(int64) string) error {
	if n < low || n > top {
		return fmt.Errorf("%s is out of bounds: it may be %s to %s", text(n), text(low), text(top))
	}
	return nil
}

// Var is one variable.
type Var struct {
	Name    string // with its prefix
	Default string // "" where there is none
	Unit    string // "" where it has none
	Example string
	Desc    string
}

// Vars lists the variables in the order of Config.
func Vars() []Var {
	t := reflect.TypeFor[Config]()
	vars := make([]Var, 0, t.NumField())
	for f := range t.Fields() {
		v := Var{
			Name: prefix + "_" + upper(f.Name), Default: f.Tag.Get("default"),
			Unit: f.Tag.Get("unit"), Example: f.Tag.Get("example"), Desc: f.Tag.Get("desc"),
		}
		if v.Default == "" {
			v.Default = f.Tag.Get("otherwise")
		}
		vars = append(vars, v)
	}
	return vars
}

// upper makes SESSION_TIME of SessionTime and TLS_KEY of TLSKey, as envconfig's split_words does.
func upper(name string) string {
	capital := func(i int) bool { return i < len(name) && 'A' <= name[i] && name[i] <= 'Z' }
	var b strings.Builder
	for i := range len(name) {
		if i > 0 && capital(i) && (!capital(i-1) || i+1 < len(name) && !capital(i+1)) {
			b.WriteByte('_')
		}
		b.WriteByte(name[i])
	}
	return strings.ToUpper(b.String())
}

// Brokers is a list of addresses.
type Brokers []link.URL

// Decode implements envconfig.Decoder.
func (b *Brokers) Decode(s string) (err error) {
	*b, err = link.ParseURLs(s)
	return err
}

// Cameras is a list of cameras.
type Cameras []camera.Spec

// Decode implements envconfig.Decoder.
func (c *Cameras) Decode(s string) (err error) {
	*c, err = camera.ParseSpecs(s)
	return err
}

// Tags is what a device may be selected by.
type Tags []wire.Tag

// Decode implements envconfig.Decoder.
func (t *Tags) Decode(s string) error {
	var errs []error
	for part := range strings.SplitSeq(s, ",") {
		if part = strings.TrimSpace(part); part == "" {
			continue
		}
		key, value, _ := strings.Cut(part, "=")
		tag := wire.Tag{Key: strings.TrimSpace(key), Value: strings.TrimSpace(value)}
		if err := t.check(tag); err != nil {
			errs = append(errs, err)
			continue
		}
		*t = append(*t, tag)
	}
	return errors.Join(errs...)
}

func (t *Tags) check(tag wire.Tag) error {
	switch tag.Key {
	case wire.KeyDevice, "service", wire.ParamWait, wire.ParamShare, "sticky", "e", "m":
		return fmt.Errorf("the tag %s has a meaning of its own; take another key", tag.Key)
	}
	if strings.HasPrefix(tag.Key, "io.rsocket.broker.") {
		return fmt.Errorf("the tag %s is the broker's own; take another key", tag.Key)
	}
	if _, err := wire.MakeTags(tag); err != nil {
		return fmt.Errorf("%q is no tag, write KEY=VALUE, each of 1 to 127 bytes: %w", tag.Key+"="+tag.Value, err)
	}
	if slices.ContainsFunc(*t, func(other wire.Tag) bool { return other.Key == tag.Key }) {
		return fmt.Errorf("the tag %s is given twice", tag.Key)
	}
	return nil
}

// Switch is 1 or 0.
type Switch bool

// Decode implements envconfig.Decoder.
func (b *Switch) Decode(s string) error {
	if s != "0" && s != "1" {
		return fmt.Errorf("%q is neither 1 nor 0", s)
	}
	*b = s == "1"
	return nil
}

// Level is what is logged.
type Level slog.Level

// Decode implements envconfig.Decoder.
func (l *Level) Decode(s string) error {
	if err := (*slog.Level)(l).UnmarshalText([]byte(s)); err != nil {
		return fmt.Errorf("%q is not one of debug, info, warn, error", s)
	}
	return nil
}

// Size is a number of bytes.
type Size int64

// Decode implements envconfig.Decoder.
func (z *Size) Decode(s string) error {
	digits := strings.TrimRight(s, "BIKMGbikmg ")
	unit := strings.TrimSuffix(strings.ToLower(strings.TrimSpace(s[len(digits):])), "b")
	shift, ok := map[string]uint{"": 0, "k": 10, "ki": 10, "m": 20, "mi": 20, "g": 30, "gi": 30}[unit]
	n, err := strconv.ParseInt(digits, 10, 33)
	if err != nil || !ok || n < 0 {
		return fmt.Errorf("%q is no size: write a number of bytes, or one such as 512KiB or 16MiB", s)
	}
	*z = Size(n << shift)
	return nil
}

// String writes it as Decode reads it.
func (z Size) String() string {
	for i, unit := range []string{"GiB", "MiB", "KiB"} {
		if shift := 30 - 10*i; z > 0 && z&(1<<shift-1) == 0 {
			return strconv.FormatInt(int64(z>>shift), 10) + unit
		}
	}
	return strconv.FormatInt(int64(z), 10)
}

// Span is a time.
type Span time.Duration

// Decode implements envconfig.Decoder.
func (d *Span) Decode(s string) error {
	v, err := time.ParseDuration(s)
	if err != nil {
		return fmt.Errorf("%q is no time: write one such as 90s, 2m or 1h30m", s)
	}
	*d = Span(v)
	return nil
}
