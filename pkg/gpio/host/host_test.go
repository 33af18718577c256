//go:build linux

package host

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"io/fs"
	"log"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
	"unsafe"

	"github.com/warthog618/go-gpiocdev/uapi"
	"golang.org/x/sys/unix"

	"github.com/perchcam/perch/pkg/gpio"
)

// The sizes of linux/gpio.h, which are part of the ioctl numbers. Constants of the ABI: the file does not compile for a target where
// they differ.
var (
	_ [592]struct{} = [unsafe.Sizeof(uapi.LineRequest{})]struct{}{}
	_ [256]struct{} = [unsafe.Sizeof(uapi.LineInfoV2{})]struct{}{}
	_ [16]struct{}  = [unsafe.Sizeof(uapi.LineValues{})]struct{}{}
)

func TestKeepStdin(t *testing.T) {
	stdin, _ := os.Readlink("/proc/self/fd/0")
	keepStdin(func() { unix.Close(0); unix.Close(0) }) // as gpioioctl does, once for each second name of a chip
	if now, err := os.Readlink("/proc/self/fd/0"); err != nil || now != stdin {
		t.Errorf("descriptor 0 was %s and is %s, %v", stdin, now, err)
	}
	var took int
	keepStdin(func() { // somebody else got the number first: it is theirs now
		unix.Close(0)
		took, _ = unix.Open("/proc/self/status", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	})
	if now, _ := os.Readlink("/proc/self/fd/0"); took != 0 || !strings.HasSuffix(now, "/status") {
		t.Errorf("descriptor 0 is %s, opened as %d", now, took)
	}
	keepStdin(func() {})
	null, err := unix.Open(stdin, unix.O_RDONLY, 0)
	if err != nil {
		null, err = unix.Open("/dev/null", unix.O_RDONLY, 0)
	}
	if err != nil {
		t.Fatal(err)
	}
	_ = unix.Dup3(null, 0, 0)
	unix.Close(null)
}

func TestInit(t *testing.T) {
	was := log.Writer()
	m, err := Init()
	if err != nil {
		t.Fatal(err)
	}
	if log.Writer() != was {
		t.Error("the global logger was not given back")
	}
	if len(m.Chips()) > 0 {
		t.Skip("this machine has GPIO")
	}
	_, find := m.Find("GPIO17", "")
	_, in := m.OpenInput(gpio.InputConfig{Line: "GPIO17"})
	_, out := m.OpenOutput(gpio.OutputConfig{Line: "GPIO17"})
	for _, err := range []error{find, in, out} {
		if h, ok := errors.AsType[gpio.Hinter](err); !errors.Is(err, fs.ErrNotExist) || !ok || h.Hint() == "" || err.Error() != "this machine has no GPIO chip" {
			t.Errorf("%v", err)
		}
	}
}

// periph's driver for the Pi's registers is not linked, whatever imports periph: on a Pi 5 it would map those of another SoC, and with a
// first chip of fewer than 47 lines it panics (host v3.8.5, bcm283x/gpio.go:1388, 1447).
func TestNoRegistersAreMapped(t *testing.T) {
	out, err := exec.Command("go", "list", "-deps", "github.com/perchcam/perch/cmd/agent").Output()
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(out), "periph.io/x/host/v3/gpioioctl\n") || strings.Contains(string(out), "bcm283x") {
		t.Errorf("the agent is made of\n%s", out)
	}
}

func TestWhatIsNoChip(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(dir+"/gpiochip0", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	m := &Machine{dev: dir, paths: []string{dir + "/gpiochip7"}} // gone since Init
	if _, err := m.Find("GPIO17", ""); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%v", err)
	}
}

// pipeInput is an input whose line is the reading end of a pipe: events can be put in, and a pipe waits, ends and closes as a line does.
func pipeInput(t *testing.T) (*input, *os.File) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close(); w.Close() })
	return &input{line: line{r}, events: make([]byte, 0, atOnce*eventSize)}, w
}

// event is a struct gpio_v2_line_event.
func event(stamp uint64, id, seq uint32) []byte {
	b := make([]byte, eventSize)
	binary.NativeEndian.PutUint64(b, stamp)
	binary.NativeEndian.PutUint32(b[8:], id)
	binary.NativeEndian.PutUint32(b[12:], 17)
	binary.NativeEndian.PutUint32(b[16:], 1000+seq)
	binary.NativeEndian.PutUint32(b[20:], seq)
	return b
}

func TestEventsAreDecoded(t *testing.T) {
	in, w := pipeInput(t)
	const n = 3*atOnce + 5
	for i := range uint32(n) {
		if _, err := w.Write(event(uint64(i)*1000, 1+i%2, i+1)); err != nil {
			t.Fatal(err)
		}
	}
	for i := range n {
		want := gpio.Event{Active: i%2 == 0, Mono: time.Duration(i) * 1000, Seq: uint32(i + 1)}
		if ev, err := in.Next(t.Context()); err != nil || ev != want {
			t.Errorf("%+v, %v, want %+v", ev, err, want)
		}
	}
	w.Close()
	if _, err := in.Next(t.Context()); !errors.Is(err, io.EOF) {
		t.Errorf("the end: %v", err)
	}
}

func TestHalfAnEventIsAnError(t *testing.T) {
	in, w := pipeInput(t)
	_, _ = w.Write(event(1, 1, 1)[:20])
	if ev, err := in.Next(t.Context()); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("%+v, %v", ev, err)
	}
}

// The end of one context must not end a wait under the next, however late it is told.
func TestNextUnderManyContexts(t *testing.T) {
	in, w := pipeInput(t)
	for i := range uint32(2000) {
		ctx, cancel := context.WithCancel(t.Context())
		go cancel()
		if ev, err := in.Next(ctx); !errors.Is(err, context.Canceled) {
			t.Fatalf("%+v, %v", ev, err)
		}
		_, _ = w.Write(event(1, 1, i+1))
		if ev, err := in.Next(t.Context()); err != nil || ev.Seq != i+1 {
			t.Fatalf("%+v, %v", ev, err)
		}
		ctx, cancel = context.WithDeadline(t.Context(), time.Now().Add(time.Microsecond))
		if ev, err := in.Next(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("%+v, %v", ev, err)
		}
		cancel()
	}
	time.AfterFunc(time.Millisecond, func() { in.Close() })
	if ev, err := in.Next(t.Context()); !errors.Is(err, os.ErrClosed) {
		t.Errorf("%+v, %v", ev, err)
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(event(1, 1, 1))
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) < eventSize {
			t.Skip()
		}
		if ev := decode(b); ev.Seq != binary.NativeEndian.Uint32(b[20:]) {
			t.Errorf("%+v", ev)
		}
	})
}
