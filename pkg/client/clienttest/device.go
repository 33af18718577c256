package clienttest

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"image"
	"image/color"
	"image/jpeg"
	"io"
	"iter"
	"net"
	"sync"
	"time"

	"github.com/perchcam/perch/pkg/api"
	"github.com/perchcam/perch/pkg/link"
	"github.com/perchcam/perch/pkg/peer"
	"github.com/perchcam/perch/pkg/session"
	"github.com/perchcam/perch/pkg/wire"
)

// Device is a device with one camera, "front", whose pictures come at a steady pace. Its fields are set before
// Join.
type Device struct {
	Name string
	FPS  int    // 30
	JPEG []byte // each picture; a small grey one
	Seq  uint64 // of the picture taken when it was started

	// Dial makes the device's links to some other broker than the world's, which admits it by Auth.
	Dial func(ctx context.Context) (net.Conn, error)
	Auth wire.Auth

	// Answer replaces a route's answer. ok is false: the route is answered as ever.
	Answer func(ctx context.Context, route string, data []byte) (p peer.Payload, ok bool, err error)
	// Stream does the same for a stream; nil is as ever.
	Stream func(ctx context.Context, route string, data []byte) iter.Seq2[peer.Payload, error]
	// Canceled is told each request whose context ended before its answer. It may be nil.
	Canceled func(route string)

	w    *World
	net  *Network
	stop func()

	mu    sync.Mutex // guards the following
	boot  int
	since time.Time         // when sequence number 0 was taken
	asked []string          // routes, in the order of their requests
	said  map[string][]byte // the newest metadata by route
}

// Join connects d to the broker and waits until it is listed.
func (w *World) Join(d *Device) *Device {
	w.t.Helper()
	if d.FPS == 0 {
		d.FPS = 30
	}
	if d.JPEG == nil {
		d.JPEG = Grey(64, 48)
	}
	d.w, d.net = w, newNetwork(w)
	if d.Dial == nil {
		d.Dial = d.net.Dial
	}
	d.connect()
	w.t.Cleanup(func() {
		d.stop()
		d.net.work.Wait()
	})
	return d
}

// Reboot takes the device's power away and gives it back: its link is lost without a word, and it counts anew.
func (d *Device) Reboot() {
	d.net.Down(true)
	d.stop()
	d.net.Down(false)
	d.connect()
}

// Network is between the device and the broker.
func (d *Device) Network() *Network { return d.net }

// Asked returns the routes asked for so far.
func (d *Device) Asked() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return append([]string(nil), d.asked...)
}

func (d *Device) connect() {
	d.w.t.Helper()
	d.mu.Lock()
	d.boot++
	d.since = time.Now()
	d.mu.Unlock()
	p, err := peer.New(peer.Config{Handler: peer.Funcs{Response: d.response, Stream: d.stream}})
	if err != nil {
		d.w.t.Fatal(err)
	}
	online := make(chan struct{}, 1)
	l, err := link.New(link.Config{
		Brokers:  []link.URL{{Scheme: link.TCP, Host: "broker", Port: 1}},
		Dial:     func(ctx context.Context, _ link.URL) (net.Conn, error) { return d.Dial(ctx) },
		Setup:    d.setup,
		Receiver: p,
		Changed: func(s link.State) {
			if s.Phase == link.Online {
				select {
				case online <- struct{}{}:
				default:
				}
			}
		},
	})
	if err != nil {
		d.w.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var work sync.WaitGroup
	work.Go(func() { _ = l.Run(ctx) })
	d.stop = func() {
		cancel()
		work.Wait()
		p.Wait()
	}
	<-online
}

func (d *Device) setup() (session.Setup, error) {
	id := fmt.Sprintf("%032x", d.Name)[:32]
	advert, err := api.Advert{
		Device: d.Name, ID: id, Boot: d.bootID(), Rev: 1, Version: "1.0.0", UptimeS: 90 * 60,
		Cameras: api.List[api.CameraRef]{{Name: "front", Kind: "pattern"}},
		Routes:  api.List[string]{api.RouteSnapshot, api.RouteStream, api.RouteCameras, api.RouteInfo, api.RouteClock},
	}.Encode()
	if err != nil {
		return session.Setup{}, err
	}
	md, err := wire.Setup{
		Dialect: wire.RSocketBroker, ID: wire.NewUUID().String(), Service: api.Service, Advert: advert, Auth: d.Auth,
		Tags: []wire.Tag{{Key: wire.KeyInstanceName, Value: d.Name}, {Key: wire.KeyDevice, Value: d.Name}},
	}.Append(nil)
	return session.Setup{
		KeepAlive: 5 * time.Second, Lifetime: 20 * time.Second,
		MetadataMIME: wire.MIMEComposite, DataMIME: wire.MIMEOctetStream, Metadata: md,
	}, err
}

func (d *Device) bootID() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return fmt.Sprintf("boot-%d", d.boot)
}

// Metadata returns what the newest request of a route had for metadata.
func (d *Device) Metadata(route string) []byte {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.said[route]
}

// note takes a request down and returns its route.
func (d *Device) note(req peer.Payload) string {
	r := route(req)
	d.mu.Lock()
	defer d.mu.Unlock()
	d.asked = append(d.asked, r)
	if d.said == nil {
		d.said = map[string][]byte{}
	}
	d.said[r] = req.Metadata
	return r
}

func route(req peer.Payload) string {
	t, err := wire.ParseRequest(req.Metadata)
	if err != nil {
		return err.Error()
	}
	return string(t.Route)
}

