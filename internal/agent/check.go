package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/perchcam/perch/pkg/api"
	"github.com/perchcam/perch/pkg/camera"
	"github.com/perchcam/perch/pkg/camera/driver"
	"github.com/perchcam/perch/pkg/camera/v4l2"
	"github.com/perchcam/perch/pkg/gpio"
	"github.com/perchcam/perch/pkg/link"
)

// Finding is what perch-agent check found about one thing.
type Finding struct {
	Status string `json:"status"` // ok, warn or fail
	About  string `json:"about"`
	Text   string `json:"text"`
	Next   string `json:"next,omitempty"` // what to do about it
}

// What a Finding's Status says.
const (
	OK   = "ok"
	Warn = "warn" // it works, perhaps not well
	Fail = "fail" // it does not work
)

func fine(about, format string, args ...any) Finding {
	return Finding{Status: OK, About: about, Text: fmt.Sprintf(format, args...)}
}

func warn(about, next, format string, args ...any) Finding {
	return Finding{Warn, about, fmt.Sprintf(format, args...), next}
}

func fail(about, next, format string, args ...any) Finding {
	return Finding{Fail, about, fmt.Sprintf(format, args...), next}
}

// Failed reports whether one of the findings is that something does not work.
func Failed(list []Finding) bool {
	return slices.ContainsFunc(list, func(f Finding) bool { return f.Status == Fail })
}

// Print writes findings for a person.
func Print(w io.Writer, list []Finding) {
	for _, f := range list {
		fmt.Fprintf(w, "%-5s %-16s %s\n", f.Status, f.About, strings.ReplaceAll(f.Text, "\n", "\n"+strings.Repeat(" ", 23)))
		if f.Next != "" {
			fmt.Fprintf(w, "%*s→ %s\n", 23, "", f.Next)
		}
	}
}

// PrintJSON writes them for a program.
func PrintJSON(w io.Writer, list []Finding) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(struct {
		OK       bool      `json:"ok"`
		Findings []Finding `json:"findings"`
	}{!Failed(list), list})
}

// Doctor looks at everything that the agent needs, and changes nothing. Only Lines and Devices have to be given.
type Doctor struct {
	Lines   gpio.Opener
	Devices gpio.Devices

	root    fs.FS
	host    string
	run     func(ctx context.Context, name string, args ...string) (string, error)
	expand  func(ctx context.Context, specs []camera.Spec) []camera.Spec
	open    func(camera.Spec) (camera.Source, error)
	resolve func(ctx context.Context, host string) ([]string, error)
	dial    func(d *link.Dialer) dialFunc
	synced  func() bool
	disk    func() (free int64, readOnly bool, err error)
	saving  func(iface string) (on, known bool)
	groups  func(user string) ([]string, error)
	why     func() []string                         // of each video device that is no camera, what it is
	holder  func(device string) string              // who has it open, as far as this process may see
	proxy   func(r *http.Request) (*url.URL, error) // to a broker
	files   files
	config  Config
	machine machine
}

// stateDirectory is the unit's StateDirectory=.
const stateDirectory = "/var/lib/perch-agent"

const checkTimeout = 10 * time.Second // for one thing

// Check looks at cfg, which is what Load said, or at loaded, its error.
func (d *Doctor) Check(ctx context.Context, cfg Config, loaded error) []Finding {
	d.defaults()
	d.config = cfg
	d.machine = readMachine(d.root, d.host)
	list := d.configuration(loaded)
	list = append(list, d.identity())
	parts := []func(context.Context) []Finding{d.clock, d.power, d.network, d.storage}
	if loaded == nil {
		parts = append(parts, d.permissions, d.cameras, d.wires, d.brokers)
	}
	found := make([][]Finding, len(parts))
	var looking sync.WaitGroup
	for i, part := range parts {
		looking.Go(func() { found[i] = part(ctx) })
	}
	looking.Wait()
	return append(list, slices.Concat(found...)...)
}

func (d *Doctor) defaults() {
	if d.root != nil {
		return // a test has set everything
	}
	d.root = os.DirFS("/")
	d.host, _ = os.Hostname()
	d.run = func(ctx context.Context, name string, args ...string) (string, error) {
		out, err := exec.CommandContext(ctx, name, args...).Output()
		return strings.TrimSpace(string(out)), err
	}
	d.expand, d.open = driver.Expand, driver.Open
	d.resolve, d.dial = resolve, func(l *link.Dialer) dialFunc { return l.Dial }
	d.synced, d.disk, d.saving, d.groups = gpio.ClockSynced, freeDisk, powerSave, groupsOf
	d.why, d.holder, d.proxy = v4l2.Why, v4l2.Holder, http.ProxyFromEnvironment
	d.files = files{credentials: os.Getenv("CREDENTIALS_DIRECTORY"), state: stateDirectory}
}

