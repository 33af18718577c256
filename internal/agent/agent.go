// Package agent is the whole of perch-agent but its main: configuration, life cycle, status.
//
//	cfg, err := agent.Load()            // PERCH_…; everything that is wrong, at once
//	a, err := agent.New(agent.Options{Config: cfg, …})
//	err = a.Run(ctx)                    // until ctx ends
//
// What Run owns, and the order in which it stops, because pictures flow up and requests down:
//
//  1. the link says goodbye, so that the broker lists the device as left at once; that ends every request
//  2. the handlers of those requests return
//  3. the cameras are switched off, and the outputs put into their safe state
//
// The service manager hears READY when the loops run, whether the broker is there or not: STATUS says that.
package agent

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/perchcam/perch/internal/agent/service"
	"github.com/perchcam/perch/pkg/api"
	"github.com/perchcam/perch/pkg/camera"
	"github.com/perchcam/perch/pkg/camera/driver"
	"github.com/perchcam/perch/pkg/gpio"
	"github.com/perchcam/perch/pkg/link"
	"github.com/perchcam/perch/pkg/peer"
	"github.com/perchcam/perch/pkg/session"
	"github.com/perchcam/perch/pkg/wire"
)

// Options is what an Agent is made of.
type Options struct {
	Config  Config
	Version string
	Search  Search       // of cameras; by default as the system tells
	Open    OpenCamera   // nil is driver.Open
	Lines   gpio.Opener  // of inputs and outputs; needed where there are any
	Devices gpio.Devices // of measured sensors, likewise
	Log     slog.Handler // nil discards
	Level   slog.Leveler // of what is kept for agent.logs; nil is info
}

// OpenCamera makes a source of a camera's description. It must not touch the camera.
type OpenCamera func(camera.Spec) (camera.Source, error)

// Agent is one device.
type Agent struct {
	cfg     Config
	log     *slog.Logger
	machine machine
	device  string
	boot    string // of this run: sequence numbers begin anew with each
	version string
	started time.Time
	notify  notifier
	files   files
	clock   *link.Clock
	book    *logbook
	met     chan struct{} // holds one: there is a link to a broker
	uptime  atomic.Int64  // in seconds, when the newest session began: what an advert says does not change by itself

	cameras *cameras
	board   *gpio.Board // nil where there are neither sensors nor outputs
	service *service.Service
	peer    *peer.Peer
	link    *link.Link
}

// New checks the configuration against the machine. It opens and starts nothing.
func New(o Options) (*Agent, error) {
	if err := o.Config.Check(); err != nil {
		return nil, err
	}
	if o.Log == nil {
		o.Log = slog.DiscardHandler
	}
	if o.Level == nil {
		o.Level = slog.LevelInfo
	}
	book := newLogbook(o.Level)
	hostname, err := os.Hostname()
	if err != nil {
		return nil, fmt.Errorf("cannot read the host name: %w", err)
	}
	a := &Agent{
		cfg: o.Config, log: slog.New(slog.NewMultiHandler(o.Log, book)), book: book, met: make(chan struct{}, 1), version: o.Version, boot: rand.Text(), started: time.Now(),
		machine: readMachine(os.DirFS("/"), hostname),
		device:  o.Config.Device,
		notify:  newNotifier(os.Getenv),
		clock:   newClock(os.DirFS("/")),
		files:   files{credentials: os.Getenv("CREDENTIALS_DIRECTORY"), state: os.Getenv("STATE_DIRECTORY")},
	}
	if a.device == "" {
		a.device = api.DefaultDevice(hostname, a.machine.id)
	}
	if o.Open == nil {
		o.Open = driver.Open
	}
	if o.Search.Expand == nil {
		o.Search = Search{driver.Expand, videoDevices}
	}
	trust, errTrust := a.files.trust(a.cfg)
	_, errAuth := a.files.auth(a.cfg)
	if err := errors.Join(errTrust, errAuth); err != nil {
		return nil, err
	}
	if a.cameras, err = newCameras(a.cfg.Cameras, o.Open, o.Search, a.log); err != nil {
		return nil, of(prefix+"_CAMERAS", err)
	}
	if len(a.cfg.Sensors)+len(a.cfg.Outputs) > 0 {
		a.board, err = gpio.New(gpio.Config{
			Sensors: a.cfg.Sensors, Outputs: a.cfg.Outputs, Lines: o.Lines, Devices: o.Devices, Boot: a.boot, Log: a.log,
		})
		if err != nil {
			return nil, of(prefix+"_SENSORS, "+prefix+"_OUTPUTS", err)
		}
	}
	a.service, err = service.New(service.Config{
		Cameras: a.cameras.hubs, Board: a.board, Inside: a, Info: a.info, Boot: a.boot, Synced: gpio.ClockSynced, Keep: int(a.cfg.Retain),
		Triggers: a.cfg.Triggers, Album: int(a.cfg.Album), Log: a.log,
	})
	if err != nil {
		return nil, err
	}
	if a.peer, err = peer.New(peer.Config{Handler: a.service, MaxPayload: api.MaxRequest, MaxBuffered: 1 << 20, MaxHandlers: 256, Log: a.log}); err != nil {
		return nil, err
	}
	if a.link, err = link.New(a.linkConfig(trust)); err != nil {
		return nil, err
	}
	if _, err := a.setup(); err != nil { // an advert that is too large is an error of the configuration
		return nil, err
	}
	return a, nil
}