func (d *Device) response(ctx context.Context, req peer.Payload) (peer.Payload, error) {
	r := d.note(req)
	defer d.canceled(ctx, r)
	if d.Answer != nil {
		if p, ok, err := d.Answer(ctx, r, req.Data); ok || err != nil {
			return p, err
		}
	}
	switch r {
	case api.RouteSnapshot:
		q, err := api.Parse[api.SnapshotRequest](req.Data)
		if err == nil && q.Camera != "" && q.Camera != "front" {
			err = fmt.Errorf("there is no camera %q", q.Camera)
		}
		if err != nil {
			return peer.Payload{}, peer.Errorf(peer.CodeInvalid, "%v", err)
		}
		seq := d.next(d.current())
		if q.MaxAge > 0 {
			seq = d.current()
		}
		if err := d.until(ctx, seq); err != nil {
			return peer.Payload{}, err
		}
		return d.picture(seq, 0), nil
	case api.RouteInfo:
		return JSON(api.Info{
			Device: d.Name, ID: fmt.Sprintf("%032x", d.Name)[:32], Boot: d.bootID(), Rev: 1, Version: "1.0.0",
			Started: d.started(), At: time.Now(), MonoNS: d.mono(), OS: "linux", Arch: "arm64",
		})
	case api.RouteCameras:
		mode := api.Mode{Format: "RGB3", Width: 64, Height: 48, FPS: []float64{float64(d.FPS)}}
		return JSON(api.CameraList{Cameras: api.List[api.Camera]{{Name: "front", Kind: "pattern", State: api.CameraIdle, Modes: []api.Mode{mode}}}})
	case api.RouteClock:
		return JSON(api.ClockReply{Boot: d.bootID(), MonoNS: d.mono(), At: time.Now()})
	}
	return peer.Payload{}, peer.Errorf(peer.CodeInvalid, "there is no route %q", r)
}

func (d *Device) stream(ctx context.Context, req peer.Payload) iter.Seq2[peer.Payload, error] {
	r := d.note(req)
	if d.Stream != nil {
		if s := d.Stream(ctx, r, req.Data); s != nil {
			return s
		}
	}
	if r != api.RouteStream {
		return peer.Fail(peer.Errorf(peer.CodeInvalid, "there is no route %q", r))
	}
	q, err := api.Parse[api.StreamRequest](req.Data)
	if err != nil {
		return peer.Fail(peer.Errorf(peer.CodeInvalid, "%v", err))
	}
	want := d.next(d.current()) // the first not yet delivered, whether there is room for it or not
	if q.From != nil && q.From.Boot == d.bootID() {
		want = q.From.Seq
	}
	fresh := peer.Fresh(ctx, func(ctx context.Context, _ bool) (peer.Payload, error) {
		seq := max(want, d.current())
		if err := d.until(ctx, seq); err != nil {
			return peer.Payload{}, err
		}
		p := d.picture(seq, seq-want)
		want = seq + 1
		return p, nil
	})
	return func(yield func(peer.Payload, error) bool) {
		defer d.canceled(ctx, r)
		fresh(yield)
	}
}

func (d *Device) canceled(ctx context.Context, route string) {
	if ctx.Err() != nil && d.Canceled != nil {
		d.Canceled(route)
	}
}

func (d *Device) started() time.Time {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.since
}

// mono is the device's monotonic clock, which began long before ours.
func (d *Device) mono() int64 { return int64(time.Since(d.started()) + 1000*time.Hour) }

func (d *Device) period() time.Duration { return time.Second / time.Duration(d.FPS) }

// current returns the newest picture's sequence number.
func (d *Device) current() uint64 { return d.Seq + uint64(time.Since(d.started())/d.period()) }

func (d *Device) next(seq uint64) uint64 { return seq + 1 }

// at is when a picture is taken, from the start on.
func (d *Device) at(seq uint64) time.Duration { return time.Duration(seq-d.Seq) * d.period() }

// until waits for a picture to be taken.
func (d *Device) until(ctx context.Context, seq uint64) error {
	select {
	case <-time.After(time.Until(d.started().Add(d.at(seq)))):
		return nil
	case <-ctx.Done():
		return io.EOF
	}
}

func (d *Device) picture(seq, skipped uint64) peer.Payload {
	taken := d.at(seq)
	cfg, err := jpeg.DecodeConfig(bytes.NewReader(d.JPEG))
	if err != nil {
		cfg = image.Config{Width: 1, Height: 1}
	}
	md, err := api.FrameHeader{
		Camera: "front", Boot: d.bootID(), Seq: seq, At: d.started().Add(taken), MonoNS: int64(taken + 1000*time.Hour),
		Width: cfg.Width, Height: cfg.Height, Format: api.FormatJPEG, Skipped: skipped,
	}.Metadata()
	if err != nil {
		panic(err) // a test's own device is wrong
	}
	return peer.Payload{Metadata: md, Data: d.JPEG}
}

// JSON is an answer in JSON.
func JSON(v any) (peer.Payload, error) {
	data, err := json.Marshal(v)
	return peer.Payload{Data: data}, err
}

// Grey is a JPEG of one colour.
func Grey(width, height int) []byte {
	img := image.NewGray(image.Rect(0, 0, width, height))
	for i := range img.Pix {
		img.Pix[i] = color.Gray{Y: 128}.Y
	}
	var b bytes.Buffer
	if err := jpeg.Encode(&b, img, nil); err != nil {
		panic(err) // it does not fail into memory
	}
	return b.Bytes()
}
