package broker

import (
	"bufio"
	"flag"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime/debug"
	"strconv"
	"strings"
	"testing"
	"time"
)

var idle = flag.Int("idle", 0, "how many devices TestIdleMemory connects; some 5000 are enough to measure")

const idleBroker = "PERCH_TEST_IDLE_BROKER"

// TestIdleMemory tells how much resident memory an idle device costs the broker. The devices are in a process of their own.
func TestIdleMemory(t *testing.T) {
	if addr := os.Getenv(idleBroker); addr != "" {
		for i := range *idle {
			nc, err := net.Dial("tcp", addr)
			if err != nil {
				t.Fatal(err)
			}
			defer nc.Close()
			name := fmt.Sprintf("cam-%d", i)
			s := deviceSetup(name, "7d1c0a6e1b5a4d0c9a3f2e1d0c9b8a76", 1)
			(&tap{nc: nc}).hello(&s)
		}
		fmt.Println("connected")
		_, _ = bufio.NewReader(os.Stdin).ReadString('\n')
		return
	}
	if *idle == 0 {
		t.Skip("-idle says how many")
	}
	s := newShop(t, Config{Listen: []string{"tcp://127.0.0.1:0"}})
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	before := resident(t)
	cmd := exec.CommandContext(t.Context(), self, "-test.run=^TestIdleMemory$", "-idle="+strconv.Itoa(*idle))
	cmd.Env = append(os.Environ(), idleBroker+"="+s.listeners[0].Addr().String())
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(time.Minute); s.counters[sessionsAccepted].Load() < uint64(*idle); {
		if time.Sleep(10 * time.Millisecond); time.Now().After(deadline) {
			t.Fatalf("%d are connected", s.counters[sessionsAccepted].Load())
		}
	}
	time.Sleep(time.Second)
	t.Logf("%d bytes each", (resident(t)-before) / *idle)
	_ = in.Close()
	_ = cmd.Wait()
}

// resident is the process's resident memory after a collection.
func resident(t *testing.T) int {
	debug.FreeOSMemory()
	debug.FreeOSMemory()
	text, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		t.Skip(err)
	}
	pages, err := strconv.Atoi(strings.Fields(string(text))[1])
	if err != nil {
		t.Fatal(err)
	}
	return pages * os.Getpagesize()
}
