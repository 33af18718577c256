// Package firstboot has what a freshly flashed card is given, so that it becomes a device with no keyboard. README.md says
// how a person uses it.
package firstboot

import (
	_ "embed"
	"strings"
)

//go:embed user-data
var userData string

// UserData is a cloud-init configuration that installs the package from the card's boot partition and has the agent
// connect to the broker at url, whose key is pin, with a token that it may exchange for one of its own.
func UserData(url, pin, token string) string {
	return strings.NewReplacer("@URL@", url, "@PIN@", pin, "@TOKEN@", token).Replace(userData)
}
