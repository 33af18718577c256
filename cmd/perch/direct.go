package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/perchcam/perch/internal/version"
	"github.com/perchcam/perch/pkg/api"
	"github.com/perchcam/perch/pkg/broker"
	"github.com/perchcam/perch/pkg/broker/access"
	"github.com/perchcam/perch/pkg/client"
	"github.com/perchcam/perch/pkg/wire"
)

// direct is a broker inside of this program, for as long as one command takes: the device connects to the laptop itself.
type direct struct {
	a    *app
	addr string // to listen on
	tls  *lan   // nil: on a loopback address
}

// directWait is how long a device may take to find us: an agent whose broker was away tries again every 30 s or so.
const directWait = time.Minute

func (a *app) newDirect() (*direct, error) {
	host, port, err := net.SplitHostPort(a.direct)
	if err != nil || port == "" {
		return nil, &usageError{fmt.Errorf("--direct %s: it must be an address to listen on, such as :7878", api.Text(a.direct))}
	}
	d := &direct{a: a, addr: a.direct}
	if ip := net.ParseIP(host); host == "localhost" || ip != nil && ip.IsLoopback() {
		return d, nil
	}
	d.tls, err = openLAN(host)
	return d, err
}

// run serves until do returns. do is called once the device that is asked for, "" any, is there.
func (d *direct) run(ctx context.Context, device string, do func(client.Config) error) error {
	cfg := broker.Config{
		Listen: []string{"tcp://" + d.addr}, Version: version.String(),
		Log: slog.New(slog.NewTextHandler(d.a.stderr, &slog.HandlerOptions{Level: slog.LevelWarn})),
	}
	if d.tls != nil {
		cfg.Listen = []string{"tls://" + d.addr}
		cfg.Access = d.tls.store
		cfg.TLS = broker.TLS{Cert: filepath.Join(d.tls.dir, access.CertFile), Key: filepath.Join(d.tls.dir, access.KeyFile)}
	}
	b, err := broker.New(cfg)
	if err == nil {
		err = b.Listen()
	}
	if err != nil {
		return err
	}
	serving, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- b.Run(serving, serving) }()
	defer func() {
		stop()
		<-ended
	}()
	link, err := d.laptop(b.URLs()[0])
	if err != nil {
		return err
	}
	if err := d.await(ctx, link, device); err != nil {
		return err
	}
	return do(link)
}

// laptop is how this program itself connects.
func (d *direct) laptop(url string) (client.Config, error) {
	if d.tls == nil {
		d.a.say("for the device: PERCH_BROKER=%s", url)
		return client.Config{Broker: url}, nil
	}
	_, port, err := net.SplitHostPort(d.addr)
	if err != nil {
		return client.Config{}, err
	}
	d.a.say("for the device: PERCH_BROKER=tls://%s PERCH_BROKER_PIN=%s", net.JoinHostPort(d.tls.host, port), d.tls.pin)
	d.a.say("and in the file that PERCH_TOKEN_FILE names: %s", d.tls.Device)
	cfg, err := client.Pinned(d.tls.pin)
	return client.Config{
		Broker: "tls://" + net.JoinHostPort(d.tls.near, port), TLS: cfg, Auth: wire.Auth{Scheme: wire.AuthBearer, Secret: d.tls.Laptop},
	}, err
}

// await waits until the device is there.
func (d *direct) await(ctx context.Context, cfg client.Config, device string) error {
	ctx, cancel := context.WithTimeout(ctx, max(directWait, d.a.timeout))
	defer cancel()
	c, err := client.Dial(ctx, cfg)
	if err != nil {
		return err
	}
	defer c.Close()
	waiting := time.AfterFunc(500*time.Millisecond, func() { d.a.say("waiting for %s to connect", orAny(device)) })
	defer waiting.Stop()
	for e, err := range c.Watch(ctx, device) {
		switch {
		case errors.Is(ctx.Err(), context.DeadlineExceeded):
			return &client.Error{Kind: client.ErrNoDevice, Text: orAny(device) + " has not connected"}
		case err != nil:
			return err
		case e.Device != nil && e.Device.State == api.StateOnline:
			return nil
		}
	}
	return errors.New("the watch has ended")
}

func orAny(device string) string {
	if device == "" {
		return "a device"
	}
	return device
}

// lan is what it takes to listen where others are: a key and credentials, made once and kept in the user's
// configuration folder, so that what a device was told stays right.
type lan struct {
	dir   string
	store *access.Store
	pin   string
	host  string // that the device connects to
	near  string // that we do

	// The tokens, which this program needs again.
	Device string `json:"device"`
	Laptop string `json:"laptop"`
}

func openLAN(host string) (*lan, error) {
	config, err := os.UserConfigDir()
	if err != nil {
		return nil, fmt.Errorf("there is no folder for the key: %w", err)
	}
	l := &lan{dir: filepath.Join(config, "perch", "direct"), host: host, near: host}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		l.host, l.near = ownAddress(), "127.0.0.1"
	}
	// The certificate is known by its key alone: that it names other hosts is no harm.
	if err := access.Init(l.dir, access.Home{URL: "tls://" + l.host}, []string{"localhost"}); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("cannot make a key: %w", err)
	}
	if l.store, err = access.Open(l.dir); err != nil {
		return nil, err
	}
	if l.pin, err = access.PinOf(filepath.Join(l.dir, access.CertFile)); err != nil {
		return nil, err
	}
	return l, l.tokens()
}

const tokensFile = "direct.json"

// tokens reads the tokens, or makes them.
func (l *lan) tokens() error {
	data, err := os.ReadFile(filepath.Join(l.dir, tokensFile))
	if err == nil {
		return json.Unmarshal(data, l)
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if l.Device, err = l.store.Add(access.Credential{Name: "device", Role: access.Device, Devices: []string{"*"}}); err != nil {
		return err
	}
	if l.Laptop, err = l.store.Add(access.Credential{Name: "laptop", Role: access.Admin}); err != nil {
		return err
	}
	if data, err = json.Marshal(l); err != nil {
		return err
	}
	f, err := openFolder(l.dir, true)
	if err != nil {
		return err
	}
	defer f.close()
	f.mode = 0o600
	return f.write(tokensFile, data)
}

// ownAddress is an address of this machine that others may reach, or its name.
func ownAddress() string {
	addresses, _ := net.InterfaceAddrs()
	for _, a := range addresses {
		if n, ok := a.(*net.IPNet); ok && n.IP.IsGlobalUnicast() && n.IP.To4() != nil {
			return n.IP.String()
		}
	}
	name, _ := os.Hostname()
	return name
}
