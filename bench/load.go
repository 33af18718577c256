package main

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"
)

// asker is a laptop's connection: it asks for size bytes and returns when all of them are here.
type asker interface {
	ask(size int) error
	close()
}

// load is what a laptop is told to do.
type load struct {
	Size    int
	Callers int // each with a connection of its own
	For     time.Duration
	Count   int // requests of each caller, instead of For
	Beside  int // bytes that another caller of the first connection asks for all the while; 0: none
}

// done is what it did. Took is in microseconds, sorted.
type done struct {
	Took    []float64
	Seconds float64
	Beside  int // answers to the other caller
}

func (d done) at(q float64) float64 {
	if len(d.Took) == 0 {
		return 0
	}
	return d.Took[int(q*float64(len(d.Took)-1)+0.5)]
}

// laptop keeps its connections from one load to the next.
func laptop(kind, addr, extra string) error {
	var all []asker
	defer func() {
		for _, a := range all {
			a.close()
		}
	}()
	say(ready{})
	return obey(func(l load) (any, error) {
		for len(all) < l.Callers {
			a, err := newAsker(kind, addr, extra)
			if err != nil {
				return nil, err
			}
			all = append(all, a)
		}
		return l.run(all[:l.Callers])
	})
}

func (l load) run(all []asker) (done, error) {
	var (
		work   sync.WaitGroup
		mu     sync.Mutex
		result done
		failed error
	)
	fail := func(err error) {
		mu.Lock()
		defer mu.Unlock()
		failed = errors.Join(failed, err)
	}
	over := make(chan struct{})
	if l.Beside > 0 {
		another, ok := all[0].(interface{ another() asker })
		if !ok {
			return done{}, fmt.Errorf("this kind of laptop cannot ask twice at once over one connection")
		}
		big := another.another()
		began := make(chan struct{})
		work.Go(func() {
			close(began)
			for n := 0; ; n++ {
				select {
				case <-over:
					mu.Lock()
					result.Beside = n
					mu.Unlock()
					return
				default:
				}
				if err := big.ask(l.Beside); err != nil {
					fail(err)
					return
				}
			}
		})
		<-began
		time.Sleep(100 * time.Millisecond)
	}
	begin := time.Now()
	var callers sync.WaitGroup
	for _, a := range all {
		callers.Go(func() {
			var took []float64
			for n := 0; (l.Count > 0 && n < l.Count) || (l.Count == 0 && time.Since(begin) < l.For); n++ {
				before := time.Now()
				if err := a.ask(l.Size); err != nil {
					fail(err)
					return
				}
				took = append(took, float64(time.Since(before).Nanoseconds())/1e3)
				if l.Beside > 0 {
					time.Sleep(5 * time.Millisecond)
				}
			}
			mu.Lock()
			defer mu.Unlock()
			result.Took = append(result.Took, took...)
		})
	}
	callers.Wait()
	close(over)
	work.Wait()
	result.Seconds = time.Since(begin).Seconds()
	slices.Sort(result.Took)
	return result, failed
}

func newAsker(kind, addr, extra string) (asker, error) {
	switch kind {
	case "raw":
		return newRawLaptop(addr, extra)
	case "perch":
		return newPerchLaptop(addr, extra)
	case "http":
		return newHTTPLaptop(addr), nil
	case "nats":
		return newNATSLaptop(addr, extra)
	case "mqtt":
		return newMQTTLaptop(addr)
	case "rsocketgo":
		return newNaiveLaptop(addr)
	}
	return nil, fmt.Errorf("there is no laptop of kind %q", kind)
}

// device answers requests for bytes until its input ends.
func device(kind, addr, extra string) error {
	switch kind {
	case "raw":
		return rawDevice(addr, extra)
	case "perch":
		return perchDevice(addr, extra)
	case "http":
		return httpDevice()
	case "nats":
		return natsDevice(addr, extra)
	case "mqtt":
		return mqttDevice(addr)
	case "rsocketgo":
		return naiveDevice(addr)
	}
	return fmt.Errorf("there is no device of kind %q", kind)
}

// zeros is what devices answer with: as many of them as are asked for.
const most = 8 << 20

func zeros() []byte { return make([]byte, most) }
