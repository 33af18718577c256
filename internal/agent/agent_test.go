package agent

import (
	"bytes"
	"context"
	"errors"
	"iter"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/fstest"
	"testing/synctest"
	"time"

	"github.com/perchcam/perch/pkg/api"
	"github.com/perchcam/perch/pkg/camera"
	"github.com/perchcam/perch/pkg/camera/cameratest"
	"github.com/perchcam/perch/pkg/peer"
	"github.com/perchcam/perch/pkg/session"
	"github.com/perchcam/perch/pkg/wire"
)

// broker is a stand-in on a loopback socket: it takes any SETUP and asks devices.
type broker struct {
	addr     string
	sessions chan *session.Conn
	pushes   chan []byte
	ended    chan error
	peer     *peer.Peer
	response atomic.Pointer[func(peer.Payload) (peer.Payload, error)] // answers requests; nil refuses them
}

func newBroker(t *testing.T) *broker {
	t.Helper()
	b := &broker{sessions: make(chan *session.Conn, 8), pushes: make(chan []byte, 8), ended: make(chan error, 8)}
	var err error
	handler := peer.Funcs{
		Push: func(_ context.Context, md []byte) { b.pushes <- md },
		Response: func(_ context.Context, req peer.Payload) (peer.Payload, error) {
			if f := b.response.Load(); f != nil {
				return (*f)(req)
			}
			return peer.Payload{}, peer.Errorf(peer.CodeInvalid, "nothing is known here")
		},
	}
	if b.peer, err = peer.New(peer.Config{Handler: handler}); err != nil {
		t.Fatal(err)
	}
	srv, err := session.NewServer(session.ServerConfig{Accept: func(c *session.Conn) (session.Receiver, error) {
		b.sessions <- c
		return watched{b.peer, b.ended}, nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	b.addr = "tcp://" + l.Addr().String()
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			nc, err := l.Accept()
			if err != nil {
				return
			}
			serving.Go(func() { _ = srv.Serve(nc) })
		}
	})
	t.Cleanup(func() {
		l.Close()
		srv.Close(context.Background(), 0x102, "test is over")
		serving.Wait()
		b.peer.Wait()
	})
	return b
}

type watched struct {
	*peer.Peer
	ended chan error
}

func (w watched) Ended(err error) { w.ended <- err }

// within takes from a channel what has to come soon.
func within[T any](t *testing.T, c <-chan T, what string) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(20 * time.Second):
		t.Fatalf("%s did not come", what)
		panic("unreachable")
	}
}

// start runs an agent, and returns what ends it.
func start(t *testing.T, o Options) (*Agent, func() error) {
	t.Helper()
	a, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ran := make(chan error, 1)
	go func() { ran <- a.Run(ctx) }()
	stop := sync.OnceValue(func() error { cancel(); return within(t, ran, "the end of Run") })
	t.Cleanup(func() { _ = stop() })
	return a, stop
}

func config(t *testing.T, b *broker, cameras string) Config {
	t.Helper()
	setenv(t, map[string]string{"PERCH_BROKER": b.addr, "PERCH_DEVICE": "nest", "PERCH_CAMERAS": cameras, "PERCH_TAGS": "site=farm"})
	c, err := Load()
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// manager is a service manager's end of sd_notify.
func manager(t *testing.T) <-chan string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "notify")
	c, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("NOTIFY_SOCKET", path)
	said := make(chan string, 100)
	var reading sync.WaitGroup
	reading.Go(func() {
		buf := make([]byte, 1<<10)
		for {
			n, err := c.Read(buf)
			if err != nil {
				return
			}
			select {
			case said <- string(buf[:n]):
			default:
			}
		}
	})
	t.Cleanup(func() { c.Close(); reading.Wait() })
	return said
}

