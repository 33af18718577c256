// Package access is who may do what at the broker: credentials, what they grant, and the file they are kept in.
//
// A credential has a name, a role, and the devices it is about. Its token is 256 random bits that only its
// holder has: the file keeps the SHA-256, which is enough to know the token again and too little to use it. An
// enrolment credential is one whose token buys other tokens: a freshly flashed card shows it once and gets a
// device's credential of its own. A credential may instead stand for the certificate that a link has shown, by
// the name in the certificate.
//
//	role      may ask for                                          devices are
//	viewer    pictures, streams, sensors, what there is            those it sees
//	operator  the same, and may set controls and outputs           those it sees
//	admin     everything                                           those it sees
//	device    nothing of others; it is asked                       those it may be
//	enrol     a device's credential                                those it may become
//
// The file is changed by the command line while the broker runs, and by the broker itself for an enrolment:
// whoever changes it takes the lock beside it, reads it anew, and puts a new file in its place.
package access

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/perchcam/perch/pkg/api"
)

// Role is a kind of credential.
type Role string

// The roles.
const (
	Viewer   Role = "viewer"
	Operator Role = "operator"
	Admin    Role = "admin"
	Device   Role = "device"
	Enrol    Role = "enrol"
)

// Roles are all roles.
var Roles = []Role{Viewer, Operator, Admin, Device, Enrol}

var (
	viewerRoutes = []string{
		api.RouteSnapshot, api.RouteStream, api.RouteCameras, api.RouteAlbum, api.RouteInfo, api.RouteClock, api.RouteRead, api.RouteWatch,
		api.RouteDevices, api.RouteDevicesWatch, api.RouteBrokerInfo,
	}
	operatorRoutes = []string{api.RouteControl, api.RouteOutputs, api.RouteSet}
)

// Grant is what one session may do.
type Grant struct {
	Credential string // its name; "" where there are no credentials
	Role       Role
	Devices    []string // patterns, see Matches; none is all of them

	key string // hash of the token that it was given for; "": it was a certificate
}

// All is what everybody may do where there are no credentials.
var All = Grant{Role: Admin}

// Covers reports whether the grant is about the named device.
func (g *Grant) Covers(device string) bool { return len(g.Devices) == 0 || Matches(g.Devices, device) }

// May reports whether the holder may ask for a route.
func (g *Grant) May(route string) bool {
	switch g.Role {
	case Admin:
		return true
	case Operator:
		return slices.Contains(viewerRoutes, route) || slices.Contains(operatorRoutes, route)
	case Viewer:
		return slices.Contains(viewerRoutes, route)
	case Enrol:
		return route == api.RouteEnrol
	}
	return false
}

// WhoMay returns the roles that may ask for a route.
func WhoMay(route string) (roles []Role) {
	for _, r := range Roles {
		if (&Grant{Role: r}).May(route) {
			roles = append(roles, r)
		}
	}
	return roles
}

// Matches reports whether a device's name fits one of some patterns, in which * is any text and ? any character.
func Matches(patterns []string, device string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool {
		ok, err := path.Match(p, device)
		return ok && err == nil
	})
}

// checkPattern says whether a pattern is one.
func checkPattern(p string) error {
	if _, err := path.Match(p, ""); err != nil || strings.Contains(p, "/") || p == "" {
		return fmt.Errorf("%q is no pattern of device names, such as garden-*", p)
	}
	return nil
}
