package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"image"
	"image/color"
	"image/jpeg"
	"io"
	"math/rand/v2"
	"mime/multipart"
	"net"
	"net/http"
	"net/textproto"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/perchcam/perch/pkg/camera"
	"github.com/perchcam/perch/pkg/camera/replay"
	"github.com/perchcam/perch/pkg/client"
)

// The groups with a real agent: its camera replays pictures of 1280 × 720 and about 114 KB, 30 a second, as a webcam's
// MJPEG comes.

const (
	pictureBytes = 114_000
	fps          = 30
)

// album writes pictures into a folder and returns the mean of their sizes.
func (l *lab) album() (dir string, mean int, err error) {
	dir = filepath.Join(l.tmp, "album")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", 0, err
	}
	const n = 10
	quality := 70
	for i := 0; i < n; i++ {
		b, err := drawn(i, quality)
		if err != nil {
			return "", 0, err
		}
		if i == 0 { // find the quality that gives the size
			for ; len(b) > pictureBytes && quality > 5; quality-- {
				if b, err = drawn(i, quality); err != nil {
					return "", 0, err
				}
			}
		}
		mean += len(b) / n
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("%02d.jpg", i)), b, 0o600); err != nil {
			return "", 0, err
		}
	}
	return dir, mean, nil
}

// drawn is a picture with noise, which does not compress well.
func drawn(i, quality int) ([]byte, error) {
	img := image.NewRGBA(image.Rect(0, 0, 1280, 720))
	r := rand.New(rand.NewPCG(uint64(i), 1))
	for y := range 720 {
		for x := range 1280 {
			v := uint8(r.IntN(40))
			img.SetRGBA(x, y, color.RGBA{uint8(x/8+10*i) + v, uint8(y/4) + v, uint8((x+y)/16) + v, 255})
		}
	}
	var b bytes.Buffer
	err := jpeg.Encode(&b, img, &jpeg.Options{Quality: quality})
	return b.Bytes(), err
}

// agent starts one whose camera replays dir.
func (l *lab) agent(broker, dir string) (*child, error) {
	return program("perch-agent", filepath.Join(l.bin, "perch-agent"), []string{
		"PERCH_BROKER=" + broker, "PERCH_DEVICE=" + deviceName, "PERCH_LOG_LEVEL=warn",
		fmt.Sprintf("PERCH_CAMERAS=yard=replay:%s,fps=%d", dir, fps),
	})
}

// look is what viewers are told to do.
type look struct {
	Viewers int
	Share   bool
	For     time.Duration // from when each has its first pictures
}

// steady is how many pictures do not count: the first waits for its age, and the second for the first.
const steady = 5

// looked is what they saw.
type looked struct {
	Pictures int // in all, in that time
	Least    int // of one viewer
	Bytes    int64
	Ages     []float64 // µs from the camera's stamp to the program, sorted
}

// viewersRole looks at the device's camera with pkg/client, each viewer over a connection of its own. It is on the same
// machine as the agent, so that both have the same monotonic clock.
func viewersRole(broker, _ string) error {
	say(ready{})
	return obey(func(k look) (any, error) {
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		var (
			mu      sync.Mutex
			counts  = make([]looked, k.Viewers)
			began   sync.WaitGroup
			work    sync.WaitGroup
			failed  error
			counted bool
		)
		began.Add(k.Viewers)
		for i := range k.Viewers {
			work.Go(func() {
				first := sync.OnceFunc(began.Done)
				defer first()
				err := func() error {
					c, err := client.Dial(ctx, client.Config{Broker: broker})
					if err != nil {
						return err
					}
					defer c.Close()
					n := 0
					for pic, err := range c.Stream(ctx, deviceName, client.StreamOptions{Share: k.Share, Wait: 20 * time.Second}) {
						if err != nil {
							return err
						}
						age := float64(int64(camera.Mono())-pic.MonoNS) / 1e3
						if n++; n == steady {
							first()
						}
						mu.Lock()
						if counted {
							n := &counts[i]
							n.Pictures++
							n.Bytes += int64(len(pic.Data))
							n.Ages = append(n.Ages, age)
						}
						mu.Unlock()
					}
					return nil
				}()
				if err != nil && ctx.Err() == nil {
					mu.Lock()
					failed = err
					mu.Unlock()
				}
			})
		}
		began.Wait()
		say(looked{}) // the time begins
		mu.Lock()
		counted = true
		mu.Unlock()
		time.Sleep(k.For)
		mu.Lock()
		counted = false
		sum := looked{Least: counts[0].Pictures}
		for _, n := range counts {
			sum.Pictures += n.Pictures
			sum.Bytes += n.Bytes
			sum.Least = min(sum.Least, n.Pictures)
			sum.Ages = append(sum.Ages, n.Ages...)
		}
		mu.Unlock()
		cancel()
		work.Wait()
		slices.Sort(sum.Ages)
		return sum, failed
	})
}

