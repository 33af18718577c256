//go:build e2e && linux

package sense

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"golang.org/x/sys/unix"

	"github.com/perchcam/perch/pkg/gpio"
)

// TestIIODummy reads the kernel's own IIO device without hardware, where the kernel has it (iio_dummy). The binary may be a guest's /init.
func TestIIODummy(t *testing.T) {
	const dummies = "/sys/kernel/config/iio/devices/dummy"
	for range 2 {
		if err := os.Mkdir(dummies+"/perch", 0o755); err == nil {
			break
		}
		_ = exec.Command("modprobe", "-a", "industrialio-configfs", "iio_dummy").Run()
	}
	if _, err := os.Stat(dummies + "/perch"); err != nil {
		t.Skipf("this kernel has no IIO dummy: %v", err)
	}
	s, err := Devices{}.OpenSensor(gpio.SensorSpec{Kind: "iio", Address: "perch"})
	if err != nil {
		t.Fatal(err)
	}
	values, err := s.Read(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]gpio.Value{}
	for _, v := range values {
		got[v.Quantity] = v
	}
	// drivers/iio/dummy/iio_simple_dummy.c: 73 with an offset of 7 in steps of 1.333 µV, 33 and -34 in steps of 1.344 nV.
	for _, want := range []gpio.Value{
		value("voltage0", 80*1.333e-6, "V"), value("voltage1-voltage2", 33*1.344e-9, "V"), value("voltage3-voltage4", -34*1.344e-9, "V"),
	} {
		if d := cmp.Diff(want, got[want.Quantity], cmpopts.EquateApprox(1e-3, 0)); d != "" {
			t.Errorf("%s %s", want.Quantity, d)
		}
	}
	if err := os.Remove(dummies + "/perch"); err != nil {
		t.Fatal(err)
	}
	if values, err := s.Read(t.Context()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a device that is gone: %v, %v", values, err)
	}
}

func TestMain(m *testing.M) {
	if os.Getpid() != 1 {
		os.Exit(m.Run())
	}
	for _, fs := range [][2]string{{"proc", "/proc"}, {"sysfs", "/sys"}, {"devtmpfs", "/dev"}, {"tmpfs", "/tmp"}, {"configfs", "/sys/kernel/config"}} {
		_ = os.MkdirAll(fs[1], 0o755)
		if err := unix.Mount(fs[0], fs[1], fs[0], 0, ""); err != nil {
			fmt.Println("mount", fs[1], err)
		}
	}
	fmt.Println("exit", m.Run())
	_ = unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF)
}
