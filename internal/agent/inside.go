package agent

import (
	"bytes"
	"fmt"
	"maps"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/perchcam/perch/pkg/api"
	"github.com/perchcam/perch/pkg/camera"
	"github.com/perchcam/perch/pkg/link"
)

// Health says how the loops do that have to go on. See service.Inside.
func (a *Agent) Health() api.Health {
	h := api.Health{OK: true, At: time.Now().UTC()}
	add := func(l api.Loop) {
		h.OK = h.OK && l.OK
		h.Loops = append(h.Loops, l)
	}
	st := a.link.State()
	add(loopOf("link", st.Phase == link.Online, string(st.Phase), st.Since, st.Err))
	for _, k := range a.cameras.list() {
		st := k.State()
		calm := st.Phase == camera.Idle || st.Phase == camera.Starting || st.Phase == camera.Streaming
		add(loopOf("camera "+k.Name(), calm, string(st.Phase), st.Since, st.Err))
	}
	if a.board == nil {
		return h
	}
	for _, s := range a.board.Sensors() {
		l := api.Loop{Name: "sensor " + s.Name, OK: s.Error == nil}
		if s.Error != nil {
			l.State, l.Error = s.Error.Code, s.Error.Text
		}
		add(l)
	}
	for _, o := range a.board.Outputs() {
		l := api.Loop{Name: "output " + o.Name, OK: o.Error == nil}
		if o.Error != nil {
			l.State, l.Error = o.Error.Code, o.Error.Text
		}
		add(l)
	}
	return h
}

func loopOf(name string, ok bool, state string, since time.Time, err error) api.Loop {
	l := api.Loop{Name: name, OK: ok, State: state, Last: since.UTC()}
	if err != nil {
		l.Error = err.Error()
	}
	return l
}

// Logs returns what was logged. See service.Inside.
func (a *Agent) Logs(n uint64) (lines []api.LogLine, now uint64, more <-chan struct{}) {
	return a.book.logs(n)
}

// Metrics is every counter as Prometheus reads it. See service.Inside.
func (a *Agent) Metrics() []byte {
	var e exposition
	in := a.info()
	e.gauge("perch_agent_info", "Which agent this is; the value has no meaning.", 1, "version", in.Version, "arch", in.Arch, "kernel", in.Kernel, "model", in.Model)
	e.gauge("perch_agent_started_seconds", "When the agent started, since 1970.", float64(a.started.UnixMilli())/1e3)
	anon, threads := readStatus()
	e.gauge("perch_agent_memory_bytes", "Memory of the agent that is backed by no file.", anon)
	e.gauge("perch_agent_threads", "Threads of the agent.", threads)
	e.gauge("perch_agent_goroutines", "Goroutines of the agent.", float64(runtime.NumGoroutine()))

	st := a.link.State()
	online := 0.0
	if st.Phase == link.Online {
		online = 1
	}
	e.gauge("perch_link_online", "1 while there is a link to the broker.", online)
	e.gauge("perch_link_since_seconds", "When the link's state changed last, since 1970.", float64(st.Since.UnixMilli())/1e3)
	if c := a.link.Conn(); c != nil {
		s := c.Stats()
		e.gauge("perch_session_links", "Links the present session has been on.", float64(s.Links))
		e.gauge("perch_session_streams", "Requests and streams under way.", float64(s.Streams))
		e.gauge("perch_session_retained_bytes", "Bytes that are kept for a resumption.", float64(s.Retained))
		e.gauge("perch_session_queued_bytes", "Bytes that wait to be sent.", float64(s.Queued))
		e.counter("perch_session_sent_bytes_total", "Bytes of frames sent by the present session.", float64(s.BytesSent))
		e.counter("perch_session_received_bytes_total", "Bytes of frames received by the present session.", float64(s.BytesReceived))
		e.counter("perch_session_again_bytes_total", "Bytes that the present session sent again after a resumption.", float64(s.BytesAgain))
	}
	p := a.peer.Stats()
	e.gauge("perch_requests", "Requests under way.", float64(p.Requests))
	for reason, n := range map[string]uint64{"refused": p.Refused, "dropped": p.Dropped, "flooded": p.Flooded, "too_large": p.TooLarge, "panic": p.Panics} {
		e.counter("perch_requests_failed_total", "Requests that were not answered, by reason.", float64(n), "reason", reason)
	}
	for _, k := range a.cameras.list() {
		s, name := k.Stats(), k.Name()
		e.gauge("perch_camera_viewers", "Who looks now.", float64(s.Viewers), "camera", name)
		e.gauge("perch_camera_state", "1 for the state the camera is in.", 1, "camera", name, "state", string(k.State().Phase))
		e.counter("perch_camera_frames_total", "Frames the camera gave.", float64(s.Frames), "camera", name)
		e.counter("perch_camera_lost_total", "Frames the camera counted and did not give.", float64(s.Lost), "camera", name)
		e.counter("perch_camera_copied_total", "Frames that were copied because somebody wanted them: once, whatever the number of viewers.", float64(s.Copied), "camera", name)
		e.counter("perch_camera_encoded_total", "Pictures that were computed and not passed through.", float64(s.Encoded), "camera", name)
		e.counter("perch_camera_starts_total", "Times the sensor was started.", float64(s.Starts), "camera", name)
		e.counter("perch_camera_failures_total", "Times a capture ended with an error.", float64(s.Failures), "camera", name)
		for reason, n := range s.Dropped {
			e.counter("perch_camera_dropped_total", "Frames that were thrown away, by reason.", float64(n), "camera", name, "reason", reason)
		}
	}
	if a.board != nil {
		s := a.board.Stats()
		e.counter("perch_gpio_edges_total", "Edges of all inputs.", float64(s.Edges))
		e.counter("perch_gpio_edges_missed_total", "Edges that the kernel dropped.", float64(s.MissedKernel))
		e.counter("perch_gpio_items_missed_total", "Items that watchers were too slow for.", float64(s.MissedRing))
		e.counter("perch_gpio_storms_total", "Times an input floated.", float64(s.Storms))
		e.counter("perch_gpio_errors_total", "Times a sensor began to fail.", float64(s.Errors))
	}
	if len(a.cfg.Triggers) > 0 {
		s := a.service.AlbumStats()
		e.gauge("perch_album_pictures", "Pictures that triggers took and that are kept.", float64(s.Pictures))
		e.gauge("perch_album_bytes", "Bytes of them.", float64(s.Bytes))
		for reason, n := range s.Gone {
			e.counter("perch_album_gone_total", "Pictures of triggers that are not, or no longer, kept, by reason.", float64(n), "reason", reason)
		}
	}
	return e.text()
}

