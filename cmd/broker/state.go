package main

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"

	"github.com/perchcam/perch/pkg/broker"
	"github.com/perchcam/perch/pkg/broker/access"
)

// The state directory holds the broker's key, its certificate and the credentials.

const (
	stateVariable = "PERCH_BROKER_STATE"
	serviceState  = "/var/lib/perch-broker" // of the package's unit
)

// servingState is where a broker looks that was not told: nowhere, unless its environment says so. systemd sets
// STATE_DIRECTORY where a unit has one (systemd.exec(5)).
func servingState() string { return cmp.Or(os.Getenv(stateVariable), os.Getenv("STATE_DIRECTORY")) }

// commandState is where the other commands look.
func commandState() string {
	if dir := servingState(); dir != "" {
		return dir
	}
	if os.Geteuid() == 0 {
		return serviceState
	}
	dir := os.Getenv("XDG_STATE_HOME")
	if dir == "" {
		dir = filepath.Join(os.Getenv("HOME"), ".local", "state")
	}
	return filepath.Join(dir, "perch-broker")
}

// useState has the broker use what init made, where it was not told something else.
func useState(cfg *broker.Config, dir string, listenGiven bool) (err error) {
	if dir == "" {
		return nil
	}
	if _, err := os.Stat(dir); err != nil {
		return fmt.Errorf("cannot use the state directory: %w; perch-broker init makes it", err)
	}
	if cfg.Access, err = access.Open(dir); err != nil {
		return err
	}
	if cfg.TLS.Cert == "" && cfg.TLS.Key == "" {
		if cert := filepath.Join(dir, access.CertFile); exists(cert) {
			cfg.TLS.Cert, cfg.TLS.Key = cert, filepath.Join(dir, access.KeyFile)
		}
	}
	if !listenGiven {
		cfg.Listen = []string{everywhere(dir)}
	}
	return nil
}

// everywhere is all addresses of this machine, with scheme and port of the URL under which others know the broker.
func everywhere(dir string) string {
	if home, err := access.ReadHome(dir); err == nil {
		if u, err := url.Parse(home.URL); err == nil && u.Port() != "" {
			return u.Scheme + "://:" + u.Port()
		}
	}
	return "tls://:7878"
}

func exists(name string) bool {
	_, err := os.Stat(name)
	return !errors.Is(err, fs.ErrNotExist)
}