func TestAgentRegistersAnswersAndSaysGoodbye(t *testing.T) {
	said := manager(t)
	t.Setenv("WATCHDOG_USEC", "60000")
	t.Setenv("WATCHDOG_PID", "")
	b := newBroker(t)
	a, stop := start(t, Options{Config: config(t, b, "test=pattern,width=64,height=48"), Version: "1.2.3"})
	c := within(t, b.sessions, "a session")

	who, err := wire.ParseSetup(c.Setup().Metadata)
	if err != nil {
		t.Fatal(err)
	}
	ad, err := api.ParseAdvert(who.Advert)
	if err != nil {
		t.Fatal(err)
	}
	if who.Service != api.Service || who.Device() != "nest" || who.Tag(wire.KeyInstanceName) != "nest" || who.Tag("site") != "farm" || !c.Setup().Resume {
		t.Errorf("SETUP says %+v", who)
	}
	if ad.Device != "nest" || ad.ID == "" || ad.Boot == "" || ad.Version != "1.2.3" || ad.UptimeS < 1 || len(ad.Cameras) != 1 || ad.Cameras[0] != (api.CameraRef{Name: "test", Kind: "pattern"}) || len(ad.Routes) == 0 {
		t.Errorf("the advert says %+v", ad)
	}
	if len(who.Advert) > 2<<10 {
		t.Errorf("the advert has %d bytes", len(who.Advert))
	}

	md, err := wire.Request{Route: api.RouteSnapshot, Service: api.Service, Device: "nest"}.Append(nil, wire.RSocketBroker)
	if err != nil {
		t.Fatal(err)
	}
	v, err := b.peer.Requester(c).RequestResponse(t.Context(), peer.Payload{Metadata: md})
	if err != nil {
		t.Fatal(err)
	}
	if h, err := api.HeaderOf(v.Metadata); err != nil || h.Width != 64 || h.Boot != ad.Boot {
		t.Errorf("%+v, %v", h, err)
	}
	if in := a.info(); in.Device != "nest" || in.ID != ad.ID || in.Rev != ad.Rev || in.Dialect != "rsocket-broker" {
		t.Errorf("info %+v", in)
	}

	if ready := within(t, said, "READY"); !strings.HasPrefix(ready, "READY=1\nSTATUS=connecting to tcp://127.0.0.1") {
		t.Errorf("the first thing said is %q", ready)
	}
	for online, fed := false, 0; !online || fed < 3; {
		switch s := within(t, said, "STATUS and WATCHDOG"); {
		case strings.HasPrefix(s, "STATUS=online, tcp://"):
			online = true
		case s == "WATCHDOG=1":
			fed++
		default:
			t.Fatalf("it says %q", s)
		}
	}

	began := time.Now()
	if err := stop(); err != nil {
		t.Error(err)
	}
	if d := time.Since(began); d > time.Second {
		t.Errorf("it took %v to stop", d)
	}
	if e, ok := errors.AsType[*session.Error](within(t, b.ended, "the end of the session")); !ok || e.Text != "goodbye" {
		t.Errorf("the broker heard %v", e)
	}
	for s := ""; !strings.HasPrefix(s, "STOPPING=1"); {
		s = within(t, said, "STOPPING")
	}
}

// shelf is where a test keeps cameras that may be found.
type shelf struct {
	mu    sync.Mutex
	specs []camera.Spec
	more  chan struct{}
}

func newShelf(specs ...camera.Spec) *shelf { return &shelf{specs: specs, more: make(chan struct{})} }

func (s *shelf) search() Search { return Search{s.expand, s.watch} }

func (s *shelf) expand(_ context.Context, specs []camera.Spec) []camera.Spec {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := specs[: len(specs)-1 : len(specs)-1] // the last is auto
	for _, spec := range s.specs {
		if !slices.ContainsFunc(out, func(o camera.Spec) bool { return o.Name == spec.Name }) {
			out = append(out, spec)
		}
	}
	return out
}

func (s *shelf) watch(ctx context.Context, look func()) error {
	for {
		look()
		select {
		case <-ctx.Done():
			return nil
		case <-s.more:
		}
	}
}

func (s *shelf) plug(specs ...camera.Spec) {
	s.mu.Lock()
	s.specs = append(s.specs, specs...)
	s.mu.Unlock()
	s.more <- struct{}{}
}

func pattern(name string) camera.Spec {
	return camera.Spec{Name: name, Kind: camera.KindPattern, Address: name}
}