func (a *Agent) linkConfig(trust *tls.Config) link.Config {
	dialer := &link.Dialer{TLS: trust, Clock: a.clock, Proxy: http.ProxyFromEnvironment}
	return link.Config{
		Brokers: a.cfg.Broker, Dial: dialer.Dial, Setup: a.setup, Receiver: receiver{a.peer, a}, Events: a.events,
		Changed: a.linkChanged, Advice: a.advice,
		Resume: a.cfg.Resume, SessionTime: time.Duration(a.cfg.SessionTime), Options: session.Options{Retain: int(a.cfg.Retain)},
		Log: a.log,
	}
}

// Run serves until ctx ends, and then stops in good order.
func (a *Agent) Run(ctx context.Context) error {
	if a.machine.weak {
		a.log.Warn("there is no machine id: the device's id is made of its host name, so two hosts of one name cannot be told apart", "file", "/etc/machine-id")
	}
	a.log.Info("started", "version", a.version, "device", a.device)

	inner, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	var running sync.WaitGroup
	searched := make(chan struct{})
	running.Go(func() {
		a.cameras.run(inner, sync.OnceFunc(func() { close(searched) }), a.advertise)
	})
	loops := []loop{{"link", a.link.Alive}, {"cameras", a.cameras.alive}}
	if a.board != nil {
		running.Go(func() { _ = a.board.Run(inner) })
		running.Go(func() { a.service.RunTriggers(inner) })
		running.Go(func() { a.learnUnits(inner) })
		loops = append(loops, loop{"sensors and outputs", a.board.Alive})
	}
	running.Go(func() { a.enrol(inner) })
	a.notify.say("READY=1", status("connecting to "+a.cfg.Broker[0].String()))
	linked := make(chan error, 1)
	go func() {
		select {
		case <-searched:
		case <-time.After(findPatience):
		case <-ctx.Done():
		}
		linked <- a.link.Run(ctx)
	}()
	running.Go(func() { watch(inner, a.notify.every, loops, func() { a.notify.say("WATCHDOG=1") }, a.log) })

	err := <-linked // it has said goodbye
	a.notify.say("STOPPING=1", status("stopping"))
	a.peer.Wait()
	stop()
	running.Wait()
	a.log.Info("stopped", "after", time.Since(a.started).Round(time.Second))
	return err
}

func (a *Agent) linkChanged(s link.State) {
	text := fmt.Sprintf("%s, %s", s.Phase, s.Broker)
	if s.Err != nil {
		text += ": " + s.Err.Error()
	}
	a.notify.say(status(text))
}

// advice goes into the log: who says more, and what to do.
func (a *Agent) advice(u link.URL, err error) string {
	return "run perch-agent check; " + advice(a.cfg, a.device, u, err)
}

// setup is what the next session says of this device.
func (a *Agent) setup() (session.Setup, error) {
	auth, err := a.files.auth(a.cfg)
	if err != nil {
		return session.Setup{}, err
	}
	a.uptime.Store(max(1, int64(time.Since(a.started).Seconds()))) // 0 is not known
	md, err := introduce(a.cfg, a.advert(), auth)
	if err != nil {
		return session.Setup{}, err
	}
	return session.Setup{MetadataMIME: wire.MIMEComposite, DataMIME: wire.MIMEOctetStream, Metadata: md}, nil
}

