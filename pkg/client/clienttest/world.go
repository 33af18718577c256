// Package clienttest is a broker with devices in the test's own process, for tests of what a laptop does.
//
//	w := clienttest.New(t)           // a broker
//	d := w.Join(&clienttest.Device{Name: "hen-house"})
//	c, err := client.Dial(ctx, client.Config{Dial: w.Laptop.Dial})
//	w.Laptop.Cut()                   // the laptop's link breaks; a new one may be dialed
//	w.Restart()                      // the broker has forgotten everything
//	d.Reboot()                       // the device has
//
// Links are simulated (internal/simlink), so that all of it runs in a testing/synctest bubble; Listen adds a port
// on loopback for other processes. Everything ends with the test.
package clienttest

import (
	"context"
	"fmt"
	"net"
	"slices"
	"sync"
	"syscall"
	"testing"

	"github.com/perchcam/perch/internal/simlink"
	"github.com/perchcam/perch/pkg/broker"
	"github.com/perchcam/perch/pkg/broker/access"
)

// World is a broker and what is connected to it.
type World struct {
	Laptop *Network // between laptops and the broker
	t      testing.TB

	stop func() // owned by the test's goroutine

	mu     sync.Mutex     // guards the following
	broker *broker.Broker // nil: stopped
	cfg    broker.Config
}

// New starts a broker.
func New(t testing.TB) *World { return start(t, broker.Config{}) }

// Guarded starts a broker that admits who has credentials.
func Guarded(t testing.TB, credentials *access.Store) *World {
	return start(t, broker.Config{Access: credentials})
}

// Listen starts a broker that has a port on loopback, too.
func Listen(t testing.TB) *World {
	return start(t, broker.Config{Listen: []string{"tcp://127.0.0.1:0"}})
}

// ListenGuarded starts a broker that has a port, and admits who has credentials.
func ListenGuarded(t testing.TB, credentials *access.Store) *World {
	return start(t, broker.Config{Listen: []string{"tcp://127.0.0.1:0"}, Access: credentials})
}

// Main is Listen for a TestMain, which calls stop when its tests are over.
func Main() (w *World, stop func()) {
	m := &mainTB{}
	return Listen(m), m.stop
}

// mainTB is what a World needs of a test.
type mainTB struct {
	testing.TB
	cleanups []func()
}

func (m *mainTB) Helper()           {}
func (m *mainTB) Cleanup(f func())  { m.cleanups = append(m.cleanups, f) }
func (m *mainTB) Error(args ...any) { panic(fmt.Sprint(args...)) }
func (m *mainTB) Fatal(args ...any) { panic(fmt.Sprint(args...)) }

func (m *mainTB) stop() {
	for _, f := range slices.Backward(m.cleanups) {
		f()
	}
}

func start(t testing.TB, cfg broker.Config) *World {
	t.Helper()
	cfg.Version = "test"
	w := &World{t: t, cfg: cfg}
	w.Laptop = newNetwork(w)
	w.start()
	t.Cleanup(func() {
		w.Stop()
		w.Laptop.work.Wait()
	})
	return w
}

// Stop ends the broker.
func (w *World) Stop() {
	w.mu.Lock()
	w.broker = nil
	w.mu.Unlock()
	w.stop()
}

// Start starts another broker, which listens at the same place and knows nothing.
func (w *World) Start() {
	w.start()
}

func (w *World) start() {
	b, err := broker.New(w.cfg)
	if err == nil {
		err = b.Listen()
	}
	if err != nil {
		w.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- b.Run(ctx, ctx) }()
	w.mu.Lock()
	w.broker = b
	w.cfg.Listen = b.URLs()
	w.mu.Unlock()
	w.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			w.t.Error(err)
		}
	})
}

// URL returns where the broker listens.
func (w *World) URL() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.cfg.Listen[0]
}

// Restart is Stop and Start.
func (w *World) Restart() {
	w.Stop()
	w.Start()
}

// Network is where links to the broker are made, and break.
type Network struct {
	w *World

	mu    sync.Mutex // guards the following
	sim   *simlink.Net
	links []*simlink.Link
	down  bool
	work  sync.WaitGroup
}

func newNetwork(w *World) *Network {
	n := &Network{w: w}
	n.Path(simlink.Path{})
	return n
}

// Path sets what links to come are like. At first they take no time.
func (n *Network) Path(p simlink.Path) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.sim = simlink.New(p, 1)
}

// Dial makes a link.
func (n *Network) Dial(context.Context) (net.Conn, error) {
	n.w.mu.Lock()
	b := n.w.broker
	n.w.mu.Unlock()
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.down || b == nil {
		return nil, syscall.ECONNREFUSED
	}
	l := n.sim.Link()
	n.links = append(n.links, l)
	n.work.Go(func() { b.Serve(l.B) })
	return l.A, nil
}

// Cut resets every link: of what is on its way a part may still arrive.
func (n *Network) Cut() {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, l := range n.links {
		l.Reset()
	}
	n.links = nil
}

// Down makes dialing fail, and Cuts; or makes it succeed again.
func (n *Network) Down(down bool) {
	n.mu.Lock()
	n.down = down
	n.mu.Unlock()
	if down {
		n.Cut()
	}
}
