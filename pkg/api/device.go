package api

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
	"time"
)

const (
	maxName = 63
	maxText = 128 // bytes of any other short text
)

// CheckName says whether a name of a device, camera, sensor or output is one: `[a-z0-9][a-z0-9._-]{0,62}`. What says which of
// them it is.
func CheckName(what, name string) error {
	if validName(name) {
		return nil
	}
	return fmt.Errorf("%s %q is no valid name: it must begin with a-z or 0-9, go on with a-z, 0-9, dot, underscore or hyphen, "+
		"and have at most %d characters", what, clip(name), maxName)
}

func validName(name string) bool {
	if name == "" || len(name) > maxName {
		return false
	}
	for i := range len(name) {
		c := name[i]
		letter := 'a' <= c && c <= 'z' || '0' <= c && c <= '9'
		if !letter && (i == 0 || c != '.' && c != '_' && c != '-') {
			return false
		}
	}
	return true
}

// DefaultDevice makes a device's name of its host name: in lower case, anything else that names do not allow as a hyphen. The
// names that images come with would meet their like at the broker, so they are told apart by the start of the device's id.
func DefaultDevice(hostname, id string) string {
	name := strings.Map(func(c rune) rune {
		switch {
		case 'a' <= c && c <= 'z', '0' <= c && c <= '9', c == '.', c == '_', c == '-':
			return c
		}
		return '-'
	}, strings.ToLower(hostname))
	name = strings.TrimLeft(name, "._-")
	name = strings.TrimRight(name[:min(len(name), maxName)], "._-")
	short, _, _ := strings.Cut(name, ".")
	switch short {
	case "":
		name = "device"
	case "raspberrypi", "localhost":
		name = short
	default:
		return name
	}
	return name + "-" + id[:min(len(id), 4)]
}

// DeviceID derives a device's stable id from the text of /etc/machine-id, as 32 hexadecimal digits. The machine id itself is to
// be kept from networks (machine-id(5)), so it is the key of a hash of this application's own text and not part of the result.
func DeviceID(machineID string) (string, error) {
	key, err := hex.DecodeString(strings.TrimSpace(machineID))
	if err != nil || len(key) != 16 {
		return "", fmt.Errorf("the machine id is not 32 hexadecimal digits")
	}
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte("perch device id 1"))
	return hex.EncodeToString(mac.Sum(nil)[:16]), nil
}

// States of a device at the broker.
const (
	StateOnline = "online"
	StateAway   = "away" // its link is lost, and its session may be resumed
	StateLeft   = "left"
)

// Device is a device as Perch's broker lists it.
type Device struct {
	Name    string            `json:"name"`
	ID      string            `json:"id,omitempty"`
	State   string            `json:"state"`
	Since   time.Time         `json:"since"` // of the state, by the broker's clock, as all times here
	Version string            `json:"version,omitempty"`
	Started time.Time         `json:"started,omitzero"` // its agent
	Picture time.Time         `json:"picture,omitzero"` // when its newest one came to the broker
	Cameras []CameraRef       `json:"cameras,omitempty"`
	Sensors []SensorRef       `json:"sensors,omitempty"`
	Outputs []OutputRef       `json:"outputs,omitempty"`
	Tags    map[string]string `json:"tags,omitempty"`
	Addr    string            `json:"addr,omitempty"`   // where its link comes from; for administrators only
	Reason  string            `json:"reason,omitempty"` // why it is away or left
}

// Devices is the answer of RouteDevices, by name. Of many devices it is a page of at most MaxAnswer bytes.
type Devices struct {
	Devices List[Device] `json:"devices"`
	At      time.Time    `json:"at,omitzero"`    // by the broker's clock
	Next    string       `json:"next,omitempty"` // there are more: ask again with this as After
}

// Types of a DeviceEvent.
const (
	EventState  = "state"  // a device that was there when the watch began
	EventChange = "change" // something changed
	EventGap    = "gap"    // the watcher was too slow: changes are missing, and states follow anew
)

// DeviceEvent is one item of RouteDevicesWatch: the state of every device first, then changes as they happen.
type DeviceEvent struct {
	Type   string  `json:"type"`
	Device *Device `json:"device,omitempty"`
	Missed uint64  `json:"missed,omitempty"` // in a gap
}

// BrokerInfo is the answer of RouteBrokerInfo. It counts the devices that who asks may see.
type BrokerInfo struct {
	Version string    `json:"version"`
	Started time.Time `json:"started"`
	At      time.Time `json:"at"`
	Online  int       `json:"online"`
	Away    int       `json:"away"`
	Viewers int       `json:"viewers"`        // laptops; only an administrator is told
	Role    string    `json:"role,omitempty"` // of who asks: viewer, operator or admin
}

// EnrolRequest is the request of RouteEnrol.
type EnrolRequest struct {
	Device string `json:"device"`
}

// Check says what is wrong with the request.
func (r EnrolRequest) Check() error { return CheckName("device", r.Device) }

// Enrolled is the answer of RouteEnrol.
type Enrolled struct {
	Device string `json:"device"`
	Token  string `json:"token"` // the device's own
}

func clip(s string) string {
	if len(s) > maxText {
		return s[:maxText] + "…"
	}
	return s
}

// checkText takes short text of a peer, which a person will read.
func checkText(field, s string) error {
	switch {
	case len(s) > maxText:
		return fmt.Errorf("%q has %d bytes, %d are allowed", field, len(s), maxText)
	case Text(s) != s:
		return fmt.Errorf("%q holds characters that cannot be shown", field)
	}
	return nil
}
