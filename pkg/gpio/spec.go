package gpio

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
	"unicode"
)

// SensorSpec is one sensor as its owner configured it.
//
// The syntax is name=kind:address[,key=value…], entries separated by ";" or a newline:
//
//	door=gpio:GPIO17,pull=up,active=low,debounce=50ms,class=door
//	pir=gpio:GPIO27,class=motion,hold=10s
//	rain=gpio:pinctrl-rp1/22,count=true,every=5s
//	air=iio:bme280,every=30s
//	out=w1:28-3c01d607,every=60s
//	cpu=thermal:cpu-thermal
//	power=ina219:i2c-1/0x40,shunt=0.1
//	tank=ads1115:i2c-1/0x48,channel=0,range=4.096
type SensorSpec struct {
	Name    string
	Kind    string // "gpio", a kernel class (iio, hwmon, w1, thermal) or a chip on I²C (bme280, …)
	Address string // a line; or the name, bus and address of a device
	Class   string // what it stands for: door, motion, temperature, …

	// Of inputs.
	Chip      string        // label of the only chip to look on
	Pull      Pull          // default: none for class motion, else up
	ActiveLow bool          // default: implied by the pull, as a switch to the other rail is wired
	Debounce  time.Duration // in the kernel; default 30 ms
	Hold      time.Duration // how long it stays on after the last active edge
	Edges     Edges
	Count     bool // a meter: only the count matters, delivered like a reading

	// Of measured sensors, and Every of meters.
	Every   time.Duration // default 60 s; meters 1 s
	Delta   float64       // a smaller change is not delivered to watchers
	Unit    string        // replaces the unit of a sensor that has one quantity
	Digits  int           // after the decimal point; default 3
	Channel string        // of an ADC: 0, 1, 2, 3, 0-1, 0-3, 1-3, 2-3
	Range   float64       // of an ADC, in volts
	Shunt   float64       // of a current sensor, in ohms
}

// Edges says which edges of an input are items.
type Edges uint8

// The choices of the key edges.
const (
	EdgesBoth Edges = iota
	EdgesActive
)

// IsInput says whether the sensor is a line rather than something measured.
func (s SensorSpec) IsInput() bool { return s.Kind == "gpio" }

// OutputSpec is one output as its owner configured it:
//
//	ir=gpio:GPIO22,active=high,initial=off,max_on=60s
//	live=gpio:GPIO23,show=viewing
type OutputSpec struct {
	Name      string
	Line      string
	Chip      string
	ActiveLow bool
	Initial   bool
	Safe      bool          // the level when the agent is not there to watch it; default off
	MaxOn     time.Duration // 0 = no limit; not with Safe
	Viewing   bool          // shows whether anybody watches; cannot be set by hand
}

// TriggerSpec is one trigger as its owner configured it:
//
//	on=door:rise do=snapshot:front,keep=5
type TriggerSpec struct {
	Sensor string
	Edge   TriggerEdge
	Action string        // "snapshot"
	Target string        // the camera
	Keep   int           // how many results are kept, 1 to 100; default 5
	Pause  time.Duration // at most one in this time; default 1 s
}

// TriggerEdge is what a trigger waits for.
type TriggerEdge uint8

// The edges of a trigger, of the logical level after hold.
const (
	Rise TriggerEdge = iota
	Fall
	Change
)

// Sensors, Outputs and Triggers are the values of PERCH_SENSORS, PERCH_OUTPUTS and PERCH_TRIGGERS, decoded by envconfig.
type (
	Sensors  []SensorSpec
	Outputs  []OutputSpec
	Triggers []TriggerSpec
)

// Decode implements envconfig.Decoder.
func (s *Sensors) Decode(v string) (err error) { *s, err = ParseSensors(v); return err }

// Decode implements envconfig.Decoder.
func (o *Outputs) Decode(v string) (err error) { *o, err = ParseOutputs(v); return err }

// Decode implements envconfig.Decoder.
func (t *Triggers) Decode(v string) (err error) { *t, err = ParseTriggers(v); return err }