func TestAgentTellsOfACameraThatComesLater(t *testing.T) {
	b := newBroker(t)
	f := newShelf(pattern("one"))
	start(t, Options{Config: config(t, b, "auto;named=pattern:x"), Version: "1", Search: f.search()})
	c := within(t, b.sessions, "a session")
	ad := advertOf(t, c.Setup().Metadata)
	if got := cameraNames(ad); got != "named one" {
		t.Errorf("SETUP says %s", got)
	}
	f.plug(pattern("two"))
	later := advertOf(t, within(t, b.pushes, "a push"))
	if got := cameraNames(later); got != "named one two" || later.Rev <= ad.Rev || later.Boot != ad.Boot {
		t.Errorf("the push says %s, revision %d after %d", got, later.Rev, ad.Rev)
	}
}

func advertOf(t *testing.T, md []byte) api.Advert {
	t.Helper()
	e, ok, err := wire.Find(md, wire.MIMEAdvert)
	if err != nil || !ok {
		t.Fatalf("no advert: %v", err)
	}
	a, err := api.ParseAdvert(e.Body)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func cameraNames(a api.Advert) string {
	var list []string
	for _, c := range a.Cameras {
		list = append(list, c.Name)
	}
	return strings.Join(list, " ")
}

func TestCamerasAreFoundOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		open := func(s camera.Spec) (camera.Source, error) {
			if s.Address == "broken" {
				return nil, errors.New("it cannot be opened")
			}
			return &cameratest.Source{}, nil
		}
		f := newShelf(pattern("yard"), pattern("broken"))
		specs := []camera.Spec{{Name: "named", Kind: camera.KindPattern, Address: "here"}, {Kind: camera.KindAuto}}
		c, err := newCameras(specs, open, f.search(), slog.New(slog.NewTextHandler(&log, nil)))
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		searched, grown := 0, 0
		go func() {
			c.run(ctx, func() { searched++ }, func() { grown++ })
			close(ended)
		}()
		synctest.Wait()
		f.more <- struct{}{} // nothing is new
		synctest.Wait()
		if searched != 1 || grown != 0 {
			t.Errorf("searched %d times, grown %d", searched, grown)
		}
		f.plug(pattern("late"))
		synctest.Wait()
		var got []string
		for _, r := range c.refs() {
			got = append(got, r.Name)
		}
		if s := strings.Join(got, " "); s != "named yard late" || grown != 1 {
			t.Errorf("cameras: %s; grown %d times", s, grown)
		}
		if n := strings.Count(log.String(), "cannot be used"); n != 1 {
			t.Errorf("the broken one was complained about %d times", n)
		}
		if err := c.alive(time.Second); err != nil {
			t.Error(err)
		}
		cancel()
		<-ended
	})
}

// stuck is a camera whose driver does not return once its capture is to end.
type stuck struct {
	cameratest.Source
	release chan struct{}
}

func (s *stuck) Frames(ctx context.Context, want camera.Want) iter.Seq2[camera.Frame, error] {
	return func(yield func(camera.Frame, error) bool) {
		for f, err := range s.Source.Frames(ctx, want) {
			if !yield(f, err) {
				break
			}
		}
		<-s.release
	}
}

func TestCameraThatHangsInItsDriverIsNotAlive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &stuck{release: make(chan struct{})}
		specs := []camera.Spec{{Name: "yard", Kind: camera.KindPattern}}
		c, err := newCameras(specs, func(camera.Spec) (camera.Source, error) { return s, nil }, Search{}, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() {
			c.run(ctx, func() {}, func() {})
			close(ended)
		}()
		v := c.hubs()[0].View(camera.ViewOptions{})
		if _, err := v.Next(ctx); err != nil {
			t.Fatal(err)
		}
		s.Stall()
		time.Sleep(5 * time.Second)
		if err := c.alive(10 * time.Second); err != nil {
			t.Errorf("after 5 s: %v", err)
		}
		time.Sleep(10 * time.Second)
		if err := c.alive(10 * time.Second); err == nil || !strings.Contains(err.Error(), "yard") {
			t.Errorf("after 15 s: %v", err)
		}
		close(s.release)
		v.Close()
		cancel()
		<-ended
		if err := c.alive(10 * time.Second); err != nil {
			t.Errorf("when it has let go: %v", err)
		}
	})
}

func TestNewRefusesCameras(t *testing.T) {
	b := newBroker(t)
	_, err := New(Options{Config: config(t, b, "a=pattern,colour=red;b=pattern,format=h264"), Version: "1"})
	if err == nil || strings.Count(err.Error(), "PERCH_CAMERAS: camera") != 2 {
		t.Errorf("got %v", err)
	}
}