// configuration says what holds. Secrets are in files and are not read for it.
func (d *Doctor) configuration(loaded error) (list []Finding) {
	const about = "settings"
	next := "edit " + File + ", then run: systemctl restart perch-agent"
	if loaded != nil {
		for line := range strings.SplitSeq(loaded.Error(), "\n") {
			f := fail(about, next, "%s", line)
			if strings.Contains(line, File) { // it says itself what to do
				f.Next = ""
			}
			list = append(list, f)
		}
		return list
	}
	list = append(list, fine(about, "%s", effective()))
	_, errAuth := d.files.auth(d.config)
	_, errTrust := d.files.trust(d.config)
	for _, err := range []error{errAuth, errTrust} {
		if err != nil {
			list = append(list, unread(about, next, err))
		}
	}
	return list
}

// unread is about a file that the settings name. One that only root may read is the service's to read, by systemd.
func unread(about, next string, err error) Finding {
	if errors.Is(err, fs.ErrPermission) {
		return warn(about, "run this as root: sudo perch-agent check", "%v", err)
	}
	return fail(about, next, "%v", err)
}

// effective lists the settings that were made, and in a last line what holds where none was. There is no secret among them but a
// proxy's password: tokens and keys are in files.
func effective() string {
	var set, usual []string
	for _, v := range Vars() {
		if value := os.Getenv(v.Name); value != "" {
			set = append(set, v.Name+"="+api.Text(value))
		} else if v.Default != "" {
			usual = append(usual, strings.TrimPrefix(v.Name, prefix+"_")+" "+v.Default)
		}
	}
	for _, name := range []string{"HTTPS_PROXY", "https_proxy", "NO_PROXY", "no_proxy"} {
		value := os.Getenv(name)
		if u, err := url.Parse(value); err == nil && u.User != nil {
			value = u.Redacted()
		}
		if value != "" {
			set = append(set, name+"="+api.Text(value))
		}
	}
	return strings.Join(append(set, "else as usual: "+strings.Join(usual, ", ")), "\n")
}

// name is what the device registers as.
func (d *Doctor) name() string {
	if d.config.Device != "" {
		return d.config.Device
	}
	return api.DefaultDevice(d.host, d.machine.id)
}

func (d *Doctor) identity() Finding {
	name := d.name()
	if d.machine.weak {
		return warn("device", "systemd-machine-id-setup makes one", "%s; there is no machine id, so two hosts of one name cannot be told apart", name)
	}
	return fine("device", "%s, id %s", name, d.machine.id)
}

// User is who the service runs as.
const User = "perch"

// permissions says whether the service's user is in the groups that own the devices: who runs this may be another.
func (d *Doctor) permissions(context.Context) []Finding {
	const about = "groups"
	have, err := d.groups(User)
	if err != nil {
		return nil // the package is not installed: then there is no service either
	}
	need := []string{"video"}
	for _, s := range d.config.Sensors {
		switch {
		case s.IsInput():
			need = append(need, "gpio")
		case strings.HasPrefix(s.Address, "i2c-"):
			need = append(need, "i2c")
		}
	}
	if len(d.config.Outputs) > 0 {
		need = append(need, "gpio")
	}
	slices.Sort(need)
	need = slices.Compact(need)
	lacks := slices.DeleteFunc(slices.Clone(need), func(g string) bool { return slices.Contains(have, g) })
	if len(lacks) > 0 {
		return []Finding{fail(about, fmt.Sprintf("usermod -aG %s %s, then: systemctl restart perch-agent", strings.Join(lacks, ","), User),
			"the service's user %s is not in the group %s", User, strings.Join(lacks, ", "))}
	}
	return []Finding{fine(about, "the service's user %s is in %s", User, strings.Join(need, ", "))}
}

func groupsOf(name string) (names []string, err error) {
	u, err := user.Lookup(name)
	if err != nil {
		return nil, err
	}
	ids, err := u.GroupIds()
	if err != nil {
		return nil, err
	}
	for _, id := range ids {
		if g, err := user.LookupGroupId(id); err == nil {
			names = append(names, g.Name)
		}
	}
	return names, nil
}

