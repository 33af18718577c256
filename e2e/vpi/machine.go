package vpi

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// Machine is one running guest. Its methods are for one goroutine at a time.
type Machine struct {
	dir    string // overlay, console and share; removed by Close
	cmd    *exec.Cmd
	exited chan struct{} // closed when QEMU has ended and exitErr is set
	exit   error
	qmp    *qmp
	ctl    *control
}

// Boot starts a guest that has just booted and returns when it carries out commands. It goes on from the image's snapshot, which
// takes about two seconds. All guests of an image therefore have one machine id, and begin with one state of the kernel's
// random numbers until their hardware source stirs it.
func Boot(ctx context.Context, img Image) (*Machine, error) {
	m, err := newMachine()
	if err != nil {
		return nil, err
	}
	overlay := m.overlay()
	err = command(ctx, "cp", "--reflink=auto", "--sparse=always", img.file(snapshotFile), overlay)
	if err == nil {
		// It names its backing file by an absolute path, and the image may have been moved since.
		err = command(ctx, "qemu-img", "rebase", "-u", "-F", "raw", "-b", img.file("root.img"), overlay)
	}
	if err == nil {
		err = m.launch(ctx, img, "-loadvm", snapshotName)
	}
	if err == nil {
		_, err = m.Run(ctx, fmt.Sprintf("date -s @%d && systemctl restart host.mount", time.Now().Unix()))
	}
	if err != nil {
		return nil, errors.Join(err, m.Close())
	}
	return m, nil
}

const (
	qemu         = "qemu-system-aarch64"
	snapshotName = "booted"
	snapshotFile = "booted.qcow2"
)

// snapshot boots the image from power-on and saves the running machine beside it.
func snapshot(ctx context.Context, img Image) (err error) {
	m, err := newMachine()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, m.Close()) }()
	if err := command(ctx, "qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", img.file("root.img"), m.overlay()); err != nil {
		return err
	}
	if err := m.launch(ctx, img); err != nil {
		return err
	}
	if _, err := m.Run(ctx, "umount /host && sync"); err != nil { // a mounted 9p share cannot be saved
		return err
	}
	said, err := m.qmp.execute(ctx, "human-monitor-command", map[string]any{"command-line": "savevm " + snapshotName})
	if err != nil {
		return err
	}
	if string(said) != `""` {
		return fmt.Errorf("cannot save the guest's state: %s", said)
	}
	if _, err := m.qmp.execute(ctx, "quit", nil); err != nil {
		return err
	}
	<-m.exited
	return command(ctx, "mv", m.overlay(), img.file(snapshotFile))
}

func newMachine() (*Machine, error) {
	dir, err := os.MkdirTemp("", "vpi-")
	if err != nil {
		return nil, err
	}
	m := &Machine{dir: dir, exited: make(chan struct{})}
	return m, os.Mkdir(m.Share(), 0o755)
}

// launch starts QEMU on the overlay and waits until the guest carries out commands.
func (m *Machine) launch(ctx context.Context, img Image, more ...string) error {
	ctl, ctlEnd, err := pair()
	if err != nil {
		return err
	}
	defer ctlEnd.Close()
	m.ctl = newControl(ctl)
	mon, monEnd, err := pair()
	if err != nil {
		return err
	}
	defer monEnd.Close()
	m.qmp = newQMP(mon)

	m.cmd = exec.Command(qemu,
		"-M", "virt,gic-version=2", "-cpu", "cortex-a53", "-accel", "tcg,thread=multi,tb-size=256", "-smp", "2", "-m", "512",
		"-nodefaults", "-no-user-config", "-display", "none",
		"-kernel", img.file("vmlinuz"), "-initrd", img.file("initrd.gz"),
		"-append", "console=ttyAMA0 rdinit=/init panic=-1 quiet loglevel=4 mitigations=off net.ifnames=0",
		"-serial", "file:"+m.consolePath(),
		// unsafe: the host's page cache outlives every reset, so only what the guest has not written yet is lost.
		"-drive", "if=none,id=disk,format=qcow2,cache=unsafe,file="+m.overlay(), "-device", "virtio-blk-pci,drive=disk",
		"-netdev", "user,id=net", "-device", "virtio-net-pci,netdev=net,id=nic,romfile=",
		"-device", "virtio-rng-pci",
		"-fsdev", "local,id=share,security_model=none,path="+m.Share(), "-device", "virtio-9p-pci,fsdev=share,mount_tag=host",
		// The control port: one connection for the guest's whole life, for bytes sent while it is closed are lost.
		"-device", "virtio-serial-pci", "-chardev", "socket,id=ctl,fd=3", "-device", "virtserialport,chardev=ctl,name=ctl",
		"-chardev", "socket,id=qmp,fd=4", "-mon", "chardev=qmp,mode=control",
	)
	m.cmd.Args = append(m.cmd.Args, more...)
	m.cmd.ExtraFiles = []*os.File{ctlEnd, monEnd}
	var said bytes.Buffer
	m.cmd.Stdout, m.cmd.Stderr = &said, &said
	if err := m.start(); err != nil {
		return fmt.Errorf("cannot start QEMU: %w", err)
	}
	if err := m.ready(ctx); err != nil {
		m.kill() // it writes to said no more
		return fmt.Errorf("%w\n%s", err, said.String())
	}
	return nil
}

