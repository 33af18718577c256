package main

import (
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"time"
)

// system is one way to get bytes from a device to a laptop: what is in the middle, and both ends.
type system struct {
	name   string
	middle *child // whose CPU time counts
	laptop *child
	crew   crew
}

// The systems' names.
const (
	sysRelay        = "relay"                // the floor: raw ends, one buffer of 128 KiB
	sysSplice       = "relay, splicing"      // raw ends, io.Copy
	sysBroker       = "perch, raw ends"      // perch-broker between the same raw ends
	sysBrokerResume = "perch, raw, resuming" // which can resume their sessions
	sysPerch        = "perch"                // perch-broker between Perch's own ends, as everybody gets them
	sysPerchOff     = "perch, no resumption"
	sysPerchTLS     = "perch, TLS"
	sysHTTP         = "HTTP, direct"
	sysNATS         = "NATS"
	sysNATSTLS      = "NATS, TLS"
	sysMQTT         = "mosquitto"
	sysNaive        = "rsocket-go, naive"
)

// otherBuild ends the names of systems whose programs are those of -other.
const otherBuild = ", other build"

// legs makes what leads to an address: nil is the address itself.
type legs func(c *crew, addr string) (string, error)

// system starts one.
func (l *lab) system(name string, via legs) (s *system, err error) {
	s = &system{name: name}
	defer func() {
		if err != nil {
			s.crew.stop()
			err = fmt.Errorf("%s: %w", name, err)
		}
	}()
	if via == nil {
		via = func(_ *crew, addr string) (string, error) { return addr, nil }
	}
	bin, begin := l.bin, start
	if old, ok := strings.CutSuffix(name, otherBuild); ok {
		name, bin = old, l.other
		begin = func(role string, args ...string) (*child, error) {
			return startAs(filepath.Join(l.other, "bench"), role, args...)
		}
	}
	// ends starts both ends. A scheme is of Perch's URLs.
	ends := func(kind, scheme, addr, extra string) error {
		a, err := via(&s.crew, addr)
		if err != nil {
			return err
		}
		if _, err := s.crew.add(begin("device/"+kind, scheme+a, extra)); err != nil {
			return err
		}
		if a, err = via(&s.crew, addr); err != nil {
			return err
		}
		s.laptop, err = s.crew.add(begin("laptop/"+kind, scheme+a, extra))
		return err
	}
	perch := func(kind, scheme, extra string, args ...string) error {
		addr, err := freeAddr()
		if err != nil {
			return err
		}
		listen := "tcp://"
		if strings.HasPrefix(scheme, "tls") {
			listen = scheme
		}
		if s.middle, err = s.crew.add(l.brokerIn(bin, listen+addr, args...)); err != nil {
			return err
		}
		return ends(kind, scheme, addr, extra)
	}
	switch name {
	case sysRelay, sysSplice:
		role := "relay"
		if name == sysSplice {
			role += "/splice"
		}
		dev, err := s.crew.add(start("device/raw", "", "relay"))
		if err != nil {
			return nil, err
		}
		target, err := via(&s.crew, dev.addr)
		if err != nil {
			return nil, err
		}
		if s.middle, err = s.crew.add(start(role, target)); err != nil {
			return nil, err
		}
		addr, err := via(&s.crew, s.middle.addr)
		if err != nil {
			return nil, err
		}
		s.laptop, err = s.crew.add(start("laptop/raw", addr, "relay"))
		return s, err
	case sysBroker:
		return s, perch("raw", "", "broker")
	case sysBrokerResume:
		return s, perch("raw", "", "resume")
	case sysPerch:
		return s, perch("perch", "tcp://", "")
	case sysPerchOff:
		return s, perch("perch", "tcp://", "off")
	case sysPerchTLS:
		return s, perch("perch", "tls://", l.pki.CA, "--tls-cert", l.pki.Cert, "--tls-key", l.pki.Key)
	case sysHTTP:
		if s.middle, err = s.crew.add(start("device/http")); err != nil {
			return nil, err
		}
		addr, err := via(&s.crew, s.middle.addr)
		if err != nil {
			return nil, err
		}
		s.laptop, err = s.crew.add(start("laptop/http", addr))
		return s, err
	case sysNATS, sysNATSTLS:
		ca := ""
		if name == sysNATSTLS {
			ca = l.pki.CA
		}
		if s.middle, err = s.crew.add(l.natsServer(ca != "")); err != nil {
			return nil, err
		}
		return s, ends("nats", "", s.middle.addr, ca)
	case sysMQTT:
		if s.middle, err = s.crew.add(l.mosquitto()); err != nil {
			return nil, err
		}
		return s, ends("mqtt", "", s.middle.addr, "")
	case sysNaive:
		if s.middle, err = s.crew.add(start("naive")); err != nil {
			return nil, err
		}
		return s, ends("rsocketgo", "", s.middle.addr, "")
	}
	return nil, fmt.Errorf("there is no such system")
}

// systems starts several; stop stops them.
func (l *lab) systems(via legs, names ...string) (all []*system, stop func(), err error) {
	stop = func() {
		for _, s := range all {
			s.crew.stop()
		}
	}
	for _, name := range names {
		s, err := l.system(name, via)
		if err != nil {
			stop()
			return nil, nil, err
		}
		all = append(all, s)
	}
	return all, stop, nil
}

// sample is what one system did in one block.
type sample struct {
	P50, P99 float64   // µs
	Rate     float64   // MB/s
	CPU      float64   // seconds of the middle's CPU per GB
	Took     []float64 // µs, sorted
}

// turn gives s its turn.
func (s *system) turn(d load) (sample, error) {
	before := cpu(s.middle.pid())
	var r done
	if err := s.laptop.ask(d, &r, d.For); err != nil {
		return sample{}, fmt.Errorf("%s: %w", s.name, err)
	}
	used := cpu(s.middle.pid()) - before
	bytes := float64(len(r.Took)*d.Size + r.Beside*d.Beside)
	return sample{P50: r.at(.5), P99: r.at(.99), Rate: bytes / 1e6 / r.Seconds, CPU: used.Seconds() / (bytes / 1e9), Took: r.Took}, nil
}

// blocks lets all have their turns in each block, in another order in each. One block more comes first and does not count.
func (l *lab) turns(all []*system, d load) (map[string][]sample, error) {
	got := map[string][]sample{}
	rnd := rand.New(rand.NewPCG(1, 2))
	for n := range l.blocks + 1 {
		for _, i := range rnd.Perm(len(all)) {
			if l.ctx.Err() != nil {
				return nil, l.ctx.Err()
			}
			s, err := all[i].turn(d)
			if err != nil {
				return nil, err
			}
			if n > 0 {
				got[all[i].name] = append(got[all[i].name], s)
			}
		}
	}
	return got, nil
}

// block is how long a turn of a request loop is.
const block = 200 * time.Millisecond
