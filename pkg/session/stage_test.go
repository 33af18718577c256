package session_test

import (
	"context"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rsocket/rsocket-go/core"

	"github.com/perchcam/perch/internal/simlink"
	"github.com/perchcam/perch/pkg/api"
	"github.com/perchcam/perch/pkg/broker"
	"github.com/perchcam/perch/pkg/peer"
	"github.com/perchcam/perch/pkg/session"
	"github.com/perchcam/perch/pkg/wire"
)

// # The network

// way is how a client reaches what it dials.
type way interface {
	dial(context.Context) (net.Conn, error)
	lead(serve func(net.Conn)) // where links end
	down()                     // no link is left
}

// leg is a simulated way.
type leg struct {
	net   *simlink.Net
	serve func(net.Conn)
	work  sync.WaitGroup

	mu    sync.Mutex
	wrap  func(net.Conn) net.Conn // what the client gets of a link; nil: the link
	onNew func(*simlink.Link)     // called with each new link
	link  *simlink.Link           // the newest
	all   []*simlink.Link
}

// each makes cut look at the newest link and all that follow.
func (l *leg) each(cut func(*simlink.Link)) {
	l.mu.Lock()
	l.onNew = cut
	k := l.link
	l.mu.Unlock()
	cut(k)
}

func (l *leg) dial(context.Context) (net.Conn, error) {
	k := l.net.Link()
	l.mu.Lock()
	l.link = k
	l.all = append(l.all, k)
	onNew, wrap := l.onNew, l.wrap
	l.mu.Unlock()
	if onNew != nil {
		onNew(k)
	}
	l.work.Go(func() { l.serve(k.B) })
	if wrap != nil {
		return wrap(k.A), nil
	}
	return k.A, nil
}

func (l *leg) rewire(wrap func(net.Conn) net.Conn) { l.mu.Lock(); l.wrap = wrap; l.mu.Unlock() }

func (l *leg) lead(serve func(net.Conn)) { l.serve = serve }

func (l *leg) newest() *simlink.Link {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.link
}

func (l *leg) down() {
	for _, k := range l.all {
		k.Reset()
	}
	l.work.Wait()
}

// cuts are the ways a link is lost.
var cuts = map[string]func(*simlink.Link){
	"RST":                (*simlink.Link).Reset,
	"FIN":                (*simlink.Link).Finish,
	"black hole":         (*simlink.Link).Silence,
	"one way out":        (*simlink.Link).SilenceAB,
	"one way in":         (*simlink.Link).SilenceBA,
	"late old link":      func(l *simlink.Link) { _ = l.A.Close() }, // the far end hears of it only when it writes
	"far end goes first": func(l *simlink.Link) { _ = l.B.Close() },
}

var cutNames = []string{"RST", "FIN", "black hole", "one way out", "one way in", "late old link", "far end goes first"}

// stage is who talks to whom.
type stage struct {
	path    simlink.Path
	options session.Options
	direct  bool // no broker between
	talk    talk
	seed    uint64
	// arrange gets the two legs, the laptop's and the device's (nil when direct), before anything is said.
	arrange func(laptop, device *leg)
	// meddle gets the sessions before anything is asked.
	meddle func(laptop, device *session.Conn)
}

// run plays the conversation in a bubble and returns what is wrong with its history.
func (st stage) run(t *testing.T) (faults []string) {
	synctest.Test(t, func(t *testing.T) {
		n := simlink.New(st.path, st.seed)
		laptop, device := &leg{net: n}, &leg{net: n}
		if st.direct {
			device = nil
		}
		arranged := func() {
			if st.arrange != nil {
				st.arrange(laptop, device)
			}
		}
		if st.direct {
			faults = st.play(t, laptop, nil, arranged)
		} else {
			faults = st.play(t, laptop, device, arranged)
		}
	})
	return faults
}

