package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"math"
	"net"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"
	"github.com/nats-io/nats.go"

	"github.com/perchcam/perch/pkg/link"
	"github.com/perchcam/perch/pkg/peer"
	"github.com/perchcam/perch/pkg/session"
	"github.com/perchcam/perch/pkg/wire"
)

// The groups with a fleet of devices that do nothing but stay connected.

const (
	fleetSize      = 10_000
	fleetProcesses = 4
)

// fleetState is what a process of a fleet answers at any command.
type fleetState struct {
	Online int
	Last   int64 // when the last of those came online, in ns since 1970
}

// fleet is devices first … first+count-1, kept connected by pkg/link as an agent's is, or by nats.go or paho. Each process
// has a loopback address of its own.
func fleet(kind string, args []string) error {
	if len(args) < 4 {
		return errors.New("fleet ADDRESS CA FIRST COUNT")
	}
	addr, ca := args[0], args[1]
	first, err := strconv.Atoi(args[2])
	if err != nil {
		return err
	}
	count, err := strconv.Atoi(args[3])
	if err != nil {
		return err
	}
	f := &members{from: &net.TCPAddr{IP: net.IPv4(127, 0, 1, byte(first/1000+1))}}
	if ca != "" {
		if f.tls, err = trust(ca); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var work sync.WaitGroup
	for i := first; i < first+count; i++ {
		name := fmt.Sprintf("fleet-%d", i)
		switch kind {
		case "perch":
			err = f.perch(ctx, &work, addr, name)
		case "nats":
			work.Go(func() { f.nats(addr, name) })
		case "mqtt":
			work.Go(func() { f.mqtt(addr, name) })
		default:
			err = fmt.Errorf("there is no fleet of kind %q", kind)
		}
		if err != nil {
			return err
		}
	}
	say(ready{})
	err = obey(func(struct{}) (any, error) { return fleetState{int(f.online.Load()), f.last.Load()}, nil })
	cancel()
	return err
}

// members counts who is online.
type members struct {
	from   *net.TCPAddr
	tls    *tls.Config // nil: none
	online atomic.Int64
	last   atomic.Int64
}

func (f *members) up() {
	f.online.Add(1)
	f.last.Store(time.Now().UnixNano())
}

func (f *members) perch(ctx context.Context, work *sync.WaitGroup, broker, name string) error {
	u, err := link.ParseURL(broker)
	if err != nil {
		return err
	}
	md, err := deviceMetadata(name)
	if err != nil {
		return err
	}
	p, err := peer.New(peer.Config{})
	if err != nil {
		return err
	}
	was := false // Changed comes one after the other
	l, err := link.New(link.Config{
		Brokers: []link.URL{u}, Dial: f.dial, Receiver: p,
		Setup: func() (session.Setup, error) {
			return session.Setup{MetadataMIME: wire.MIMEComposite, DataMIME: wire.MIMEOctetStream, Metadata: md}, nil
		},
		Changed: func(s link.State) {
			switch is := s.Phase == link.Online; {
			case is && !was:
				f.up()
				was = true
			case !is && was:
				f.online.Add(-1)
				was = false
			}
		},
	})
	if err != nil {
		return err
	}
	work.Go(func() { _ = l.Run(ctx) })
	return nil
}

// dial is link.Dialer's, from our own address.
func (f *members) dial(ctx context.Context, u link.URL) (net.Conn, error) {
	d := net.Dialer{LocalAddr: f.from}
	nc, err := d.DialContext(ctx, "tcp", u.HostPort())
	if err != nil || f.tls == nil {
		return nc, err
	}
	tc := tls.Client(nc, f.tls)
	if err := tc.HandshakeContext(ctx); err != nil {
		_ = nc.Close()
		return nil, err
	}
	return tc, nil
}

func (f *members) nats(addr, name string) {
	for {
		nc, err := nats.Connect("nats://"+addr, nats.MaxReconnects(-1), nats.SetCustomDialer(&net.Dialer{LocalAddr: f.from, Timeout: 10 * time.Second}),
			nats.DisconnectErrHandler(func(*nats.Conn, error) { f.online.Add(-1) }), nats.ReconnectHandler(func(*nats.Conn) { f.up() }))
		if err == nil {
			_, err = nc.Subscribe("device."+name, func(*nats.Msg) {})
		}
		if err == nil && nc.Flush() == nil {
			f.up()
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
}

func (f *members) mqtt(addr, name string) {
	o := mqtt.NewClientOptions().AddBroker("tcp://" + addr).SetClientID(name).SetDialer(&net.Dialer{LocalAddr: f.from, Timeout: 10 * time.Second})
	o.SetConnectRetry(true).SetConnectRetryInterval(100 * time.Millisecond)
	c := mqtt.NewClient(o)
	if t := c.Connect(); t.Wait() && t.Error() == nil {
		t := c.Subscribe("device/"+name, 0, func(mqtt.Client, mqtt.Message) {})
		if t.Wait(); t.Error() == nil {
			f.up()
		}
	}
}

// join starts a fleet of n and returns its processes once all are online, and how long that took.
func (l *lab) join(c *crew, kind, addr, ca string, n int) (all []*child, took time.Duration, err error) {
	begin := time.Now()
	for i := range fleetProcesses {
		k, err := c.add(start("fleet/"+kind, addr, ca, strconv.Itoa(i*n/fleetProcesses), strconv.Itoa(n/fleetProcesses)))
		if err != nil {
			return nil, 0, err
		}
		all = append(all, k)
	}
	last, err := l.allOnline(all, n, time.Minute)
	return all, last.Sub(begin), err
}

// allOnline waits until n devices are, and returns when the last of them came.
func (l *lab) allOnline(all []*child, n int, limit time.Duration) (last time.Time, err error) {
	for end := time.Now().Add(limit); ; {
		online := 0
		for _, k := range all {
			var s fleetState
			if err := k.ask(struct{}{}, &s, 0); err != nil {
				return last, err
			}
			online += s.Online
			if t := time.Unix(0, s.Last); t.After(last) {
				last = t
			}
		}
		switch {
		case online == n:
			return last, nil
		case l.ctx.Err() != nil:
			return last, l.ctx.Err()
		case time.Now().After(end):
			return last, fmt.Errorf("after %s %d of %d devices are online", limit, online, n)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// settled is how long an idle broker may give memory back before it counts.
const settled = 5 * time.Second

// idle is 10,000 devices that do nothing.
func idle(l *lab) (*report, error) {
	r := l.report()
	t := table{Title: "10,000 idle devices", Head: []string{"", "KiB RSS each", "KiB RSS each, just connected", "connected in s", "CPU s of connecting"}}
	rounds := max(1, min(3, l.blocks/5))
	kinds := []string{"perch", "perch, TLS", "NATS", "mosquitto"}
	rss, fresh, took, busy := map[string][]float64{}, map[string][]float64{}, map[string][]float64{}, map[string][]float64{}
	for range rounds {
		for _, kind := range kinds {
			m, err := l.idleOnce(kind)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", kind, err)
			}
			rss[kind], fresh[kind] = append(rss[kind], m.rss), append(fresh[kind], m.fresh)
			took[kind], busy[kind] = append(took[kind], m.took), append(busy[kind], m.cpu)
		}
	}
	for _, kind := range kinds {
		t.Lines = append(t.Lines, []string{kind, spreadOf(rss[kind]).String(), spreadOf(fresh[kind]).String(), spreadOf(took[kind]).String(), spreadOf(busy[kind]).String()})
	}
	r.Tables = append(r.Tables, t)
	plain, secure, connected := spreadOf(rss["perch"]), spreadOf(rss["perch, TLS"]), spreadOf(took["perch"])
	r.goal("10,000 idle devices, memory", "≤ 9 KiB RSS each over TCP with a 1 KiB advert (TLS ≤ 40)",
		fmt.Sprintf("%s KiB (TLS %s); NATS %s, mosquitto %s", plain, secure, spreadOf(rss["NATS"]), spreadOf(rss["mosquitto"])), plain.Median <= 9, secure.Median <= 40)
	r.goal("10,000 devices connected", "≤ 2 s", fmt.Sprintf("%s s (TLS %s); NATS %s, mosquitto %s", connected, spreadOf(took["perch, TLS"]), spreadOf(took["NATS"]), spreadOf(took["mosquitto"])), connected.Median <= 2)
	r.note("Time to connect counts from the start of the devices' processes, which share the two cores with the broker.")
	return r, nil
}

type idled struct{ rss, fresh, took, cpu float64 }

func (l *lab) idleOnce(kind string) (m idled, err error) {
	var c crew
	defer c.stop()
	addr, err := freeAddr()
	if err != nil {
		return m, err
	}
	var middle *child
	fleetKind, ca, url := "perch", "", "tcp://"+addr
	switch kind {
	case "perch":
		middle, err = c.add(l.broker(url))
	case "perch, TLS":
		ca, url = l.pki.CA, "tls://"+addr
		middle, err = c.add(l.broker(url, "--tls-cert", l.pki.Cert, "--tls-key", l.pki.Key))
	case "NATS":
		fleetKind = "nats"
		if middle, err = c.add(l.natsServer(false)); err == nil {
			url = middle.addr
		}
	case "mosquitto":
		fleetKind = "mqtt"
		if middle, err = c.add(l.mosquitto()); err == nil {
			url = middle.addr
		}
	}
	if err != nil {
		return m, err
	}
	before, used := memory(middle.pid(), "VmRSS"), cpu(middle.pid())
	_, took, err := l.join(&c, fleetKind, url, ca, fleetSize)
	if err != nil {
		return m, err
	}
	m.took, m.cpu = took.Seconds(), (cpu(middle.pid()) - used).Seconds()
	m.fresh = float64(memory(middle.pid(), "VmRSS")-before) / 1024 / fleetSize
	time.Sleep(settled)
	m.rss = float64(memory(middle.pid(), "VmRSS")-before) / 1024 / fleetSize
	return m, nil
}

// lasting is how long devices stay connected before: what comes back after less counts as a failure, and is held up.
const lasting = 11 * time.Second

// restart kills the broker with 10,000 devices, and starts it again after 2 s.
func restart(l *lab) (*report, error) {
	r := l.report()
	rounds := max(1, min(5, l.blocks/4))
	var plain, mutual, p99 []float64
	for range rounds {
		back, other, err := l.restartOnce(false)
		if err != nil {
			return nil, err
		}
		plain, p99 = append(plain, back), append(p99, other)
	}
	for range max(1, rounds/2) {
		back, _, err := l.restartOnce(true)
		if err != nil {
			return nil, fmt.Errorf("mTLS: %w", err)
		}
		mutual = append(mutual, back)
	}
	a, b, c := spreadOf(plain), spreadOf(mutual), spreadOf(p99)
	r.goal("kill -9 and 2 s down, 10,000 devices", "all back ≤ 4 s after the restart (mTLS ≤ 20 s)",
		fmt.Sprintf("%s s, at most %s (mTLS %s, at most %s)", a, short(slices.Max(plain)), b, short(slices.Max(mutual))), a.Median <= 4, b.Median <= 20)
	r.goal("a bystander's requests while they come back", "p99 ≤ 50 ms", fmt.Sprintf("%s ms, at most %s", c, short(slices.Max(p99))), c.Median <= 50)
	r.note("%d restarts over TCP, %d with mTLS. The devices' ends of the 10,000 links share the two cores with the broker.", len(plain), len(mutual))
	return r, nil
}

func (l *lab) restartOnce(mutual bool) (back, p99 float64, err error) {
	var c crew
	defer c.stop()
	addr, err := freeAddr()
	if err != nil {
		return 0, 0, err
	}
	url, ca := "tcp://"+addr, ""
	var args []string
	if mutual {
		url, ca = "tls://"+addr, l.pki.CA
		args = []string{"--tls-cert", l.pki.Cert, "--tls-key", l.pki.Key, "--client-ca", l.pki.CA}
	}
	b, err := l.broker(url, args...)
	if err != nil {
		return 0, 0, err
	}
	all, _, err := l.join(&c, "perch", url, ca, fleetSize)
	if err != nil {
		b.kill()
		return 0, 0, err
	}
	time.Sleep(lasting)
	b.kill()
	time.Sleep(2 * time.Second)
	begin := time.Now()
	if _, err = c.add(l.broker(url, args...)); err != nil {
		return 0, 0, err
	}
	var other *child
	if !mutual {
		if other, err = c.add(start("bystander", addr)); err != nil {
			return 0, 0, err
		}
	}
	last, err := l.allOnline(all, fleetSize, time.Minute)
	if err != nil {
		return 0, 0, err
	}
	p99 = math.NaN()
	if other != nil {
		var d done
		if err := other.ask(struct{}{}, &d, 0); err != nil {
			return 0, 0, err
		}
		if len(d.Took) < 20 {
			return 0, 0, fmt.Errorf("the bystander asked %d times only", len(d.Took))
		}
		p99 = d.at(.99) / 1e3
	}
	return last.Sub(begin).Seconds(), p99, nil
}

// bystander is a device and a laptop that asks it for 100 bytes each 5 ms until it is asked for what that took.
func bystander(addr string) error {
	dev, err := connect(addr, deviceName, "broker")
	if err != nil {
		return err
	}
	go func() { _ = newAnswers().serve(dev) }()
	a, err := newRawLaptop(addr, "broker")
	if err != nil {
		return err
	}
	for a.ask(100) != nil { // the device may come second
		if a, err = newRawLaptop(addr, "broker"); err != nil {
			return err
		}
	}
	var mu sync.Mutex
	var took []float64
	var failed error
	go func() {
		for {
			before := time.Now()
			err := a.ask(100)
			mu.Lock()
			if failed = err; err != nil {
				mu.Unlock()
				return
			}
			took = append(took, float64(time.Since(before).Nanoseconds())/1e3)
			mu.Unlock()
			time.Sleep(5 * time.Millisecond)
		}
	}()
	say(ready{})
	return obey(func(struct{}) (any, error) {
		mu.Lock()
		defer mu.Unlock()
		d := done{Took: slices.Clone(took)}
		slices.Sort(d.Took)
		return d, failed
	})
}

// crowd is requests of one laptop to one device beside 9,000 idle ones.
func crowd(l *lab) (*report, error) {
	r := l.report()
	const n = 9_000
	names := []string{sysRelay, sysBroker, sysPerch, sysNATS}
	all, stop, err := l.systems(nil, names...)
	if err != nil {
		return nil, err
	}
	defer stop()
	var c crew
	defer c.stop()
	for _, s := range all {
		kind := map[string]string{sysBroker: "perch", sysPerch: "perch", sysNATS: "nats"}[s.name]
		if kind == "" {
			continue
		}
		if _, _, err := l.join(&c, kind, s.middle.addr, "", n); err != nil {
			return nil, fmt.Errorf("%s: %w", s.name, err)
		}
	}
	time.Sleep(settled)
	got, err := l.turns(all, load{Size: 100_000, Callers: 1, For: 2 * block})
	if err != nil {
		return nil, err
	}
	r.Tables = append(r.Tables, compare("One at a time, 100 KB, with 9,000 idle devices (the relay has none)", names, got))
	mid, tail := ratios(got[sysBroker], got[sysRelay], p50), at99(got[sysBroker])/at99(got[sysRelay])
	r.goal("with 9,000 idle devices", "p50 ≤ 1.3 ×, p99 ≤ 5 × the relay's in the same run",
		fmt.Sprintf("p50 %s ×, p99 %s × (same raw ends); own ends %s ×, %s ×; NATS %s ×, %s ×", mid, short(tail),
			ratios(got[sysPerch], got[sysRelay], p50), short(at99(got[sysPerch])/at99(got[sysRelay])),
			ratios(got[sysNATS], got[sysRelay], p50), short(at99(got[sysNATS])/at99(got[sysRelay]))),
		mid.Median <= 1.3, tail <= 5)
	return r, nil
}
