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
//  3. the cameras are switched off
//
// The service manager hears READY when the loops run, whether the broker is there or not: STATUS says that.
package agent

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
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
	Log     *slog.Logger // nil discards
}

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

	cameras []*camera.Hub
	kinds   []string // of cameras
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
		o.Log = slog.New(slog.DiscardHandler)
	}
	hostname, err := os.Hostname()
	if err != nil {
		return nil, fmt.Errorf("cannot read the host name: %w", err)
	}
	a := &Agent{
		cfg: o.Config, log: o.Log, version: o.Version, boot: rand.Text(), started: time.Now(),
		machine: readMachine(os.DirFS("/"), hostname),
		device:  o.Config.Device,
		notify:  newNotifier(os.Getenv),
	}
	if a.device == "" {
		a.device = api.DefaultDevice(hostname, a.machine.id)
	}
	if err := a.openCameras(); err != nil {
		return nil, err
	}
	a.service, err = service.New(service.Config{
		Cameras: a.cameras, Info: a.info, Boot: a.boot, Synced: gpio.ClockSynced, Keep: int(a.cfg.Retain),
	})
	if err != nil {
		return nil, err
	}
	if a.peer, err = peer.New(peer.Config{Handler: a.service, MaxPayload: api.MaxRequest, MaxBuffered: 1 << 20, MaxHandlers: 64, Log: a.log}); err != nil {
		return nil, err
	}
	a.link, err = link.New(link.Config{
		Brokers: a.cfg.Broker, Dial: new(link.Dialer).Dial, Setup: a.setup, Receiver: a.peer, Events: link.KernelEvents,
		Changed: a.linkChanged,
		Resume:  a.cfg.Resume, SessionTime: time.Duration(a.cfg.SessionTime), Options: session.Options{Retain: int(a.cfg.Retain)},
		Log: a.log,
	})
	if err != nil {
		return nil, err
	}
	if _, err := a.setup(); err != nil { // an advert that is too large is an error of the configuration
		return nil, err
	}
	return a, nil
}

// openCameras makes a hub for each camera. What is wrong with their settings is reported at once.
func (a *Agent) openCameras() error {
	var errs []error
	for _, spec := range a.cfg.Cameras {
		src, err := driver.Open(spec)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		h, err := camera.NewHub(camera.Config{Name: spec.Name, Source: src, Want: spec.Want, Linger: spec.Linger, Log: a.log})
		if err != nil {
			errs = append(errs, err)
			continue
		}
		a.cameras, a.kinds = append(a.cameras, h), append(a.kinds, spec.Kind)
	}
	if err := errors.Join(errs...); err != nil {
		return of(prefix+"_CAMERAS", err)
	}
	return nil
}

// Device returns the name under which the device registers.
func (a *Agent) Device() string { return a.device }

// Run serves until ctx ends, and then stops in good order.
func (a *Agent) Run(ctx context.Context) error {
	if a.machine.weak {
		a.log.Warn("there is no machine id: the device's id is made of its host name, so two hosts of one name cannot be told apart", "file", "/etc/machine-id")
	}
	a.log.Info("started", "version", a.version, "device", a.device, "cameras", len(a.cameras))

	hubs, stopHubs := context.WithCancel(context.WithoutCancel(ctx))
	defer stopHubs()
	var capturing, watching sync.WaitGroup
	for _, h := range a.cameras {
		capturing.Go(func() { _ = h.Run(hubs) })
	}
	linked := make(chan error, 1)
	go func() { linked <- a.link.Run(ctx) }()
	watching.Go(func() {
		watch(hubs, a.notify.every, a.loops(), func() { a.notify.say("WATCHDOG=1") }, a.log)
	})
	a.notify.say("READY=1", status("connecting to "+a.cfg.Broker[0].String()))

	err := <-linked // it has said goodbye
	a.notify.say("STOPPING=1", status("stopping"))
	a.peer.Wait()
	stopHubs()
	capturing.Wait()
	watching.Wait()
	a.log.Info("stopped", "after", time.Since(a.started).Round(time.Second))
	return err
}

// loops are what the watchdog watches.
func (a *Agent) loops() []loop {
	loops := []loop{{"link", a.link.Alive}}
	for _, h := range a.cameras {
		loops = append(loops, loop{"camera " + h.Name(), func(time.Duration) error { h.Stats(); return nil }})
	}
	return loops
}

func (a *Agent) linkChanged(s link.State) {
	text := fmt.Sprintf("%s, %s", s.Phase, s.Broker)
	if s.Err != nil {
		text += ": " + s.Err.Error()
	}
	a.notify.say(status(text))
}

// setup is what the next session says of this device: under an id of its own, which brokers want to be new each time.
func (a *Agent) setup() (session.Setup, error) {
	advert, err := a.advert().Encode()
	if err != nil {
		return session.Setup{}, err
	}
	said := wire.Setup{
		Dialect: a.cfg.Dialect, ID: wire.NewUUID().String(), Service: api.Service,
		Tags:   append([]wire.Tag{{Key: wire.KeyInstanceName, Value: a.device}, {Key: wire.KeyDevice, Value: a.device}}, a.cfg.Tags...),
		Advert: advert,
	}
	md, err := said.Append(nil)
	if err != nil {
		return session.Setup{}, err
	}
	return session.Setup{MetadataMIME: wire.MIMEComposite, DataMIME: wire.MIMEOctetStream, Metadata: md}, nil
}

func (a *Agent) advert() api.Advert {
	ad := api.Advert{Device: a.device, ID: a.machine.id, Boot: a.boot, Rev: 1, Version: a.version, Routes: a.service.Routes()}
	for i, h := range a.cameras {
		ad.Cameras = append(ad.Cameras, api.CameraRef{Name: h.Name(), Kind: a.kinds[i]})
	}
	return ad
}

// info is what agent.info says, but for the clocks.
func (a *Agent) info() api.Info {
	in := a.machine.info()
	in.Device, in.ID, in.Rev, in.Version, in.Started = a.device, a.machine.id, 1, a.version, a.started.UTC()
	in.Dialect, in.Resumes = a.cfg.Dialect.String(), a.link.State().Resumes
	return in
}