func TestWatchdogIsNotFedWhenALoopStandsStill(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		var stuck atomic.Bool
		var fed atomic.Int32
		alive := func(time.Duration) error {
			if stuck.Load() {
				return errors.New("it sleeps")
			}
			return nil
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() {
			watch(ctx, 10*time.Second, []loop{{"link", alive}}, func() { fed.Add(1) }, slog.New(slog.NewTextHandler(&log, nil)))
			close(ended)
		}()
		time.Sleep(time.Minute)
		synctest.Wait()
		if n := fed.Load(); n != 7 {
			t.Errorf("fed %d times in a minute", n)
		}
		stuck.Store(true)
		time.Sleep(time.Hour)
		synctest.Wait()
		if n := fed.Load(); n != 7 || strings.Count(log.String(), "\n") != 1 || !strings.Contains(log.String(), "link: it sleeps") {
			t.Errorf("fed %d times; log:\n%s", n, log.String())
		}
		stuck.Store(false)
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if n := fed.Load(); n != 8 {
			t.Errorf("fed %d times after it went on", n)
		}
		cancel()
		<-ended
	})
}

func TestNotifier(t *testing.T) {
	env := map[string]string{"NOTIFY_SOCKET": "@abstract", "WATCHDOG_USEC": "30000000"}
	n := newNotifier(func(k string) string { return env[k] })
	if n.addr != "\x00abstract" || n.every != 10*time.Second {
		t.Errorf("%+v", n)
	}
	env["WATCHDOG_PID"] = "1" // meant for another process
	if n := newNotifier(func(k string) string { return env[k] }); n.every != 0 {
		t.Errorf("%+v", n)
	}
	newNotifier(func(string) string { return "" }).say("READY=1") // nobody listens
	if s := status("a\nREADY=0"); strings.Contains(s, "\n") {
		t.Errorf("%q says two things", s)
	}
}

func TestReadMachine(t *testing.T) {
	const id = "0123456789abcdef0123456789abcdef\n"
	want, err := api.DeviceID(id)
	if err != nil {
		t.Fatal(err)
	}
	pi := fstest.MapFS{
		"etc/machine-id":                     {Data: []byte(id)},
		"sys/firmware/devicetree/base/model": {Data: []byte("Raspberry Pi Zero 2 W Rev 1.0\x00")},
		"proc/sys/kernel/osrelease":          {Data: []byte("6.12.25+rpt-rpi-v8\n")},
	}
	if m := readMachine(pi, "nest"); m.id != want || m.weak || m.model != "Raspberry Pi Zero 2 W Rev 1.0" || m.kernel != "6.12.25+rpt-rpi-v8" {
		t.Errorf("%+v", m)
	}
	if m := readMachine(fstest.MapFS{"var/lib/dbus/machine-id": {Data: []byte(id)}}, "nest"); m.id != want || m.weak {
		t.Errorf("%+v", m)
	}
	bare := fstest.MapFS{"etc/machine-id": {Data: []byte("uninitialized\n")}, "sys/class/dmi/id/product_name": {Data: []byte("QEMU\x1b[31m")}}
	a, b := readMachine(bare, "nest"), readMachine(bare, "barn")
	if !a.weak || a.id == b.id || len(a.id) != len(want) || strings.Contains(a.model, "\x1b") {
		t.Errorf("%+v, %+v", a, b)
	}
}

func TestJournal(t *testing.T) {
	var out bytes.Buffer
	log := slog.New(newJournal(&out, slog.LevelInfo)).With("camera", "yard")
	log.Debug("no")
	log.Info("link", "to", "online")
	log.WithGroup("g").Warn("cannot connect", "time", 1)
	log.Error("bad", "text", "a\nb")
	want := `<6>msg=link camera=yard to=online
<4>msg="cannot connect" camera=yard g.time=1
<3>msg=bad camera=yard text="a\nb"
`
	if out.String() != want {
		t.Errorf("got\n%swant\n%s", out.String(), want)
	}
	f, err := os.Create(filepath.Join(t.TempDir(), "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if isJournal(f, "8:12345") || isJournal(f, "") {
		t.Error("any file is taken for the journal")
	}
}
