package main

import (
	"fmt"
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
	r := l.report()
	all, stop, err := l.systems(nil, everybody...)
	if err != nil {
		return nil, err
	}
	defer stop()
	for _, size := range sizes {
		got, err := l.turns(all, load{Size: size, Callers: 1, For: block})
		if err != nil {
			return nil, err
		}
		r.Tables = append(r.Tables, compare("One at a time, "+sizeName(size), everybody, got))
		relay, nats := ratios(got[sysBroker], got[sysRelay], p50), ratios(got[sysPerch], got[sysNATS], p50)
		r.goal("brokered snapshot, one at a time, p50, "+sizeName(size), "≤ 1.2 × relay, ≤ 0.6 × NATS",
			fmt.Sprintf("%s × relay (same raw ends), %s × NATS (own ends)", relay, nats), relay.Median <= 1.2, nats.Median <= 0.6)
		resumption(r, "one at a time, "+sizeName(size), got, p50, "p50")
	}
	return r, nil
}

// eight is eight laptops at once.
func eight(l *lab) (*report, error) {
	r := l.report()
	all, stop, err := l.systems(nil, everybody...)
	if err != nil {
		return nil, err
	}
	defer stop()
	for _, size := range sizes {
		got, err := l.turns(all, load{Size: size, Callers: 8, For: block})
		if err != nil {
			return nil, err
		}
		r.Tables = append(r.Tables, compare("Eight laptops at once, "+sizeName(size), everybody, got))
		relay, nats := ratios(got[sysBroker], got[sysRelay], rate), ratios(got[sysPerch], got[sysNATS], rate)
		r.goal("eight at once, throughput, "+sizeName(size), "≥ 0.8 × relay, ≥ 2 × NATS",
			fmt.Sprintf("%s × relay (same raw ends), %s × NATS (own ends)", relay, nats), relay.Median >= 0.8, nats.Median >= 2)
		relay, nats = ratios(got[sysBroker], got[sysRelay], perGB), ratios(got[sysPerch], got[sysNATS], perGB)
		r.goal("broker CPU seconds per GB, eight at once, "+sizeName(size), "≤ 1.25 × relay, ≤ 0.45 × NATS",
			fmt.Sprintf("%s × relay (same raw ends), %s × NATS (own ends)", relay, nats), relay.Median <= 1.25, nats.Median <= 0.45)
		resumption(r, "eight at once, "+sizeName(size), got, perGB, "CPU/GB")
	}
	return r, nil
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