// maxEntries bounds each of the three variables, so that a runaway value costs an error and not the memory of the Pi.
const maxEntries = 128

var (
	nameSyntax = regexp.MustCompile(`^[a-z][a-z0-9_-]{0,31}$`)
	wordSyntax = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._:@ -]{0,63}$`)
	busSyntax  = regexp.MustCompile(`^(i2c-[0-9]{1,3})(?:/(0x[0-9a-fA-F]{1,2}))?$`)
)

// classes are the device classes of ESPHome's and Home Assistant's binary sensors, and two of ours.
var classes = strings.Fields(`battery battery_charging carbon_monoxide cold connectivity door garage_door gas heat light lock moisture
	motion moving occupancy opening plug power presence problem running safety smoke sound tamper update vibration window
	button counter`)

// fileKinds are read as files of the kernel's drivers.
var fileKinds = []string{"iio", "hwmon", "w1", "thermal"}

// chipKinds are driven over I²C. A chip's pins choose its address between these two; the first is the default.
var chipKinds = map[string][2]uint64{
	"bme280": {0x76, 0x77}, "bmp280": {0x76, 0x77}, "bmp180": {0x77, 0x77}, "aht20": {0x38, 0x38}, "hdc302x": {0x44, 0x47},
	"ina219": {0x40, 0x4f}, "ads1115": {0x48, 0x4b}, "ads1015": {0x48, 0x4b},
}

// ParseSensors reads PERCH_SENSORS. All mistakes are reported, joined, each with the entry and the key it is in.
func ParseSensors(text string) ([]SensorSpec, error) {
	var specs []SensorSpec
	c := newCheck("sensor")
	for _, e := range c.entries(text) {
		specs = append(specs, c.sensor(e))
	}
	return specs, errors.Join(c.errs...)
}

// ParseOutputs reads PERCH_OUTPUTS, with errors as ParseSensors.
func ParseOutputs(text string) ([]OutputSpec, error) {
	var specs []OutputSpec
	c := newCheck("output")
	for _, e := range c.entries(text) {
		specs = append(specs, c.output(e))
	}
	return specs, errors.Join(c.errs...)
}

// ParseTriggers reads PERCH_TRIGGERS, with errors as ParseSensors. Whether the sensors exist is checked by Board.Triggers.
func ParseTriggers(text string) ([]TriggerSpec, error) {
	var specs []TriggerSpec
	c := newCheck("trigger")
	for i, item := range c.split(text) {
		specs = append(specs, c.trigger(strconv.Itoa(i+1), item))
	}
	return specs, errors.Join(c.errs...)
}

// entry is one name=kind:address,key=value… taken apart.
type entry struct {
	name, kind, address string
	keys                map[string]string
	order               []string
}

// check collects the mistakes of one variable.
type check struct {
	what  string
	errs  []error
	names map[string]bool
	lines map[string]string // line → the entry that uses it
}

func newCheck(what string) *check {
	return &check{what: what, names: map[string]bool{}, lines: map[string]string{}}
}

func (c *check) failf(entry, key, format string, args ...any) {
	where := c.what + " " + quote(entry)
	if key != "" {
		where += ", " + key
	}
	c.errs = append(c.errs, fmt.Errorf(where+": "+format, args...))
}

func (c *check) split(text string) []string {
	var items []string
	for item := range strings.FieldsFuncSeq(text, func(r rune) bool { return r == ';' || r == '\n' }) {
		if item = strings.TrimSpace(item); item != "" {
			items = append(items, item)
		}
	}
	if len(items) > maxEntries {
		c.errs = append(c.errs, fmt.Errorf("%d %ss, at most %d are possible", len(items), c.what, maxEntries))
		items = items[:maxEntries]
	}
	return items
}

func (c *check) entries(text string) []entry {
	var list []entry
	for _, item := range c.split(text) {
		name, rest, ok := strings.Cut(item, "=")
		name = strings.TrimSpace(name)
		if !ok || !nameSyntax.MatchString(name) {
			c.failf(item, "", "want name=kind:address[,key=value…] with a name of a-z, 0-9, _ and -, at most 32 long")
			continue
		}
		if c.names[name] {
			c.failf(name, "", "the name is used twice")
		}
		c.names[name] = true
		parts := strings.Split(rest, ",")
		e := entry{name: name, keys: map[string]string{}}
		e.kind, e.address, ok = strings.Cut(strings.TrimSpace(parts[0]), ":")
		if !ok || e.address == "" {
			c.failf(name, "", "want kind:address after the =, not %s", quote(parts[0]))
			continue
		}
		c.pairs(&e, parts[1:])
		list = append(list, e)
	}
	return list
}

func (c *check) pairs(e *entry, parts []string) {
	for _, part := range parts {
		key, value, ok := strings.Cut(strings.TrimSpace(part), "=")
		switch _, twice := e.keys[key]; {
		case !ok || key == "" || value == "":
			c.failf(e.name, "", "want key=value, not %s", quote(part))
		case twice:
			c.failf(e.name, key, "given twice")
		default:
			e.keys[key] = value
			e.order = append(e.order, key)
		}
	}
}

func (c *check) sensor(e entry) SensorSpec {
	s := SensorSpec{Name: e.name, Kind: e.kind, Address: e.address, Class: e.keys["class"], Digits: 3}
	k := keys{c: c, e: e}
	addresses, chip := chipKinds[e.kind]
	switch {
	case e.kind == "gpio":
		c.input(&s, &k)
	case slices.Contains(fileKinds, e.kind):
		if !wordSyntax.MatchString(e.address) {
			c.failf(e.name, "", "%s is no name of a device", quote(e.address))
		}
	case chip:
		c.bus(&s, addresses)
	default:
		c.failf(e.name, "", "unknown kind %s; there are gpio, %s, %s", quote(e.kind), strings.Join(fileKinds, ", "), strings.Join(slices.Sorted(maps.Keys(chipKinds)), ", "))
		return s
	}
	if !s.IsInput() {
		s.Every = k.duration("every", time.Minute, 100*time.Millisecond, 24*time.Hour)
		s.Delta = k.number("delta", 0, 0, math.MaxFloat64)
		s.Digits = k.whole("digits", 3, 0, 9)
		s.Unit = k.word("unit", "")
		s.Class = k.word("class", "")
	}
	switch e.kind {
	case "ads1115", "ads1015":
		s.Channel = k.choice("channel", "0", "0", "1", "2", "3", "0-1", "0-3", "1-3", "2-3")
		s.Range = k.number("range", 4.096, 0.001, 6.144)
	case "ina219":
		s.Shunt = k.number("shunt", 0.1, 0.0001, 100)
	}
	k.rest()
	return s
}

func (c *check) input(s *SensorSpec, k *keys) {
	s.Address = c.line(k.e, &s.Chip, k)
	s.Count = k.choice("count", "false", "true", "false") == "true"
	class, edges, every := "", "both", time.Duration(0)
	if s.Count {
		class, edges, every = "counter", "active", time.Second
	}
	s.Class = k.word("class", class)
	if s.Class != "" && !slices.Contains(classes, s.Class) {
		c.failf(s.Name, "class", "unknown class %s; there are %s", quote(s.Class), strings.Join(classes, ", "))
	}
	pull := "up"
	if s.Class == "motion" {
		pull = "none"
	}
	s.Pull = map[string]Pull{"up": PullUp, "down": PullDown, "none": PullNone}[k.choice("pull", pull, "up", "down", "none")]
	active := map[Pull]string{PullUp: "low", PullDown: "high"}[s.Pull]
	if s.Pull == PullNone {
		active = "high"
		// gpiozero's rule: with no pull nothing says how the switch is wired. Motion sensors drive their line, high for motion.
		if s.Class != "motion" && k.e.keys["active"] == "" {
			c.failf(s.Name, "active", "needed with pull=none, low or high")
		}
	}
	s.ActiveLow = k.choice("active", active, "low", "high") == "low"
	s.Debounce = k.duration("debounce", 30*time.Millisecond, 0, 10*time.Second)
	s.Hold = k.duration("hold", 0, 0, 24*time.Hour)
	s.Edges = map[string]Edges{"both": EdgesBoth, "active": EdgesActive}[k.choice("edges", edges, "both", "active")]
	if s.Count && s.Hold > 0 {
		c.failf(s.Name, "hold", "has no meaning with count=true")
	}
	if s.Count {
		s.Every = k.duration("every", every, 100*time.Millisecond, 24*time.Hour)
	}
}

func (c *check) output(e entry) OutputSpec {
	k := keys{c: c, e: e}
	o := OutputSpec{Name: e.name}
	if e.kind != "gpio" {
		c.failf(e.name, "", "unknown kind %s; there is gpio", quote(e.kind))
		return o
	}
	o.Line = c.line(e, &o.Chip, &k)
	o.ActiveLow = k.choice("active", "high", "low", "high") == "low"
	o.Initial = k.choice("initial", "off", "on", "off") == "on"
	o.Safe = k.choice("safe", "off", "on", "off") == "on"
	o.MaxOn = k.duration("max_on", 0, 100*time.Millisecond, 24*time.Hour)
	o.Viewing = k.choice("show", "", "viewing") == "viewing"
	if o.Safe && o.MaxOn > 0 {
		c.failf(e.name, "max_on", "contradicts safe=on: the safe state has no time limit")
	}
	if o.Viewing && o.Initial {
		c.failf(e.name, "initial", "cannot be on with show=viewing")
	}
	if o.Viewing && o.MaxOn > 0 {
		c.failf(e.name, "max_on", "contradicts show=viewing: it would go out while somebody watches")
	}
	k.rest()
	return o
}

func (c *check) trigger(number, item string) TriggerSpec {
	t := TriggerSpec{}
	on, do, ok := strings.Cut(item, " ")
	on, okOn := strings.CutPrefix(on, "on=")
	do, okDo := strings.CutPrefix(strings.TrimSpace(do), "do=")
	if !ok || !okOn || !okDo {
		c.failf(item, "", "want on=sensor:edge do=action:target[,key=value…]")
		return t
	}
	sensor, edge, _ := strings.Cut(on, ":")
	if !nameSyntax.MatchString(sensor) {
		c.failf(number, "on", "%s is no name of a sensor", quote(sensor))
	}
	parts := strings.Split(do, ",")
	e := entry{name: number, keys: map[string]string{"on": edge}}
	e.kind, e.address, _ = strings.Cut(parts[0], ":")
	c.pairs(&e, parts[1:])
	k := keys{c: c, e: e}
	t.Sensor, t.Action, t.Target = sensor, e.kind, e.address
	t.Edge = map[string]TriggerEdge{"rise": Rise, "fall": Fall, "change": Change}[k.choice("on", "", "rise", "fall", "change")]
	if t.Action != "snapshot" {
		c.failf(number, "do", "unknown action %s; there is snapshot", quote(t.Action))
	}
	if !wordSyntax.MatchString(t.Target) {
		c.failf(number, "do", "want snapshot:camera, not %s", quote(parts[0]))
	}
	t.Keep = k.whole("keep", 5, 1, 100)
	t.Pause = k.duration("pause", time.Second, 100*time.Millisecond, 24*time.Hour)
	k.rest()
	return t
}

// line reads the address of a line, and the chip key; the short form 17 becomes GPIO17.
func (c *check) line(e entry, chip *string, k *keys) string {
	line := e.address
	*chip = k.word("chip", "")
	if n, err := strconv.Atoi(line); err == nil && n >= 0 {
		line = "GPIO" + strconv.Itoa(n)
	}
	label, offset, hasLabel := strings.Cut(line, "/")
	switch n, err := strconv.Atoi(offset); {
	case !wordSyntax.MatchString(label), hasLabel && (err != nil || n < 0 || n > 4095):
		c.failf(e.name, "", "%s is no line; want GPIO17, 17 or label/offset", quote(e.address))
	case hasLabel && *chip != "" && *chip != label:
		c.failf(e.name, "chip", "%s contradicts the address %s", quote(*chip), quote(line))
	}
	key := line
	if *chip != "" && !hasLabel {
		key = *chip + "/" + line
	}
	if other, twice := c.lines[key]; twice {
		c.failf(e.name, "", "the line %s is already used by %s", line, quote(other))
	}
	c.lines[key] = e.name
	return line
}

// bus completes the address of a chip on I²C.
func (c *check) bus(s *SensorSpec, addresses [2]uint64) {
	low, high := addresses[0], addresses[1]
	m := busSyntax.FindStringSubmatch(s.Address)
	if m == nil {
		c.failf(s.Name, "", "%s is no place on a bus; want i2c-1 or i2c-1/%#x", quote(s.Address), low)
		return
	}
	addr := low
	if m[2] != "" {
		addr, _ = strconv.ParseUint(m[2], 0, 8)
	}
	if addr < low || addr > high {
		c.failf(s.Name, "", "the address of a chip of this kind is %#x to %#x, not %s", low, high, m[2])
	}
	s.Address = fmt.Sprintf("%s/%#x", m[1], addr)
}

// keys hands out the values of an entry, and remembers which keys were asked for: the others are unknown.
type keys struct {
	c     *check
	e     entry
	known []string
}

func (k *keys) word(key, otherwise string) string {
	k.known = append(k.known, key)
	v, ok := k.e.keys[key]
	if !ok {
		return otherwise
	}
	if len(v) > 64 || strings.ContainsFunc(v, func(r rune) bool { return !unicode.IsPrint(r) }) {
		k.c.failf(k.e.name, key, "%s is not a short printable word", quote(v))
	}
	return v
}

func (k *keys) choice(key, otherwise string, choices ...string) string {
	v := k.word(key, otherwise)
	if _, given := k.e.keys[key]; given && !slices.Contains(choices, v) {
		k.c.failf(k.e.name, key, "want %s, not %s", strings.Join(choices, ", "), quote(v))
		return otherwise
	}
	return v
}

func (k *keys) duration(key string, otherwise, low, high time.Duration) time.Duration {
	v := k.word(key, "")
	if v == "" {
		return otherwise
	}
	d, err := time.ParseDuration(v)
	if err != nil && v == "0" {
		d, err = 0, nil
	}
	if err != nil || d < low || d > high {
		k.c.failf(k.e.name, key, "want a duration like 50ms or 10s from %v to %v, not %s", low, high, quote(v))
		return otherwise
	}
	return d
}

func (k *keys) number(key string, otherwise, low, high float64) float64 {
	v := k.word(key, "")
	if v == "" {
		return otherwise
	}
	n, err := strconv.ParseFloat(v, 64)
	if err != nil || !(n >= low && n <= high) {
		k.c.failf(k.e.name, key, "want a number from %v to %v, not %s", low, high, quote(v))
		return otherwise
	}
	return n
}

func (k *keys) whole(key string, otherwise, low, high int) int {
	v := k.word(key, "")
	if v == "" {
		return otherwise
	}
	n, err := strconv.Atoi(v)
	if err != nil || n < low || n > high {
		k.c.failf(k.e.name, key, "want a number from %d to %d, not %s", low, high, quote(v))
		return otherwise
	}
	return n
}

func (k *keys) rest() {
	for _, key := range k.e.order {
		if !slices.Contains(k.known, key) {
			k.c.failf(k.e.name, key, "unknown key; there are %s", strings.Join(k.known, ", "))
		}
	}
}

// quote makes a text from outside safe for one line of a log or a terminal.
func quote(s string) string {
	if len(s) > 80 {
		s = s[:80] + "…"
	}
	return strconv.Quote(s)
}
