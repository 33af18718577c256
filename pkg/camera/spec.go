package camera

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Kinds of camera. Auto stands for every camera that is found.
const (
	KindV4L2    = "v4l2"
	KindRpicam  = "rpicam"
	KindPattern = "pattern"
	KindReplay  = "replay"
	KindAuto    = "auto"
)

// Spec is one camera as its owner describes it: name=kind:address,key=value,…
//
//	yard=v4l2:/dev/v4l/by-id/usb-046d_C920-video-index0,width=1280,height=720,fps=15
//	nest=rpicam:0,format=h264,hflip=1
//	test=pattern
//
// Keys of every kind: width, height, fps, format, linger. The others are the
// kind's own and are checked by it.
type Spec struct {
	Name    string // [a-z0-9][a-z0-9._-]{0,62}; empty for auto
	Kind    string
	Address string
	Want    Want
	Linger  time.Duration     // 0 is the Hub's default
	Options map[string]string // keys of the kind's own
}

// ParseSpecs reads specs separated by semicolons, PERCH_CAMERAS. "auto", alone
// or among others, is a Spec of KindAuto. The error lists everything that is
// wrong, one sentence a line.
func ParseSpecs(s string) ([]Spec, error) {
	var specs []Spec
	var errs []error
	names := make(map[string]bool)
	for part := range strings.SplitSeq(s, ";") {
		part = strings.TrimSpace(part)
		if part == "" {
			continue
		}
		spec, err := ParseSpec(part)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		if names[spec.Name] {
			errs = append(errs, fmt.Errorf("camera %s is given twice", cmpName(spec)))
			continue
		}
		names[spec.Name] = true
		specs = append(specs, spec)
	}
	if len(specs) == 0 && len(errs) == 0 {
		errs = append(errs, errors.New(`no camera is given; "auto" takes all that are found`))
	}
	return specs, errors.Join(errs...)
}

func cmpName(s Spec) string {
	if s.Kind == KindAuto {
		return KindAuto
	}
	return s.Name
}

// ParseSpec reads one spec. The error lists everything that is wrong.
func ParseSpec(s string) (Spec, error) {
	if strings.TrimSpace(s) == KindAuto {
		return Spec{Kind: KindAuto}, nil
	}
	head, rest, _ := strings.Cut(s, ",")
	name, what, ok := strings.Cut(head, "=")
	name = strings.TrimSpace(name)
	if !ok {
		return Spec{}, fmt.Errorf("camera %q: write it as name=kind:address,key=value", s)
	}
	kind, address, _ := strings.Cut(strings.TrimSpace(what), ":")
	spec := Spec{Name: name, Kind: kind, Address: address}
	var errs []error
	if !validName(name) {
		errs = append(errs, fmt.Errorf("camera %q: a name is up to 63 of a-z, 0-9, dot, underscore and hyphen, and begins with a letter or digit", name))
	}
	switch kind {
	case KindV4L2, KindReplay:
		if address == "" {
			errs = append(errs, fmt.Errorf("camera %s: kind %s needs an address, as in %s=%s:%s", name, kind, name, kind, exampleAddress(kind)))
		}
	case KindRpicam, KindPattern:
	default:
		errs = append(errs, fmt.Errorf("camera %s: unknown kind %q; known are v4l2, rpicam, pattern, replay", name, kind))
	}
	seen := make(map[string]bool)
	for pair := range strings.SplitSeq(rest, ",") {
		if pair = strings.TrimSpace(pair); pair == "" {
			continue
		}
		key, value, ok := strings.Cut(pair, "=")
		switch {
		case !ok:
			errs = append(errs, fmt.Errorf("camera %s: %q is not key=value", name, pair))
			continue
		case seen[key]:
			errs = append(errs, fmt.Errorf("camera %s: key %s is given twice", name, key))
			continue
		}
		seen[key] = true
		if err := spec.set(key, value); err != nil {
			errs = append(errs, fmt.Errorf("camera %s: %w", name, err))
		}
	}
	return spec, errors.Join(errs...)
}

func exampleAddress(kind string) string {
	if kind == KindV4L2 {
		return "/dev/video0"
	}
	return "/var/lib/pictures"
}

// set takes one key.
func (s *Spec) set(key, value string) error {
	var err error
	switch key {
	case "width":
		s.Want.Width, err = size(key, value)
	case "height":
		s.Want.Height, err = size(key, value)
	case "fps":
		s.Want.FPS, err = strconv.ParseFloat(value, 64)
		if err != nil || !(s.Want.FPS >= 0.01 && s.Want.FPS <= 1000) {
			return fmt.Errorf("fps=%s: a rate is a number from 0.01 to 1000", value)
		}
	case "format":
		s.Want.Format, err = ParseFormat(value)
	case "linger":
		s.Linger, err = time.ParseDuration(value)
		if err != nil || s.Linger < 0 || s.Linger > 24*time.Hour {
			return fmt.Errorf("linger=%s: a time is written as 500ms, 10s or 5m, up to 24h", value)
		}
		if s.Linger == 0 {
			s.Linger = -1
		}
	default:
		if s.Options == nil {
			s.Options = make(map[string]string)
		}
		s.Options[key] = value
	}
	return err
}

func size(key, value string) (int, error) {
	n, err := strconv.Atoi(value)
	if err != nil || n < 2 || n > math.MaxUint16 {
		return 0, fmt.Errorf("%s=%s: a size is a whole number from 2 to 65535", key, value)
	}
	return n, nil
}

// CheckOptions refuses options that the kind does not know, all at once.
func (s Spec) CheckOptions(known ...string) error {
	var errs []error
	for _, key := range slices.Sorted(maps.Keys(s.Options)) {
		if !slices.Contains(known, key) {
			errs = append(errs, fmt.Errorf("camera %s: kind %s has no key %q; known are width, height, fps, format, linger%s",
				s.Name, s.Kind, key, strings.Join(append([]string{""}, known...), ", ")))
		}
	}
	return errors.Join(errs...)
}

// String writes the spec as ParseSpec reads it.
func (s Spec) String() string {
	if s.Kind == KindAuto {
		return KindAuto
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s=%s:%s", s.Name, s.Kind, s.Address)
	if s.Want.Width > 0 {
		fmt.Fprintf(&b, ",width=%d", s.Want.Width)
	}
	if s.Want.Height > 0 {
		fmt.Fprintf(&b, ",height=%d", s.Want.Height)
	}
	if s.Want.FPS > 0 {
		fmt.Fprintf(&b, ",fps=%s", strconv.FormatFloat(s.Want.FPS, 'g', -1, 64))
	}
	if s.Want.Format != 0 {
		fmt.Fprintf(&b, ",format=%s", strings.ToLower(s.Want.Format.String()))
	}
	if s.Linger != 0 {
		fmt.Fprintf(&b, ",linger=%s", max(s.Linger, 0))
	}
	for _, key := range slices.Sorted(maps.Keys(s.Options)) {
		fmt.Fprintf(&b, ",%s=%s", key, s.Options[key])
	}
	return b.String()
}

func validName(s string) bool {
	return regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{0,62}$`).MatchString(s)
}
