package link

import (
	"context"
	"encoding/binary"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func message(kind uint16, body []byte) []byte {
	b := binary.NativeEndian.AppendUint32(nil, uint32(unix.NLMSG_HDRLEN+len(body)))
	b = binary.NativeEndian.AppendUint16(b, kind)
	b = append(b, make([]byte, unix.NLMSG_HDRLEN-len(b))...)
	b = append(b, body...)
	return append(b, make([]byte, -len(b)&3)...)
}

func ifinfo(flags uint32) []byte {
	b := make([]byte, 16)
	binary.NativeEndian.PutUint32(b[8:], flags)
	return b
}

func TestTelling(t *testing.T) {
	down, up := message(unix.RTM_NEWLINK, ifinfo(0)), message(unix.RTM_NEWLINK, ifinfo(unix.IFF_RUNNING|unix.IFF_UP))
	odd := message(unix.RTM_DELADDR, []byte("abc"))
	cases := []struct {
		name string
		b    []byte
		want bool
	}{
		{"nothing", nil, false},
		{"an interface that does not run", down, false},
		{"an interface that runs", up, true},
		{"an address", message(unix.RTM_NEWADDR, nil), true},
		{"a route", message(unix.RTM_NEWROUTE, nil), true},
		{"an address that went", odd, false},
		{"the second of two", append(append([]byte{}, odd...), up...), true},
		{"a short interface message", message(unix.RTM_NEWLINK, make([]byte, 11)), false},
		{"a length of nothing", make([]byte, 32), false},
		{"a length past the end", append([]byte{255, 255, 0, 0}, up[4:]...), false},
	}
	for _, c := range cases {
		if got := telling(c.b); got != c.want {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}

func FuzzTelling(f *testing.F) {
	f.Add(message(unix.RTM_NEWLINK, ifinfo(unix.IFF_RUNNING)))
	f.Add(message(unix.RTM_DELADDR, []byte("abc")))
	f.Fuzz(func(_ *testing.T, b []byte) { telling(b) })
}

// The kernel's own events, in a network of our own: this test runs itself again in new namespaces and brings its loopback up.
func TestKernelEvents(t *testing.T) {
	const inside = "LINK_TEST_INSIDE"
	if os.Getenv(inside) == "" {
		cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestKernelEvents$", "-test.v")
		cmd.Env = append(os.Environ(), inside+"=1")
		cmd.SysProcAttr = &syscall.SysProcAttr{
			Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNET,
			UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
			GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
		}
		out, err := cmd.CombinedOutput()
		if err != nil && len(out) == 0 {
			t.Skipf("this machine gives no namespaces: %v", err)
		}
		if err != nil || !strings.Contains(string(out), "--- PASS") {
			t.Errorf("%v\n%s", err, out)
		}
		return
	}
	kicks := make(chan struct{}, 8)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	f, err := openEvents()
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- watch(ctx, f, func() { kicks <- struct{}{} }) }()
	loopbackUp(t)
	select {
	case <-kicks:
	case <-ctx.Done():
		t.Error("the interface came up and nobody was told")
	}
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("after the end: %v", err)
	}
}

func loopbackUp(t *testing.T) {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	req, err := unix.NewIfreq("lo")
	if err != nil {
		t.Fatal(err)
	}
	req.SetUint16(unix.IFF_UP)
	if err := unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, req); err != nil {
		t.Fatal(err)
	}
}