// command runs a program of the host.
func command(ctx context.Context, name string, args ...string) error {
	if out, err := exec.CommandContext(ctx, name, args...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", name, err, bytes.TrimSpace(out))
	}
	return nil
}

// start runs QEMU such that it ends with this process, however that ends: the kernel sends the death signal when the
// thread that started QEMU is gone, so this goroutine keeps its thread until then.
func (m *Machine) start() error {
	m.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	started := make(chan error)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := m.cmd.Start()
		started <- err
		if err == nil {
			m.exit = m.cmd.Wait()
			close(m.exited)
		}
	}()
	err := <-started
	if err != nil {
		m.cmd = nil
	}
	return err
}

// ready waits until the guest's control program answers.
func (m *Machine) ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, bootLimit, fmt.Errorf("the guest did not boot within %s", bootLimit))
	defer cancel()
	stop := context.AfterFunc(ctx, m.ctl.interrupt)
	defer stop()
	answered := make(chan error, 1)
	go func() { answered <- m.ctl.greet(ctx) }()
	var err error
	select {
	case err = <-answered:
	case <-m.exited:
		m.ctl.interrupt()
		<-answered
		err = fmt.Errorf("QEMU ended: %v", m.exit)
	}
	if err != nil {
		return fmt.Errorf("%w; its console:\n%s", err, m.Console())
	}
	return nil
}

// Run runs a script with sh in the guest, as root in /root, and returns what it printed to both outputs.
// A status other than 0 is an error that quotes the output.
func (m *Machine) Run(ctx context.Context, script string) (string, error) {
	return m.ctl.run(ctx, script)
}

// Reset cuts the power and gives it back: nothing is told to the guest, and nothing to its peers on the network.
// It returns when the guest carries out commands again.
func (m *Machine) Reset(ctx context.Context) error {
	if err := os.Truncate(m.consolePath(), 0); err != nil {
		return err
	}
	if _, err := m.qmp.execute(ctx, "system_reset", nil); err != nil {
		return err
	}
	return m.ready(ctx)
}

// SetLink plugs or unplugs the guest's network cable. The host's side of a connection notices nothing: QEMU's user
// network ends TCP on the host and holds those sockets open.
func (m *Machine) SetLink(ctx context.Context, up bool) error {
	_, err := m.qmp.execute(ctx, "set_link", map[string]any{"name": "nic", "up": up})
	return err
}

// Share is the host's directory that the guest sees as /host.
func (m *Machine) Share() string { return filepath.Join(m.dir, "share") }

// Console is what the guest printed to its console since it started or was reset; the last 4,000 bytes.
func (m *Machine) Console() string {
	text, err := os.ReadFile(m.consolePath())
	if err != nil {
		return err.Error()
	}
	return strings.TrimSpace(string(text[max(0, len(text)-4000):]))
}

func (m *Machine) overlay() string     { return filepath.Join(m.dir, "overlay.qcow2") }
func (m *Machine) consolePath() string { return filepath.Join(m.dir, "console.log") }

// Close ends QEMU at once and removes the guest's disk. It may be called more than once.
func (m *Machine) Close() error {
	m.kill()
	if m.ctl != nil {
		m.ctl.conn.Close()
	}
	if m.qmp != nil {
		m.qmp.conn.Close()
	}
	return os.RemoveAll(m.dir)
}

func (m *Machine) kill() {
	if m.cmd != nil {
		m.cmd.Process.Kill() // the error would say that it has ended already
		<-m.exited
	}
}

// pair makes a connected pair of sockets: one end to use here, one to hand to a child.
func pair() (net.Conn, *os.File, error) {
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("cannot make a socket pair: %w", err)
	}
	ours, theirs := os.NewFile(uintptr(fds[0]), "vpi"), os.NewFile(uintptr(fds[1]), "qemu")
	conn, err := net.FileConn(ours)
	ours.Close()
	if err != nil {
		theirs.Close()
		return nil, nil, err
	}
	return conn, theirs, nil
}

// deadline applies ctx's deadline, or none, to conn.
func deadline(ctx context.Context, conn net.Conn) error {
	t, _ := ctx.Deadline()
	if err := ctx.Err(); err != nil {
		return err
	}
	return conn.SetDeadline(t)
}

// runLimit is how long a script may take when its context has no deadline.
const runLimit = 2 * time.Minute
