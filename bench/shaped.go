package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"syscall"
	"time"
)

// A leg is a slow path to an address, as a process of its own: in either direction what comes in leaves at the rate of the
// path, and arrives after its delay. What the path has taken in and not sent is bounded, as in a router, so that whoever
// writes faster than the path is held up and chooses himself what leaves next. The same leg serves all systems. (A kernel
// with netem could do the same for whole network namespaces; many, such as the one this was written on, have none.)

const (
	segment = 1448     // bytes that leave together
	queue   = 32 << 10 // bytes taken in and not sent: with 10 Mbit/s 26 ms
)

// shapingLeg serves a leg to target until its input ends. rate is in bits per second.
func shapingLeg(target, rate, delay string) error {
	bits, err := strconv.ParseFloat(rate, 64)
	if err != nil {
		return err
	}
	d, err := time.ParseDuration(delay)
	if err != nil {
		return err
	}
	lc := net.ListenConfig{Control: narrow}
	ln, err := lc.Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	welcome(ln, func(a net.Conn) {
		nd := net.Dialer{Control: narrow}
		b, err := nd.Dial("tcp", target)
		if err != nil {
			_ = a.Close()
			return
		}
		go shape(b, a, bits, d)
		shape(a, b, bits, d)
	})
	return stay()
}

// narrow makes a socket of loopback like one of a network: segments of 1448 bytes where loopback's are 64 KiB, which do not
// fit a small receive buffer, and nothing much taken in behind the reader's back.
func narrow(_, _ string, raw syscall.RawConn) error {
	var failed error
	err := raw.Control(func(fd uintptr) {
		failed = errors.Join(
			syscall.SetsockoptInt(int(fd), syscall.IPPROTO_TCP, syscall.TCP_MAXSEG, segment),
			syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, queue/2)) // the kernel doubles it
	})
	return errors.Join(err, failed)
}

// parcel is bytes on their way.
type parcel struct {
	b   []byte
	due time.Time // at the far end
}

// shape moves bytes from src to dst as a path of this rate and delay.
func shape(dst, src net.Conn, bits float64, delay time.Duration) {
	defer func() { _, _ = dst.Close(), src.Close() }()
	onTheWay := make(chan parcel, 1<<16)
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		defer dst.Close()
		for p := range onTheWay {
			sleepUntil(p.due)
			if _, err := dst.Write(p.b); err != nil {
				return
			}
		}
	}()
	var free time.Time // when the path has sent all it has taken in
	for {
		b := make([]byte, max(segment, min(int(bits/8/2000), 16<<10))) // at most half a millisecond's worth, or a segment
		n, err := src.Read(b)
		if n > 0 {
			now := time.Now()
			if free.Before(now) {
				free = now
			}
			free = free.Add(time.Duration(float64(n*8) / bits * float64(time.Second)))
			select {
			case onTheWay <- parcel{b[:n], free.Add(delay)}:
			case <-gone:
				return
			}
			sleepUntil(free.Add(-time.Duration(float64(queue*8) / bits / 2 * float64(time.Second))))
		}
		if err != nil {
			close(onTheWay)
			<-gone
			return
		}
	}
}

func sleepUntil(t time.Time) {
	if d := time.Until(t); d > 0 {
		time.Sleep(d)
	}
}

// through makes every leg of a system such a path.
func through(bits int, delay time.Duration) legs {
	return func(c *crew, addr string) (string, error) {
		k, err := c.add(start("leg", addr, strconv.Itoa(bits), delay.String()))
		if err != nil {
			return "", err
		}
		return k.addr, nil
	}
}

// shapedLegs is 100 KB over two legs of 10 Mbit/s and 20 ms each.
func shapedLegs(l *lab) (*report, error) {
	r := l.report()
	names := []string{sysRelay, sysBroker, sysBrokerResume, sysPerch, sysNATS, sysMQTT, sysNaive}
	all, stop, err := l.systems(through(10_000_000, 20*time.Millisecond), names...)
	if err != nil {
		return nil, err
	}
	defer stop()
	got, err := l.turns(all, load{Size: 100_000, Callers: 1, Count: 2})
	if err != nil {
		return nil, err
	}
	t := table{Title: "100 KB over two legs of 10 Mbit/s and 20 ms", Head: []string{"", "p50 ÷ relay", "p50 ms"}}
	for _, n := range names {
		t.Lines = append(t.Lines, []string{n, ratios(got[n], got[sysRelay], p50).String(), short(spreadOf(values(got[n], p50)).Median / 1e3)})
	}
	r.Tables = append(r.Tables, t)
	own, raw := ratios(got[sysPerch], got[sysRelay], p50), ratios(got[sysBroker], got[sysRelay], p50)
	r.goal("shaped legs, 10 Mbit/s and 20 ms each, 100 KB, warm", "≤ 1.08 × a raw relay over the same two legs",
		fmt.Sprintf("%s × (own ends), %s × (raw ends); NATS %s ×", own, raw, ratios(got[sysNATS], got[sysRelay], p50)), own.Median <= 1.08)
	return r, nil
}

// beside is a small request beside answers of 5 MB that the same laptop gets from the same device.
func beside(l *lab) (*report, error) {
	r := l.report()
	names := []string{sysPerch, sysNATS}
	all, stop, err := l.systems(through(112_000_000, 100*time.Microsecond), names...)
	if err != nil {
		return nil, err
	}
	defer stop()
	got, err := l.turns(all, load{Size: 100, Callers: 1, For: 800 * time.Millisecond, Beside: 5_000_000})
	if err != nil {
		return nil, err
	}
	t := table{Title: "100 bytes beside 5 MB, over two legs of 14 MB/s", Head: []string{"", "p50 ms", "p99 ms", "MB/s beside it"}}
	for _, n := range names {
		all := pooled(got[n])
		t.Lines = append(t.Lines, []string{n, short(quantile(all, .5) / 1e3), short(quantile(all, .99) / 1e3), short(spreadOf(values(got[n], rate)).Median)})
	}
	r.Tables = append(r.Tables, t)
	v := spreadOf(values(got[sysPerch], p50))
	r.goal("a small request beside 5 MB answers, 14 MB/s legs, through the broker", "≤ 13 ms (whole frames: 358)",
		fmt.Sprintf("p50 %s ms, p99 %s ms; NATS %s ms", spread{v.Q1 / 1e3, v.Median / 1e3, v.Q3 / 1e3}, short(at99(got[sysPerch])/1e3), short(spreadOf(values(got[sysNATS], p50)).Median/1e3)),
		v.Median <= 13e3)
	return r, nil
}
