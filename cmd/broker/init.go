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
				return fmt.Errorf("%w; add, enrol, list and revoke change its credentials", err)
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
  perch-broker --state %s --listen tls://:%s

On your laptop:
  %s

For each device:
  perch-broker add device NAME --state %s
`, state, state, u.Port(), loginLine(home, pin, token), state)
			return nil
		},
	}
	stateFlag(cmd, &state)
	cmd.Flags().StringVar(&home, "url", "", "`URL` at which devices and laptops find the broker (default tls://HOSTNAME:7878)")
	cmd.Flags().StringArrayVar(&hosts, "host", nil, "another `NAME` or address for the certificate; may be given several times")
	return cmd
}

func stateFlag(cmd *cobra.Command, state *string) {
	cmd.Flags().StringVar(state, "state", commandState(), "`DIR` of the broker's key and credentials; or "+stateVariable)
}

// loginLine is what a laptop's owner types.
func loginLine(home, pin, token string) string {
	return fmt.Sprintf("echo %s | perch login %s --pin %s", token, home, pin)
}
