package main

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// The groups of request and response.

var (
	everybody = []string{sysRelay, sysSplice, sysBroker, sysBrokerResume, sysPerch, sysPerchOff, sysHTTP, sysNATS, sysMQTT, sysNaive}
	sizes     = []int{32_000, 100_000, 500_000}
)

func sizeName(n int) string { return fmt.Sprintf("%d KB", n/1000) }

// one is a request at a time.
func one(l *lab) (*report, error) {
	return l.requests(1, "One at a time, ", func(r *report, size string, got map[string][]sample) {
		r.ends("brokered snapshot, one at a time, p50, "+size, got, p50, "≤ 1.2 × relay, ≤ 0.6 × NATS", func(relay, nats float64) bool { return relay <= 1.2 && nats <= 0.6 })
		resumption(r, "one at a time, "+size, got, p50, "p50")
	})
}

// eight is eight laptops at once.
func eight(l *lab) (*report, error) {
	return l.requests(8, "Eight laptops at once, ", func(r *report, size string, got map[string][]sample) {
		r.ends("eight at once, throughput, "+size, got, rate, "≥ 0.8 × relay, ≥ 2 × NATS", func(relay, nats float64) bool { return relay >= 0.8 && nats >= 2 })
		r.ends("broker CPU seconds per GB, eight at once, "+size, got, perGB, "≤ 1.25 × relay, ≤ 0.45 × NATS", func(relay, nats float64) bool { return relay <= 1.25 && nats <= 0.45 })
		resumption(r, "eight at once, "+size, got, perGB, "CPU/GB")
	})
}

// requests has everybody ask for answers of each size, and judge say what came of it.
func (l *lab) requests(callers int, title string, judge func(r *report, size string, got map[string][]sample)) (*report, error) {
	r := l.report()
	all, stop, err := l.systems(nil, everybody...)
	if err != nil {
		return nil, err
	}
	defer stop()
	for _, size := range sizes {
		got, err := l.turns(all, load{Size: size, Callers: callers, For: block})
		if err != nil {
			return nil, err
		}
		r.Tables = append(r.Tables, compare(title+sizeName(size), everybody, got))
		judge(r, sizeName(size), got)
	}
	return r, nil
}

// ends adds a goal of the broker against the relay and against NATS. It is measured twice. Between raw ends, the same as
// the relay has, it is the broker's own doing. Between Perch's own ends it is what a user gets beside nats.go.
func (r *report) ends(what string, got map[string][]sample, pick func(sample) float64, goal string, met func(relay, nats float64) bool) {
	of := func(name string) (relay, nats spread) {
		return ratios(got[name], got[sysRelay], pick), ratios(got[name], got[sysNATS], pick)
	}
	rawRelay, rawNATS := of(sysBroker)
	ownRelay, ownNATS := of(sysPerch)
	verdict := map[[2]bool]string{
		{true, true}: "met", {true, false}: "met by the broker, missed with own ends", {false, true}: "missed by the broker", {false, false}: "missed",
	}
	r.Rows = append(r.Rows, row{
		what, goal, fmt.Sprintf("raw ends: %s × relay, %s × NATS; own ends: %s × relay, %s × NATS", rawRelay, rawNATS, ownRelay, ownNATS),
		verdict[[2]bool{met(rawRelay.Median, rawNATS.Median), met(rawRelay.Median, ownNATS.Median)}],
	})
}

// resumption is what it costs to be able to resume, with Perch's own ends.
func resumption(r *report, where string, got map[string][]sample, pick func(sample) float64, name string) {
	v := ratios(got[sysPerch], got[sysPerchOff], pick)
	raw := ratios(got[sysBrokerResume], got[sysBroker], pick)
	r.goal("resumption on, against off, "+name+", "+where, "≤ 1.1 ×", fmt.Sprintf("%s × (raw ends %s ×)", v, raw), v.Median <= 1.1)
}