// spent is what was used while viewers looked.
type spent struct {
	looked
	agent, broker time.Duration // of CPU
	uplink        int64         // bytes from the agent
	seconds       float64
}

// scene is a broker, an agent and its viewers.
type scene struct {
	crew                           crew
	broker, agent, uplink, viewers *child
}

// scene starts them. counting has the agent's link lead through a relay that counts.
func (l *lab) scene(counting bool) (s *scene, err error) {
	s = &scene{}
	defer func() {
		if err != nil {
			s.crew.stop()
		}
	}()
	dir, _, err := l.album()
	if err != nil {
		return nil, err
	}
	addr, err := freeAddr()
	if err != nil {
		return nil, err
	}
	if s.broker, err = s.crew.add(l.broker("tcp://" + addr)); err != nil {
		return nil, err
	}
	via := addr
	if counting {
		if s.uplink, err = s.crew.add(start("relay", addr)); err != nil {
			return nil, err
		}
		via = s.uplink.addr
	}
	if s.agent, err = s.crew.add(l.agent("tcp://"+via, dir)); err != nil {
		return nil, err
	}
	s.viewers, err = s.crew.add(start("viewers", "tcp://"+addr))
	return s, err
}

// look has viewers look and counts what that takes.
func (s *scene) look(k look) (spent, error) {
	var begun looked
	if err := s.viewers.ask(k, &begun, 0); err != nil {
		return spent{}, err
	}
	up := func() (n int64, err error) {
		if s.uplink == nil {
			return 0, nil
		}
		var r relayed
		err = s.uplink.ask(struct{}{}, &r, 0)
		return r.ToTarget, err
	}
	begin := time.Now()
	a, b := cpu(s.agent.pid()), cpu(s.broker.pid())
	u, err := up()
	if err != nil {
		return spent{}, err
	}
	time.Sleep(k.For - 50*time.Millisecond)
	v := spent{agent: cpu(s.agent.pid()) - a, broker: cpu(s.broker.pid()) - b, seconds: time.Since(begin).Seconds()}
	w, err := up()
	if err != nil {
		return spent{}, err
	}
	v.uplink = w - u
	err = s.viewers.read(&v.looked, k.For+patience)
	return v, err
}

// liveStream is the time from the camera's stamp to the program that looks.
func liveStream(l *lab) (*report, error) {
	r := l.report()
	s, err := l.scene(false)
	if err != nil {
		return nil, err
	}
	defer s.crew.stop()
	dev, err := s.crew.add(start("stamper"))
	if err != nil {
		return nil, err
	}
	middle, err := s.crew.add(start("relay", dev.addr))
	if err != nil {
		return nil, err
	}
	other, err := s.crew.add(start("stamps", middle.addr))
	if err != nil {
		return nil, err
	}
	const span = 2 * time.Second
	var ours, floor []float64
	for n := range l.blocks + 1 {
		v, err := s.look(look{Viewers: 1, For: span})
		if err != nil {
			return nil, err
		}
		var f looked
		if err := other.ask(look{For: span}, &f, span); err != nil {
			return nil, err
		}
		if n > 0 {
			ours, floor = append(ours, v.Ages...), append(floor, f.Ages...)
		}
	}
	slices.Sort(ours)
	slices.Sort(floor)
	ms := func(v []float64, q float64) float64 { return quantile(v, q) / 1e3 }
	r.goal("720p30 stream, driver stamp → client callback", "p50 ≤ 3 ms, p99 ≤ 10 ms + the relay's p99",
		fmt.Sprintf("p50 %s ms, p99 %s ms; the same pictures through a relay %s and %s ms", short(ms(ours, .5)), short(ms(ours, .99)), short(ms(floor, .5)), short(ms(floor, .99))),
		ms(ours, .5) <= 3, ms(ours, .99) <= 10+ms(floor, .99))
	r.note("%d pictures of agent, broker and pkg/client, %d of the relay. The camera is kind replay: its stamp is when it hands a picture over.", len(ours), len(floor))
	return r, nil
}