// play lets a laptop and a device have the conversation, over device's way and a broker, or directly when there is none.
// arranged is called when the ways lead somewhere and nothing has been said.
func (st stage) play(t *testing.T, laptopWay, deviceWay way, arranged func()) []string {
	h := &history{fnf: map[uint32]int{}}
	ctx, cancel := context.WithCancel(t.Context())
	var work sync.WaitGroup
	client := func(w way, s wire.Setup, handler peer.Handler) (peer.Requester, *session.Conn) {
		md, err := s.Append(nil)
		if err != nil {
			t.Fatal(err)
		}
		p, err := peer.New(peer.Config{Handler: handler})
		if err != nil {
			t.Fatal(err)
		}
		c, err := session.NewClient(session.ClientConfig{
			Options: st.options, Dial: w.dial, SessionTime: time.Hour,
			Setup: session.Setup{Resume: true, MetadataMIME: wire.MIMEComposite, DataMIME: wire.MIMEJSON, Metadata: md},
		}, p)
		if err != nil {
			t.Fatal(err)
		}
		work.Go(func() {
			if err := c.Run(ctx); err != nil {
				h.fault("a session ended: %v", err)
			}
			p.Wait()
		})
		return p.Requester(c.Conn), c.Conn
	}
	var finish func()
	if deviceWay == nil {
		finish = st.serveDirectly(t, h, laptopWay)
	} else {
		finish = st.serveBroker(t, laptopWay, deviceWay)
	}
	arranged()
	var md []byte
	var device *session.Conn
	if deviceWay != nil {
		advert, err := api.Advert{Device: "pi", ID: "id-pi", Boot: "boot", Rev: 1, Routes: []string{"chaos"}}.Encode()
		if err != nil {
			t.Fatal(err)
		}
		_, device = client(deviceWay, wire.Setup{
			Dialect: wire.RSocketBroker, ID: wire.NewUUID().String(), Service: api.Service, Advert: advert,
			Tags: []wire.Tag{{Key: wire.KeyInstanceName, Value: "pi"}, {Key: wire.KeyDevice, Value: "pi"}},
		}, h.device(st.talk))
		md, err = wire.Request{Service: api.Service, Device: "pi", Route: "chaos", Params: []wire.Tag{{Key: wire.ParamWait, Value: "60s"}}}.Append(nil, wire.RSocketBroker)
		if err != nil {
			t.Fatal(err)
		}
	}
	r, laptop := client(laptopWay, wire.Setup{Dialect: wire.RSocketBroker, ID: wire.NewUUID().String(), Service: "laptop"}, nil)
	for !laptop.Up() || device != nil && !device.Up() {
		time.Sleep(time.Millisecond)
	}
	if st.meddle != nil {
		st.meddle(laptop, device)
	}
	asked, giveUp := context.WithTimeout(ctx, 10*time.Minute) // of fake time: then it hangs
	h.laptop(asked, r, md, st.talk)
	for range 60_000 { // what is not answered arrives too
		if h.forgotten() >= st.talk.forgets || asked.Err() != nil {
			break
		}
		time.Sleep(time.Millisecond)
	}
	if asked.Err() != nil {
		h.fault("hung: the laptop's session %+v", laptop.Stats())
		if device != nil {
			h.fault("hung: the device's session %+v", device.Stats())
		}
	}
	giveUp()
	cancel()
	work.Wait()
	finish()
	laptopWay.down()
	if deviceWay != nil {
		deviceWay.down()
	}
	return h.check(st.talk)
}

// serveDirectly lets the laptop's way lead to the device, and returns what ends that.
func (st stage) serveDirectly(t *testing.T, h *history, w way) (finish func()) {
	p, err := peer.New(peer.Config{Handler: h.device(st.talk)})
	if err != nil {
		t.Fatal(err)
	}
	srv, err := session.NewServer(session.ServerConfig{
		Options: st.options, SessionTime: time.Hour,
		Accept: func(*session.Conn) (session.Receiver, error) { return p, nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	w.lead(func(nc net.Conn) { _ = srv.Serve(nc) })
	return func() {
		srv.Close(context.Background(), core.ErrorCodeConnectionClose, "test is over")
		p.Wait()
	}
}

// serveBroker lets both ways lead to a broker, and returns what ends it.
func (st stage) serveBroker(t *testing.T, laptop, device way) (finish func()) {
	b, err := broker.New(broker.Config{Session: st.options, SessionTime: time.Hour, Wait: 10 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ran := make(chan struct{})
	go func() { _ = b.Run(ctx, ctx); close(ran) }()
	laptop.lead(b.Serve)
	device.lead(b.Serve)
	return func() { stop(); <-ran }
}