// overTLS compares TLS on both legs.
func overTLS(l *lab) (*report, error) {
	r := l.report()
	names := []string{sysPerchTLS, sysNATSTLS}
	all, stop, err := l.systems(nil, names...)
	if err != nil {
		return nil, err
	}
	defer stop()
	for _, callers := range []int{1, 8} {
		for _, size := range sizes {
			got, err := l.turns(all, load{Size: size, Callers: callers, For: 2 * block})
			if err != nil {
				return nil, err
			}
			a, b := got[sysPerchTLS], got[sysNATSTLS]
			p, c, m := ratios(a, b, p50), ratios(a, b, perGB), ratios(a, b, rate)
			r.goal(fmt.Sprintf("TLS on both legs, %d at once, %s", callers, sizeName(size)), "p50 and CPU/GB ≤ 1.0 × NATS with TLS",
				fmt.Sprintf("p50 %s ×, CPU/GB %s × (MB/s %s ×)", p, c, m), p.Median <= 1, c.Median <= 1)
		}
	}
	return r, nil
}

// guard is the quick form: far from a relay is wrong on any machine.
func guard(l *lab) error {
	all, stop, err := l.systems(nil, sysRelay, sysBroker, sysBrokerResume)
	if err != nil {
		return err
	}
	defer stop()
	failed := false
	for _, c := range []struct {
		callers int
		pick    func(sample) float64
		name    string
		limit   float64 // of a ratio; for throughput its inverse
	}{
		{1, p50, "p50 of one at a time", 3},
		{8, func(s sample) float64 { return 1 / s.Rate }, "time of eight at once", 3},
		{8, perGB, "CPU per GB, eight at once", 3},
	} {
		got, err := l.turns(all, load{Size: 100_000, Callers: c.callers, For: 300 * time.Millisecond})
		if err != nil {
			return err
		}
		for _, name := range []string{sysBroker, sysBrokerResume} {
			v := ratios(got[name], got[sysRelay], c.pick)
			fmt.Printf("%s, %s: %s × relay, limit %.1f\n", name, c.name, v, c.limit)
			failed = failed || !(v.Median <= c.limit)
		}
	}
	if failed {
		return fmt.Errorf("the broker is too far from a relay")
	}
	return nil
}

// builds compares this build with another one.
func builds(l *lab) (*report, error) {
	if l.other == "" {
		return nil, errors.New("say where the other build is: -other")
	}
	r := l.report()
	names := []string{sysBroker, sysBrokerResume, sysPerch}
	var both []string
	for _, n := range names {
		both = append(both, n, n+otherBuild)
	}
	all, stop, err := l.systems(nil, both...)
	if err != nil {
		return nil, err
	}
	defer stop()
	for _, callers := range []int{1, 8} {
		for _, size := range sizes {
			got, err := l.turns(all, load{Size: size, Callers: callers, For: block})
			if err != nil {
				return nil, err
			}
			t := table{Title: fmt.Sprintf("This build ÷ the other, %d at once, %s", callers, sizeName(size)), Head: []string{"", "p50", "MB/s", "CPU/GB"}}
			for _, n := range names {
				a, b := got[n], got[n+otherBuild]
				t.Lines = append(t.Lines, []string{n, ratios(a, b, p50).String(), ratios(a, b, rate).String(), ratios(a, b, perGB).String()})
			}
			r.Tables = append(r.Tables, t)
		}
	}
	return r, nil
}

// solo runs one system alone, so that a profiler sees nothing else, and says what its processes took.
func (l *lab) solo(what string) error {
	f := strings.Split(what, ",") // names have commas, too
	n := len(f) - 2
	if n < 1 {
		return errors.New("say SYSTEM,BYTES,CALLERS, such as perch,100000,8")
	}
	size, err := strconv.Atoi(f[n])
	if err != nil {
		return err
	}
	callers, err := strconv.Atoi(f[n+1])
	if err != nil {
		return err
	}
	s, err := l.system(strings.Join(f[:n], ","), nil)
	if err != nil {
		return err
	}
	defer s.crew.stop()
	before := make([]time.Duration, len(s.crew))
	for i, k := range s.crew {
		before[i] = cpu(k.pid())
		fmt.Printf("%s is process %d\n", k.name, k.pid())
	}
	v, err := s.turn(load{Size: size, Callers: callers, For: time.Duration(l.blocks) * time.Second})
	if err != nil {
		return err
	}
	fmt.Printf("p50 %s µs, p99 %s µs, %s MB/s\n", short(v.P50), short(v.P99), short(v.Rate))
	for i, k := range s.crew {
		fmt.Printf("%s: %s s of CPU per GB\n", k.name, short((cpu(k.pid())-before[i]).Seconds()/(float64(len(v.Took)*size)/1e9)))
	}
	return nil
}
