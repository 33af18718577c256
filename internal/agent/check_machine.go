package agent

import (
	"context"
	"fmt"
	"io/fs"
	"path"
	"strconv"
	"strings"
	"time"
)

func (d *Doctor) clock(context.Context) []Finding {
	const about, next = "clock", "timedatectl says more; a network without NTP needs a time source of its own"
	now := time.Now()
	floor := newClock(d.root).Floor()
	text := now.UTC().Format("2006-01-02 15:04:05 UTC")
	switch {
	case d.synced():
		return []Finding{fine(about, "%s, set by a time source", text)}
	case now.Before(floor):
		return []Finding{warn(about, next, "%s, which is in the past: certificates are judged by %s", text, floor.UTC().Format("2006-01-02"))}
	}
	return []Finding{warn(about, next, "%s, set by no time source: pictures say so, and a clock that is ahead makes certificates expire", text)}
}

// throttled are the bits of the firmware's answer (Raspberry Pi documentation, "vcgencmd get_throttled"): now, and since the start.
var throttled = []struct {
	now, ever uint
	text      string
}{
	{0, 16, "under-voltage"},
	{1, 17, "the processor's frequency capped"},
	{2, 18, "throttled"},
	{3, 19, "at its temperature limit"},
}

// power asks the firmware of a Raspberry Pi.
func (d *Doctor) power(context.Context) []Finding {
	const about = "power"
	// On a Pi 5 the system on chip has its address in its name.
	files, err := fs.Glob(d.root, "sys/devices/platform/soc*/soc*:firmware/get_throttled")
	if err != nil || len(files) == 0 {
		return nil
	}
	text := line(d.root, files[0])
	bits, err := strconv.ParseUint(strings.TrimPrefix(text, "0x"), 16, 32)
	if err != nil {
		return nil
	}
	var now, ever []string
	for _, b := range throttled {
		if bits>>b.now&1 == 1 {
			now = append(now, b.text)
		} else if bits>>b.ever&1 == 1 {
			ever = append(ever, b.text)
		}
	}
	const next = "take a stronger power supply and a short, thick cable; cameras on USB need much at their start"
	switch {
	case len(now) > 0:
		return []Finding{fail(about, next, "%s, now", strings.Join(now, ", "))}
	case len(ever) > 0:
		return []Finding{warn(about, next, "%s, since the start but not now", strings.Join(ever, ", "))}
	}
	return []Finding{fine(about, "neither under-voltage nor throttling since the start")}
}

// network looks at Wi-Fi power saving: on a Zero W it makes the 99th percentile of a round trip 0.8 to 2 s
// (raspberrypi/linux#7533).
func (d *Doctor) network(context.Context) (list []Finding) {
	ifaces, err := fs.ReadDir(d.root, "sys/class/net")
	if err != nil {
		return nil
	}
	for _, i := range ifaces {
		if _, err := fs.Stat(d.root, path.Join("sys/class/net", i.Name(), "wireless")); err != nil {
			continue
		}
		about := "wifi " + i.Name()
		switch on, known := d.saving(i.Name()); {
		case !known:
			list = append(list, warn(about, "iw dev "+i.Name()+" get power_save", "it cannot be told whether its power saving is on"))
		case on:
			list = append(list, warn(about, fmt.Sprintf("iw dev %s set power_save off; for good: nmcli c modify NAME 802-11-wireless.powersave 2", i.Name()),
				"power saving is on: answers take up to 2 s"))
		default:
			list = append(list, fine(about, "power saving is off"))
		}
	}
	return list
}

// storage looks at the root file system, to which the agent itself writes nothing.
func (d *Doctor) storage(context.Context) []Finding {
	const about, low = "disk", 50 << 20
	free, readOnly, err := d.disk()
	switch {
	case err != nil:
		return nil
	case readOnly:
		return []Finding{fine(about, "the root file system is read-only, which is fine")}
	case free < low:
		return []Finding{warn(about, "make room: journalctl --vacuum-size=50M, apt clean", "%d MiB are free", free>>20)}
	}
	return []Finding{fine(about, "%d MiB are free", free>>20)}
}
