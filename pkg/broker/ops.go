package broker

import (
	"context"
	"errors"
	"fmt"
	"html/template"
	"net"
	"net/http"
	"time"

	"github.com/VictoriaMetrics/metrics"

	"github.com/perchcam/perch/pkg/api"
	"github.com/perchcam/perch/pkg/broker/access"
)

// ops is what whoever runs the broker looks at, by HTTP on an address of this machine only:
//
//	/         what there is, for a person
//	/metrics  counters, in the text format of Prometheus
//	/healthz  200 while the broker runs
//	/readyz   200 while it takes new sessions, else 503
type ops struct {
	b       *Broker
	metrics *metrics.Set
	mux     *http.ServeMux
	sees    *access.Grant // everything
}

func newOps(b *Broker) *ops {
	o := &ops{b: b, metrics: metrics.NewSet(), mux: http.NewServeMux(), sees: &access.Grant{Role: access.Admin}}
	o.mux.HandleFunc("GET /metrics", o.serveMetrics)
	o.mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		b.registry.count(o.sees) // its lock is the one that everything needs
		fmt.Fprintln(w, "ok")
	})
	o.mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if b.draining.Load() {
			http.Error(w, "draining", http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintln(w, "ready")
	})
	o.mux.HandleFunc("GET /{$}", o.serveStatus)

	gauge := func(name string, f func() float64) { o.metrics.NewGauge("perch_broker_"+name, f) }
	gauge(`devices{state="online"}`, func() float64 { n, _ := b.registry.count(o.sees); return float64(n) })
	gauge(`devices{state="away"}`, func() float64 { _, n := b.registry.count(o.sees); return float64(n) })
	gauge("laptops", func() float64 { return float64(b.info(o.sees).Viewers) })
	gauge("links", func() float64 { b.mu.Lock(); defer b.mu.Unlock(); return float64(len(b.links)) })
	gauge("streams", func() float64 { return float64(b.routes.Load()) })
	gauge("requests_waiting", func() float64 { return float64(b.registry.parkedNow()) })
	gauge("retained_bytes", func() float64 { _, _, n := b.server.Stats(); return float64(n) })
	gauge("start_time_seconds", func() float64 { return float64(b.started.Unix()) })
	return o
}

func (o *ops) serveMetrics(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
	for i := range countInfo {
		name := "perch_broker_" + countInfo[i].name
		fmt.Fprintf(w, "# HELP %s %s\n# TYPE %[1]s counter\n", name, countInfo[i].help)
		metrics.WriteCounterUint64(w, name, o.b.counters[i].Load())
	}
	s, _, _ := o.b.server.Stats()
	for _, c := range []struct {
		name string
		n    uint64
	}{
		{"setups_total", s.Setups},
		{"resumes_total", s.Resumes},
		{"setups_refused_total", s.RefusedSetups},
		{"resumes_refused_total", s.RefusedResumes},
		{"garbage_links_total", s.Garbage},
		{"sessions_expired_total", s.Expired},
		{"sessions_evicted_total", s.Evicted},
	} {
		metrics.WriteCounterUint64(w, "perch_broker_"+c.name, c.n)
	}
	o.metrics.WritePrometheus(w)
	metrics.WriteProcessMetrics(w)
	metrics.WriteFDMetrics(w)
}

var statusPage = template.Must(template.New("status").Parse(`<!doctype html>
<meta charset="utf-8"><title>perch-broker</title>
<style>body{font:16px/1.4 system-ui;margin:2em}td,th{padding:0 1em 0 0;text-align:left}</style>
<h1>perch-broker {{.Info.Version}}</h1>
<p>{{.Info.Online}} devices online, {{.Info.Away}} away, {{.Info.Viewers}} laptops, {{.Streams}} streams. Since {{.Info.Started.Format "2006-01-02 15:04"}}.</p>
<table><tr><th>device<th>state<th>since<th>version<th>from</tr>
{{range .Devices}}<tr><td>{{.Name}}<td>{{.State}}<td>{{.Since.Format "2006-01-02 15:04:05"}}<td>{{.Version}}<td>{{.Addr}}</tr>
{{end}}</table>
`))

func (o *ops) serveStatus(w http.ResponseWriter, _ *http.Request) {
	list, _ := o.b.registry.list(true)
	w.Header().Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'")
	_ = statusPage.Execute(w, struct {
		Info    api.BrokerInfo
		Devices []api.Device
		Streams int64
	}{o.b.info(o.sees), list, o.b.routes.Load()})
}

// run serves on ln until ctx is over.
func (o *ops) run(ctx context.Context, ln net.Listener) error {
	srv := &http.Server{Handler: onlyHosts(o.mux, nil, func() { o.b.counters.add(opsRefused) }), ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second, WriteTimeout: 30 * time.Second}
	stop := context.AfterFunc(ctx, func() { _ = srv.Close() })
	defer stop()
	if err := srv.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("cannot serve on %s: %w", ln.Addr(), err)
	}
	return nil
}

// onlyHosts answers requests for the hosts that were named and for addresses of this machine. A browser that was led here by
// a name that someone else owns (DNS rebinding) sends that name; refused counts it.
func onlyHosts(next http.Handler, hosts []string, refused func()) http.Handler {
	known := map[string]bool{"localhost": true}
	for _, h := range hosts {
		known[h] = true
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host := r.Host
		if h, _, err := net.SplitHostPort(host); err == nil {
			host = h
		}
		if !known[host] && net.ParseIP(host) == nil {
			refused()
			http.Error(w, "this is not the host that was asked for", http.StatusMisdirectedRequest)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// parseOps checks an address for ops.
func parseOps(addr string) error {
	host, _, err := net.SplitHostPort(addr)
	switch {
	case err != nil:
		return fmt.Errorf("cannot serve metrics on %q: it is no HOST:PORT", addr)
	case !loopback(host):
		return fmt.Errorf("cannot serve metrics on %q: they are for this machine only, such as 127.0.0.1:7879", addr)
	}
	return nil
}
