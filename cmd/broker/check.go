package main

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/perchcam/perch/pkg/broker/access"
)

// errFaults says that check found some; each has been printed.
var errFaults = errors.New("see the lines marked fail")

func checkCommand() *cobra.Command {
	var state string
	cmd := &cobra.Command{
		Use:   "check",
		Short: "Look whether everything is as it should be, and say what to do where it is not",
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			failed := false
			say := func(verdict, format string, args ...any) {
				failed = failed || verdict == "fail"
				fmt.Fprintf(cmd.OutOrStdout(), "%-4s  %s\n", verdict, fmt.Sprintf(format, args...))
			}
			check(state, say)
			if failed {
				return errFaults
			}
			return nil
		},
	}
	stateFlag(cmd, &state)
	return cmd
}

func check(dir string, say func(verdict, format string, args ...any)) {
	info, err := os.Stat(dir)
	if err != nil {
		say("fail", "state: %v; make it with: perch-broker init", err)
		return
	}
	if info.Mode().Perm()&0o077 != 0 {
		say("warn", "state: others may look into %s; mend it with: chmod 700 %s", dir, dir)
	} else {
		say("ok", "state: %s", dir)
	}
	home, err := access.ReadHome(dir)
	if err != nil {
		say("fail", "url: %v; make it with: perch-broker init", err)
		return
	}
	key := filepath.Join(dir, access.KeyFile)
	if info, err := os.Stat(key); err == nil && info.Mode().Perm()&0o077 != 0 {
		say("fail", "key: others may read %s; mend it with: chmod 600 %s", key, key)
	}
	pair, err := tls.LoadX509KeyPair(filepath.Join(dir, access.CertFile), key)
	if err != nil {
		say("fail", "certificate: %v", err)
		return
	}
	leaf := pair.Leaf
	pin := access.Pin(leaf)
	switch now := time.Now(); {
	case now.Before(leaf.NotBefore):
		say("fail", "certificate: it begins to count on %s, and the clock says %s; set the clock", leaf.NotBefore.Format(time.DateOnly), now.Format(time.DateOnly))
	case now.After(leaf.NotAfter):
		say("fail", "certificate: it counted until %s", leaf.NotAfter.Format(time.DateOnly))
	default:
		say("ok", "certificate: until %s, pin %s", leaf.NotAfter.Format(time.DateOnly), pin)
	}
	checkCredentials(dir, say)
	checkReach(home, pin, say)
}

func checkCredentials(dir string, say func(verdict, format string, args ...any)) {
	store, err := access.Open(dir)
	if err != nil {
		say("fail", "credentials: %v", err)
		return
	}
	number := map[access.Role]int{}
	for _, c := range store.List() {
		if c.Expires.IsZero() || time.Now().Before(c.Expires) {
			number[c.Role]++
		} else {
			say("warn", "credentials: those of %s have expired; take them out with: perch-broker revoke %s", c.Name, c.Name)
		}
	}
	if number[access.Device] == 0 {
		say("warn", "credentials: there is no device yet; add one with: perch-broker add device NAME")
	}
	say("ok", "credentials: %d devices, %d viewers, %d operators, %d admins", number[access.Device], number[access.Viewer], number[access.Operator], number[access.Admin])
}

// checkReach connects as a device would.
func checkReach(home access.Home, pin string, say func(verdict, format string, args ...any)) {
	u, err := url.Parse(home.URL)
	if err != nil {
		say("fail", "url: %v", err)
		return
	}
	addresses, err := net.LookupHost(u.Hostname())
	if err != nil {
		say("fail", "name: %v; devices will not find %s either, unless their network knows it", err, u.Hostname())
		return
	}
	say("ok", "name: %s is %v", u.Hostname(), addresses)
	dialer := tls.Dialer{NetDialer: &net.Dialer{Timeout: 3 * time.Second}, Config: &tls.Config{
		InsecureSkipVerify: true, // the pin is what counts
		VerifyPeerCertificate: func(raw [][]byte, _ [][]*x509.Certificate) error {
			cert, err := x509.ParseCertificate(raw[0])
			if err == nil && access.Pin(cert) != pin {
				err = fmt.Errorf("the key that answers is another one, pin %s", access.Pin(cert))
			}
			return err
		},
	}}
	nc, err := dialer.Dial("tcp", u.Host)
	if err != nil {
		say("fail", "broker: %s: %v; is it running, and does its firewall let port %s through?", home.URL, err, u.Port())
		return
	}
	_ = nc.Close()
	say("ok", "broker: %s answers with this key", home.URL)
}
