// Package vpi runs a virtual Raspberry Pi: an arm64 Debian guest with systemd in QEMU, by software emulation, so that
// the agent's .deb is tested as a Pi meets it (dpkg, udev, its own user, the sandbox, a power cut) on any build machine.
//
// Order of calls: Build gives an Image (made once, then cached below build/vpi); Boot gives a Machine that has just booted it;
// Run runs a script in the guest; Reset cuts the power; Close ends QEMU.
// The image itself is never written: each Machine has its own overlay, gone after Close.
//
// In the guest, Share() is mounted at /host, the host's loopback is 10.0.2.2, and these modules are there to be loaded:
// vivid (a camera), v4l2loopback, gpio-sim (a GPIO chip driven through configfs), i2c-dev.
package vpi

import "time"

// GuestLoopback is the address under which the guest reaches the host's 127.0.0.1 (QEMU's user network).
const GuestLoopback = "10.0.2.2"

// bootLimit is how long a boot may take. Measured 10-17 s on two quiet cores.
const bootLimit = 6 * time.Minute
