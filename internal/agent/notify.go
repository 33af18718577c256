package agent

import (
	"net"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/perchcam/perch/pkg/api"
)

// notifier speaks to the service manager (sd_notify(3)). Without one it says nothing.
type notifier struct {
	addr  string
	every time.Duration // how often WATCHDOG=1 is due; 0: never
}

// newNotifier reads NOTIFY_SOCKET, and WATCHDOG_USEC if it is meant for this process.
func newNotifier(env func(string) string) notifier {
	n := notifier{addr: env("NOTIFY_SOCKET")}
	if strings.HasPrefix(n.addr, "@") {
		n.addr = "\x00" + n.addr[1:]
	}
	us, err := strconv.ParseInt(env("WATCHDOG_USEC"), 10, 64)
	if pid := env("WATCHDOG_PID"); err == nil && us > 0 && (pid == "" || pid == strconv.Itoa(os.Getpid())) {
		n.every = time.Duration(us) * time.Microsecond / 3
	}
	return n
}

// say sends lines such as READY=1. Nobody could do anything about an error.
func (n notifier) say(lines ...string) {
	if n.addr == "" {
		return
	}
	c, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: n.addr, Net: "unixgram"})
	if err != nil {
		return
	}
	defer c.Close()
	_, _ = c.Write([]byte(strings.Join(lines, "\n")))
}

// status is a line for a person who asks systemctl.
func status(text string) string { return "STATUS=" + api.Text(text) }