// stamper sends, to whoever connects, pictures' worth of bytes with the time before them, 30 a second.
func stamper(string) error {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	welcome(ln, func(nc net.Conn) {
		defer nc.Close()
		b := make([]byte, pictureBytes)
		tick := time.NewTicker(time.Second / fps)
		defer tick.Stop()
		for range tick.C {
			binary.BigEndian.PutUint64(b, uint64(camera.Mono()))
			if _, err := nc.Write(b); err != nil {
				return
			}
		}
	})
	return stay()
}

// stamps takes them.
func stamps(addr string) error {
	say(ready{})
	return obey(func(k look) (any, error) {
		nc, err := net.Dial("tcp", addr)
		if err != nil {
			return nil, err
		}
		defer nc.Close()
		var got looked
		b := make([]byte, pictureBytes)
		for begin := time.Now(); time.Since(begin) < k.For; {
			if _, err := io.ReadFull(nc, b); err != nil {
				return nil, err
			}
			got.Ages = append(got.Ages, float64(int64(camera.Mono())-int64(binary.BigEndian.Uint64(b)))/1e3)
		}
		slices.Sort(got.Ages)
		return got, nil
	})
}

// viewers is one camera with 1, 8 and 64 viewers, sharing and not.
func viewers(l *lab) (*report, error) {
	r := l.report()
	s, err := l.scene(true)
	if err != nil {
		return nil, err
	}
	defer s.crew.stop()
	kinds := []look{{Viewers: 1, Share: true}, {Viewers: 64, Share: true}, {Viewers: 1}, {Viewers: 8}, {Viewers: 64}}
	got := map[look][]spent{}
	const span = 2 * time.Second
	for n := range max(1, l.blocks/2) + 1 {
		for _, k := range kinds {
			do := k
			do.For = span
			v, err := s.look(do)
			if err != nil {
				return nil, err
			}
			if n > 0 {
				got[k] = append(got[k], v)
			}
		}
	}
	pick := func(k look, f func(spent) float64) (v []float64) {
		for _, x := range got[k] {
			v = append(v, f(x))
		}
		return v
	}
	uplink := func(v spent) float64 { return float64(v.uplink) / v.seconds / 1e6 }
	agentCPU := func(v spent) float64 { return v.agent.Seconds() / v.seconds * 100 }
	ratio := func(a, b look, f func(spent) float64) spread {
		x, y := pick(a, f), pick(b, f)
		var v []float64
		for i := range x {
			v = append(v, x[i]/y[i])
		}
		return spreadOf(v)
	}
	perPicture := func(cpu func(spent) time.Duration) func(spent) float64 {
		return func(v spent) float64 { return float64(cpu(v).Microseconds()) / float64(v.Pictures) }
	}
	ofAgent, ofBroker := perPicture(func(v spent) time.Duration { return v.agent }), perPicture(func(v spent) time.Duration { return v.broker })
	t := table{Title: "Viewers of one camera, 720p30", Head: []string{"", "agent's uplink MB/s", "agent's CPU %", "pictures/s each", "agent µs per picture and viewer", "broker µs per picture and viewer", "age p50 ms", "age p99 ms"}}
	for _, k := range kinds {
		var ages []float64
		for _, v := range got[k] {
			ages = append(ages, v.Ages...)
		}
		slices.Sort(ages)
		name := fmt.Sprintf("%d", k.Viewers)
		if k.Share {
			name += ", share"
		}
		each := pick(k, func(v spent) float64 { return float64(v.Pictures) / float64(k.Viewers) / span.Seconds() })
		t.Lines = append(t.Lines, []string{
			name, short(spreadOf(pick(k, uplink)).Median), short(spreadOf(pick(k, agentCPU)).Median), short(spreadOf(each).Median),
			spreadOf(pick(k, ofAgent)).String(), spreadOf(pick(k, ofBroker)).String(), short(quantile(ages, .5) / 1e3), short(quantile(ages, .99) / 1e3),
		})
	}
	r.Tables = append(r.Tables, t)
	up, load := ratio(kinds[1], kinds[0], uplink), ratio(kinds[1], kinds[0], agentCPU)
	alone := ratio(kinds[2], kinds[0], agentCPU) // the same again
	r.goal("64 viewers of one camera, `share`", "the agent's uplink bytes and CPU as with one",
		fmt.Sprintf("bytes %s ×, CPU %s × (one viewer against one viewer: %s ×)", up, load, alone), up.Median <= 1.05, load.Median <= 1.15)
	each := spreadOf(pick(kinds[4], ofAgent))
	grows := spreadOf([]float64{each.Median / spreadOf(pick(kinds[3], ofAgent)).Median})
	r.goal("64 viewers without `share`", fmt.Sprintf("linear, ≤ %d µs of the agent's CPU per picture and viewer", viewerCost),
		fmt.Sprintf("%s µs, %s × of 8 viewers'; broker %s µs", each, short(grows.Median), spreadOf(pick(kinds[4], ofBroker))), each.Median <= viewerCost, grows.Median <= 1.2)
	return r, nil
}