// readStatus reads what /proc/self/status says of memory (bytes) and threads; 0 where it is not.
func readStatus() (anon, threads float64) {
	b, _ := os.ReadFile("/proc/self/status")
	for line := range strings.Lines(string(b)) {
		key, value, _ := strings.Cut(line, ":")
		fields := strings.Fields(value)
		if len(fields) == 0 {
			continue
		}
		n, _ := strconv.ParseFloat(fields[0], 64)
		switch key {
		case "RssAnon":
			anon = n * 1024
		case "Threads":
			threads = n
		}
	}
	return anon, threads
}

// exposition gathers samples by their metric, because all of one have to stand together.
type exposition struct{ metrics map[string]*metric }

type metric struct {
	help, kind string
	samples    []string
}

func (e *exposition) gauge(name, help string, v float64, labels ...string) {
	e.add(name, help, "gauge", v, labels)
}

func (e *exposition) counter(name, help string, v float64, labels ...string) {
	e.add(name, help, "counter", v, labels)
}

func (e *exposition) add(name, help, kind string, v float64, labels []string) {
	if e.metrics == nil {
		e.metrics = map[string]*metric{}
	}
	m := e.metrics[name]
	if m == nil {
		m = &metric{help: help, kind: kind}
		e.metrics[name] = m
	}
	var sample strings.Builder
	sample.WriteString(name)
	for i := 0; i < len(labels); i += 2 {
		sep := ","
		if i == 0 {
			sep = "{"
		}
		sample.WriteString(sep + labels[i] + `="` + labelEscapes.Replace(labels[i+1]) + `"`)
	}
	if len(labels) > 0 {
		sample.WriteString("}")
	}
	m.samples = append(m.samples, sample.String()+" "+strconv.FormatFloat(v, 'f', -1, 64))
}

var labelEscapes = strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`)

func (e *exposition) text() []byte {
	var b bytes.Buffer
	for _, name := range slices.Sorted(maps.Keys(e.metrics)) {
		m := e.metrics[name]
		slices.Sort(m.samples)
		fmt.Fprintf(&b, "# HELP %s %s\n# TYPE %s %s\n%s\n", name, m.help, name, m.kind, strings.Join(m.samples, "\n"))
	}
	return b.Bytes()
}
