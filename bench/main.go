// Command bench measures Perch side by side with what a user would pick instead, on one machine.
//
//	bench -blocks 20                 every group
//	bench -blocks 20 one tls         these groups
//	bench -table                     the table of what has been measured
//	bench -other DIR ab              this build beside another one, for whoever makes something faster
//	bench -guard                     the quick form for CI: wide ratios, no absolute times
//
// Every program under measurement runs in processes of its own: what is in the middle (a relay, a broker), the device that
// answers, and the laptop that asks. This program starts them, lets each have its turn in each of many blocks, in an order
// that is shuffled from block to block, and divides what was measured within one block, so that whatever else the machine
// does hits all alike. The numbers are medians over the blocks, with the quartiles as their spread.
//
// CPU time is the scheduler's own count of the middle's process (/proc/PID/task/*/schedstat), memory is VmRSS.
//
// It runs on Linux. docs/BENCHMARKS.md says what it found and how to read it.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

// lab is what every group needs.
type lab struct {
	ctx    context.Context
	bin    string // folder of perch-broker, perch-agent and nats-server
	other  string // folder of another build of perch-broker and bench
	out    string // folder of results
	tmp    string
	blocks int
	pki    *pki
}

// group measures some rows of the table.
type group struct {
	name string
	what string
	run  func(l *lab) (*report, error)
}

func groups() []group {
	return []group{
		{"ab", "two builds of Perch", builds},
		{"one", "one request at a time", one},
		{"eight", "eight laptops at once", eight},
		{"tls", "TLS on both legs", overTLS},
		{"stream", "720p at 30 pictures a second, camera to client", liveStream},
		{"shaped", "legs of 10 Mbit/s and 20 ms", shapedLegs},
		{"beside", "a small request beside 5 MB", beside},
		{"idle", "10,000 idle devices", idle},
		{"restart", "the broker killed, 2 s down", restart},
		{"crowd", "requests beside 9,000 idle devices", crowd},
		{"viewers", "64 viewers of one camera", viewers},
		{"agent", "the agent beside a minimal HTTP server", agentCost},
	}
}

func main() {
	var err error
	if len(os.Args) > 2 && os.Args[1] == "role" {
		err = role(os.Args[2], os.Args[3:])
	} else {
		err = conduct()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func conduct() error {
	l := &lab{}
	flag.StringVar(&l.bin, "bin", "build/bin", "`folder` of perch-broker, perch-agent and nats-server")
	flag.StringVar(&l.out, "out", "build/bench", "`folder` of what was measured")
	flag.StringVar(&l.other, "other", "", "`folder` of another build of perch-broker and bench, for the group ab: is this one faster?")
	flag.IntVar(&l.blocks, "blocks", 20, "blocks of each measurement")
	table := flag.Bool("table", false, "print the table of what has been measured, and measure nothing")
	check := flag.Bool("guard", false, "measure little and fail where Perch is far from a relay")
	solo := flag.String("solo", "", "run only `SYSTEM,BYTES,CALLERS`, for a profiler: such as perch,100000,8 for as many seconds as there are blocks")
	flag.Parse()
	if *table {
		return printTable(os.Stdout, l.out)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	l.ctx = ctx
	var err error
	if l.tmp, err = os.MkdirTemp("", "perch-bench-"); err != nil {
		return err
	}
	defer os.RemoveAll(l.tmp)
	if l.pki, err = newPKI(l.tmp); err != nil {
		return err
	}
	if err := os.MkdirAll(l.out, 0o755); err != nil {
		return err
	}
	if *check {
		return guard(l)
	}
	if *solo != "" {
		return l.solo(*solo)
	}
	all := groups()
	for _, name := range flag.Args() {
		if !slices.ContainsFunc(all, func(g group) bool { return g.name == name }) {
			return fmt.Errorf("there is no group %q", name)
		}
	}
	var failed error
	for _, g := range all {
		if flag.NArg() > 0 && !slices.Contains(flag.Args(), g.name) || flag.NArg() == 0 && g.name == "ab" {
			continue
		}
		fmt.Printf("\n%s: %s\n", g.name, g.what)
		r, err := g.run(l)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err == nil {
			err = r.save(filepath.Join(l.out, g.name+".json"))
		}
		if err != nil {
			failed = errors.Join(failed, fmt.Errorf("%s: %w", g.name, err))
			fmt.Println("FAILED:", err)
			continue
		}
		r.print(os.Stdout)
	}
	return failed
}

// role is what a child process does; see child.go.
func role(name string, args []string) error {
	arg := func(i int) string {
		if i < len(args) {
			return args[i]
		}
		return ""
	}
	kind, what, _ := strings.Cut(name, "/")
	switch kind {
	case "relay":
		return relay(arg(0), what == "splice")
	case "leg":
		return shapingLeg(arg(0), arg(1), arg(2))
	case "device":
		return device(what, arg(0), arg(1))
	case "laptop":
		return laptop(what, arg(0), arg(1))
	case "naive":
		return naiveBroker()
	case "fleet":
		return fleet(what, args)
	case "bystander":
		return bystander(arg(0))
	case "viewers":
		return viewersRole(arg(0), arg(1))
	case "stamper":
		return stamper(arg(0))
	case "stamps":
		return stamps(arg(0))
	case "httpcam":
		return httpCamera(arg(0))
	case "httpviewer":
		return httpViewer(arg(0))
	}
	return fmt.Errorf("there is no role %q", name)
}