// cameras asks each camera what it can do. It takes no picture, so that it does not disturb the service.
func (d *Doctor) cameras(ctx context.Context) (list []Finding) {
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	specs := d.expand(ctx, d.config.Cameras)
	if len(specs) == 0 {
		text := "none is found"
		if why := d.why(); len(why) > 0 {
			text += "; of the video devices\n" + api.Text(strings.Join(why, "\n"))
		}
		return []Finding{warn("cameras", "is one plugged in? for a ribbon camera install rpicam-apps, and try: rpicam-hello --list-cameras", "%s", text)}
	}
	for _, spec := range specs {
		about := "camera " + spec.Name
		src, err := d.open(spec)
		if err != nil {
			list = append(list, fail(about, "correct PERCH_CAMERAS in "+File, "%v", err))
			continue
		}
		info, err := src.Describe(ctx)
		switch {
		case errors.Is(err, camera.ErrAbsent):
			list = append(list, fail(about, "is it plugged in? what there is: ls -l /dev/v4l/by-id /dev/video*", "%v", err))
		case errors.Is(err, camera.ErrUnsupported):
			list = append(list, fail(about, "correct PERCH_CAMERAS in "+File+"; PERCH_CAMERAS=auto takes every camera that works", "%v", err))
		case errors.Is(err, camera.ErrBusy):
			list = append(list, warn(about, "end the program that uses it; as root, this says which it is", "%v", err))
		case errors.Is(err, camera.ErrDenied):
			list = append(list, fail(about, "usermod -aG video perch, then systemctl restart perch-agent", "%v", err))
		case err != nil:
			list = append(list, fail(about, "journalctl -k says whether the kernel has trouble with it", "%v", err))
		default:
			list = append(list, fine(about, "%s%s: %s", info.Kind, named(info.Card), modes(info.Modes)))
			if who := d.heldBy(spec); who != "" {
				list = append(list, warn(about, "end that program: a camera gives its pictures to one at a time", "%s has it open", who))
			}
		}
	}
	return list
}

// heldBy is who else has a camera open, "" where it is nobody or the service.
func (d *Doctor) heldBy(spec camera.Spec) string {
	if spec.Kind != camera.KindV4L2 {
		return ""
	}
	who := d.holder(spec.Address)
	if strings.HasPrefix(who, "perch-agent,") {
		return ""
	}
	return api.Text(who)
}

func named(card string) string {
	if card == "" {
		return ""
	}
	return ", " + api.Text(card)
}

// modes says the largest size of each format.
func modes(all []camera.Mode) string {
	var formats []camera.Format
	best := map[camera.Format]camera.Mode{}
	for _, m := range all {
		b, seen := best[m.Format]
		if !seen {
			formats = append(formats, m.Format)
		}
		if !seen || m.Width*m.Height > b.Width*b.Height {
			best[m.Format] = m
		}
	}
	var text []string
	for _, f := range formats {
		text = append(text, fmt.Sprintf("%s up to %d x %d", f, best[f].Width, best[f].Height))
	}
	if len(text) == 0 {
		return "it does not say what it can do"
	}
	return strings.Join(text, ", ")
}

// wires looks for the lines of inputs and outputs, and reads each measured sensor once.
func (d *Doctor) wires(ctx context.Context) (list []Finding) {
	line := func(about, name, chip, ours string) {
		p, err := d.Lines.Find(name, chip)
		switch {
		case err != nil:
			list = append(list, failed(about, err))
		case p.Consumer != "" && p.Consumer != ours:
			list = append(list, fail(about, "free the line: another program or an overlay of config.txt has it", "line %s is in use by %s", name, api.Text(p.Consumer)))
		default:
			list = append(list, fine(about, "line %d of %s", p.Offset, api.Text(p.Label)))
		}
	}
	for _, s := range d.config.Sensors {
		about := "sensor " + s.Name
		if s.IsInput() {
			line(about, s.Address, s.Chip, "perch:"+s.Name)
			continue
		}
		list = append(list, d.measure(ctx, about, s))
	}
	for _, o := range d.config.Outputs {
		line("output "+o.Name, o.Line, o.Chip, "perch:"+o.Name)
	}
	return list
}

func (d *Doctor) measure(ctx context.Context, about string, s gpio.SensorSpec) Finding {
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	sensor, err := d.Devices.OpenSensor(s)
	if err != nil {
		return failed(about, err)
	}
	defer sensor.Close()
	values, err := sensor.Read(ctx)
	if err != nil {
		return failed(about, err)
	}
	var text []string
	for _, v := range values {
		text = append(text, fmt.Sprintf("%s %.4g %s", v.Quantity, v.Value, v.Unit))
	}
	return fine(about, "%s", strings.Join(text, ", "))
}

func failed(about string, err error) Finding {
	next := ""
	if h, ok := errors.AsType[gpio.Hinter](err); ok {
		next = h.Hint()
	}
	return fail(about, next, "%v", err)
}
