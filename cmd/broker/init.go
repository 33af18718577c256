package main

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"

	"github.com/spf13/cobra"

	"github.com/perchcam/perch/pkg/broker/access"
)

func initCommand() *cobra.Command {
	var state, home string
	var hosts []string
	cmd := &cobra.Command{
		Use:   "init",
		Short: "Make the broker's key, its certificate, and the first credentials",
		Long: `init makes the broker's key, a certificate that it signs itself, and the credentials "admin", and prints what to do
with them. Devices and laptops know the broker by the fingerprint of its key, so nobody else has to sign it.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			host, err := os.Hostname()
			if err != nil {
				return err
			}
			if home == "" {
				home = "tls://" + net.JoinHostPort(host, "7878")
			}
			u, err := url.Parse(home)
			if err != nil || u.Scheme != "tls" && u.Scheme != "wss" || u.Hostname() == "" || u.Port() == "" {
				return errUsage{fmt.Errorf("--url %q is not tls://HOST:PORT", home)}
			}
			for _, h := range []string{u.Hostname(), host, "localhost", "127.0.0.1", "::1"} {
				if !slices.Contains(hosts, h) {
					hosts = append(hosts, h)
				}
			}
			if err := access.Init(state, access.Home{URL: home}, hosts); errors.Is(err, fs.ErrExist) {
				return fmt.Errorf("there is a broker in %s already, which is left as it is: add, enrol, list and revoke change its credentials, check looks at it; --state DIR makes another one", state)
			} else if err != nil {
				return fmt.Errorf("cannot initialise: %w", err)
			}
			store, err := access.Open(state)
			if err != nil {
				return err
			}
			token, err := store.Add(access.Credential{Name: "admin", Role: access.Admin})
			if err != nil {
				return err
			}
			pin, err := access.PinOf(filepath.Join(state, access.CertFile))
			if err != nil {
				return err
			}
			fmt.Fprintf(cmd.OutOrStdout(), `The broker's key, certificate and credentials are in %s.

Start the broker:
  %s

On your laptop:
  %s

For each device:
  perch-broker add device NAME --state %s
`, state, startLine(state, u), loginLine(home, pin, token), state)
			return nil
		},
	}
	stateFlag(cmd, &state)
	cmd.Flags().StringVar(&home, "url", "", "`URL` at which devices and laptops find the broker (default tls://HOSTNAME:7878)")
	cmd.Flags().StringArrayVar(&hosts, "host", nil, "another `NAME` or address for the certificate; may be given several times")
	return cmd
}

// stateFlag says where a command works, and has root work there as the directory's owner.
func stateFlag(cmd *cobra.Command, state *string) {
	cmd.PreRunE = func(*cobra.Command, []string) error { return becomeOwner(*state) }
	cmd.Flags().StringVar(state, "state", commandState(), "`DIR` of the broker's key and credentials; or "+stateVariable)
}

// startLine starts the broker: the service where there is one.
func startLine(state string, home *url.URL) string {
	if _, err := os.Stat("/lib/systemd/system/perch-broker.service"); err == nil && state == serviceState {
		return "sudo systemctl restart perch-broker"
	}
	return fmt.Sprintf("perch-broker --state %s --listen %s://:%s", state, home.Scheme, home.Port())
}

// loginLine is what a laptop's owner types.
func loginLine(home, pin, token string) string {
	return fmt.Sprintf("echo %s | perch login %s --pin %s", token, home, pin)
}