// viewerCost is what a viewer who does not share may cost the agent for each picture, in µs of this kind of core: 114 KB
// at the 1.3 s/GB that a relay takes are 148.
const viewerCost = 200

// agentCost is the agent beside a minimal HTTP server that sends the same pictures from the same source.
func agentCost(l *lab) (*report, error) {
	r := l.report()
	s, err := l.scene(false)
	if err != nil {
		return nil, err
	}
	defer s.crew.stop()
	if _, err := s.look(look{Viewers: 1, For: time.Second}); err != nil {
		return nil, err
	}
	time.Sleep(15 * time.Second) // the camera is switched off again, and the collector has run
	anon := float64(memory(s.agent.pid(), "RssAnon")) / 1e6
	dir, _, err := l.album()
	if err != nil {
		return nil, err
	}
	web, err := s.crew.add(start("httpcam", dir))
	if err != nil {
		return nil, err
	}
	reader, err := s.crew.add(start("httpviewer", web.addr))
	if err != nil {
		return nil, err
	}
	const span = 3 * time.Second
	var ratio, ours, theirs []float64
	for n := range max(2, l.blocks/2) + 1 {
		v, err := s.look(look{Viewers: 1, For: span})
		if err != nil {
			return nil, err
		}
		var first, h looked
		if err := reader.ask(look{For: span}, &first, span); err != nil {
			return nil, err
		}
		before := cpu(web.pid())
		if err := reader.read(&h, span+patience); err != nil {
			return nil, err
		}
		used := cpu(web.pid()) - before
		a, b := v.agent.Seconds()/(float64(v.Bytes)/1e9), used.Seconds()/(float64(h.Bytes)/1e9)
		if n > 0 {
			ratio, ours, theirs = append(ratio, a/b), append(ours, a), append(theirs, b)
		}
	}
	v := spreadOf(ratio)
	r.goal("agent, CPU per GB", "≤ 1.3 × a minimal HTTP server sending the same frames", fmt.Sprintf("%s × (%s s/GB, %s)", v, short(spreadOf(ours).Median), short(spreadOf(theirs).Median)), v.Median <= 1.3)
	r.goal("agent, idle", "RssAnon ≤ 9 MB", fmt.Sprintf("%s MB", short(anon)), anon <= 9)
	return r, nil
}

// httpCamera serves a replay camera's pictures as multipart/x-mixed-replace, as small as such a server can be.
func httpCamera(dir string) error {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	spec, err := camera.ParseSpec("yard=replay:" + dir + ",fps=" + strconv.Itoa(fps))
	if err != nil {
		return err
	}
	src, err := replay.New(spec)
	if err != nil {
		return err
	}
	say(ready{Addr: ln.Addr().String()})
	go func() {
		_ = http.Serve(ln, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			m := multipart.NewWriter(w)
			w.Header().Set("Content-Type", "multipart/x-mixed-replace; boundary="+m.Boundary())
			for f, err := range src.Frames(r.Context(), spec.Want) {
				if err != nil {
					return
				}
				part, err := m.CreatePart(textproto.MIMEHeader{"Content-Type": {"image/jpeg"}, "Content-Length": {strconv.Itoa(len(f.Data))}})
				if err != nil {
					return
				}
				if _, err := part.Write(f.Data); err != nil {
					return
				}
				w.(http.Flusher).Flush()
			}
		}))
	}()
	return stay()
}

// httpViewer reads that.
func httpViewer(addr string) error {
	say(ready{})
	return obey(func(k look) (any, error) {
		r, err := http.Get("http://" + addr + "/")
		if err != nil {
			return nil, err
		}
		defer r.Body.Close()
		b := make([]byte, 256<<10)
		if _, err := r.Body.Read(b); err != nil {
			return nil, err
		}
		say(looked{})
		var got looked
		for begin := time.Now(); time.Since(begin) < k.For; {
			n, err := r.Body.Read(b)
			if err != nil {
				return nil, err
			}
			got.Bytes += int64(n)
		}
		return got, nil
	})
}