// introduce writes the metadata of a SETUP, under an id of its own: brokers want a new one each time.
func introduce(c Config, ad api.Advert, auth wire.Auth) ([]byte, error) {
	advert, err := ad.Encode()
	if err != nil {
		return nil, err
	}
	return wire.Setup{
		Dialect: c.Dialect, ID: wire.NewUUID().String(), Service: api.Service, Services: services(ad.Routes),
		Tags:   append([]wire.Tag{{Key: wire.KeyInstanceName, Value: ad.Device}, {Key: wire.KeyDevice, Value: ad.Device}}, c.Tags...),
		Auth:   auth,
		Advert: advert,
	}.Append(nil)
}

// services are those of the routes: what is before the method, the last dot. Alibaba's broker finds a device by them.
func services(routes []string) (names []string) {
	for _, route := range routes {
		if dot := strings.LastIndexByte(route, '.'); dot > 0 && !slices.Contains(names, route[:dot]) {
			names = append(names, route[:dot])
		}
	}
	return names
}

// advert is what the device offers. What it offers only grows, so its size numbers the revisions.
func (a *Agent) advert() api.Advert {
	ad := api.Advert{
		Device: a.device, ID: a.machine.id, Boot: a.boot, Rev: 1, Version: a.version, UptimeS: a.uptime.Load(),
		Cameras: a.cameras.refs(), Routes: a.service.Routes(),
	}
	ad.Rev += uint64(len(ad.Cameras))
	if a.board == nil {
		return ad
	}
	for _, s := range a.board.Sensors() {
		ref := api.SensorRef{Name: s.Name, Class: s.Class}
		if len(s.Units) > 0 { // of several, its reading says
			ref.Unit = s.Units[0]
			ad.Rev++
		}
		ad.Sensors = append(ad.Sensors, ref)
	}
	for _, o := range a.cfg.Outputs {
		ad.Outputs = append(ad.Outputs, api.OutputRef{Name: o.Name})
	}
	return ad
}

// learnUnits tells the broker the unit of each measured sensor when its first reading is there, and ends with the last.
func (a *Agent) learnUnits(ctx context.Context) {
	w, err := a.board.Watch(gpio.WatchOptions{Latest: true})
	if err != nil {
		return
	}
	unknown := map[string]bool{}
	for _, s := range a.cfg.Sensors {
		if !s.IsInput() {
			unknown[s.Name] = true
		}
	}
	for len(unknown) > 0 {
		item, err := w.Next(ctx)
		if err != nil {
			return
		}
		if len(item.Values) > 0 && unknown[item.Sensor] {
			delete(unknown, item.Sensor)
			a.advertise()
		}
	}
}

// advertise tells the broker that there is more than SETUP said. A broker that wants no METADATA_PUSH ends the session, as
// rsocket-js 1.0.0-alpha.3 does, and hears the same in the next SETUP.
func (a *Agent) advertise() {
	conn := a.link.Conn()
	if conn == nil {
		return
	}
	advert, err := a.advert().Encode()
	if err != nil {
		a.log.Warn("the broker cannot be told of new cameras", "err", err)
		return
	}
	if bytes.Contains(conn.Setup().Metadata, advert) { // SETUP said it
		return
	}
	if md, err := wire.AppendEntry(nil, wire.MIMEAdvert, advert); err == nil {
		conn.Push(md)
	}
}

// receiver is the peer, and says with every new link what the broker may not have heard: a push is lost with its link.
type receiver struct {
	*peer.Peer
	a *Agent
}

func (r receiver) Linked(up, resumed bool) {
	if up {
		r.a.advertise()
		select {
		case r.a.met <- struct{}{}:
		default:
		}
	}
	r.Peer.Linked(up, resumed)
}

// info is what agent.info says, but for the clocks.
func (a *Agent) info() api.Info {
	in := a.machine.info()
	in.Device, in.ID, in.Rev, in.Version, in.Started = a.device, a.machine.id, a.advert().Rev, a.version, a.started.UTC()
	in.Dialect, in.Resumes = a.cfg.Dialect.String(), a.link.State().Resumes
	return in
}
