package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/perchcam/perch/packaging/firstboot"
	"github.com/perchcam/perch/pkg/broker/access"
)

// shop is an initialised state directory.
type shop struct {
	*access.Store
	home access.Home
	pin  string
}

func openShop(dir string) (*shop, error) {
	home, err := access.ReadHome(dir)
	if err != nil {
		return nil, fmt.Errorf("there is no broker in %s: %w; perch-broker init makes one, --state names another place", dir, err)
	}
	store, err := access.Open(dir)
	if err != nil {
		return nil, err
	}
	pin, err := access.PinOf(filepath.Join(dir, access.CertFile))
	return &shop{store, home, pin}, err
}

func addCommand() *cobra.Command {
	var state string
	var c access.Credential
	var lasts time.Duration
	cmd := &cobra.Command{
		Use:   "add device|viewer|operator|admin NAME",
		Short: "Make credentials, and print the lines that use them",
		Long: `add makes credentials and prints the exact lines for the Pi or the laptop that is to have them. Their token is shown
this once and kept nowhere.

  device    a device: it can be asked, and asks for nothing
  viewer    sees pictures, streams and sensors
  operator  may set controls and outputs as well
  admin     may do everything`,
		Example: `  perch-broker add device front-door
  perch-broker add viewer neighbour --devices 'garden-*' --for 720h`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 2 {
				return errUsage{errors.New("add needs a role and a name, such as: add device front-door")}
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			c.Role, c.Name = access.Role(args[0]), args[1]
			if !slices.Contains([]access.Role{access.Device, access.Viewer, access.Operator, access.Admin}, c.Role) {
				return errUsage{fmt.Errorf("%q is no role: it is one of device, viewer, operator, admin", args[0])}
			}
			switch {
			case lasts > 0:
				c.Expires = time.Now().Add(lasts).UTC().Truncate(time.Second)
			case cmd.Flags().Changed("for"): // not credentials that last for ever
				return errUsage{errors.New("--for must be positive")}
			}
			s, err := openShop(state)
			if err != nil {
				return err
			}
			token, err := s.Add(c)
			if err != nil {
				return err
			}
			out := cmd.OutOrStdout()
			switch {
			case c.Cert:
				fmt.Fprintf(out, "Who shows a certificate with the name %s is now a %s.\n", c.Name, c.Role)
			case c.Role == access.Device:
				fmt.Fprint(out, "On the Pi:\n")
				s.printAgent(out, token, "PERCH_DEVICE="+c.Name)
			default:
				fmt.Fprintf(out, "On the laptop:\n  %s\n", loginLine(s.home.URL, s.pin, token))
			}
			return nil
		},
	}
	stateFlag(cmd, &state)
	f := cmd.Flags()
	f.StringArrayVar(&c.Devices, "devices", nil, "`PATTERN` of the devices it is about, such as 'garden-*'; may be given several times\n(default: a device itself, for others all)")
	f.DurationVar(&lasts, "for", 0, "how long the credentials count, such as 720h (default: until they are revoked)")
	f.BoolVar(&c.Cert, "cert", false, "they are not a token but a certificate with this name, see --client-ca")
	return cmd
}

// printAgent prints the two lines that set up an agent.
func (s *shop) printAgent(out io.Writer, token string, more ...string) {
	settings := append([]string{"PERCH_BROKER=" + s.home.URL, "PERCH_BROKER_PIN=" + s.pin, "PERCH_TOKEN_FILE=/etc/perch/token"}, more...)
	fmt.Fprintf(out, "  echo %s | sudo install -D -m 600 /dev/stdin /etc/perch/token\n", token)
	fmt.Fprintf(out, "  printf '%%s\\n' %s | sudo tee -a /etc/default/perch-agent && sudo systemctl restart perch-agent\n", strings.Join(settings, " "))
}

func enrolCommand() *cobra.Command {
	var state string
	c := access.Credential{Role: access.Enrol}
	var lasts time.Duration
	var userData bool
	cmd := &cobra.Command{
		Use:   "enrol NAME",
		Short: "Make a token with which new devices fetch credentials of their own",
		Long: `enrol makes a token that a freshly flashed card exchanges for credentials of its own when it first connects. It can be
used as often as --uses says, and for a day unless --for says otherwise.

With --user-data it prints the file user-data for the boot partition of cards whose system has cloud-init. They then
install the package that lies beside it and need no keyboard.`,
		Example: `  perch-broker enrol cards-of-may --uses 10 --for 168h
  perch-broker enrol attic --devices 'attic-*' --user-data >user-data`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return errUsage{errors.New("enrol needs a name for the token, such as: enrol cards-of-may")}
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if c.Uses < 1 || lasts <= 0 {
				return errUsage{errors.New("--uses and --for must be positive")}
			}
			c.Name, c.Expires = args[0], time.Now().Add(lasts).UTC().Truncate(time.Second)
			s, err := openShop(state)
			if err != nil {
				return err
			}
			token, err := s.Add(c)
			if err != nil {
				return err
			}
			if userData {
				fmt.Fprint(cmd.OutOrStdout(), firstboot.UserData(s.home.URL, s.pin, token))
				return nil
			}
			fmt.Fprintf(cmd.OutOrStdout(), "On the card, for %d of them, until %s:\n", c.Uses, c.Expires.Local().Format("2006-01-02 15:04"))
			s.printAgent(cmd.OutOrStdout(), token)
			return nil
		},
	}
	stateFlag(cmd, &state)
	f := cmd.Flags()
	f.IntVar(&c.Uses, "uses", 1, "how many devices may enrol with it")
	f.StringArrayVar(&c.Devices, "devices", nil, "`PATTERN` of the names they may have; may be given several times (default: any)")
	f.DurationVar(&lasts, "for", 24*time.Hour, "how long the token counts")
	f.BoolVar(&userData, "user-data", false, "print a cloud-init configuration for the card")
	return cmd
}

func listCommand() *cobra.Command {
	var state string
	cmd := &cobra.Command{
		Use:   "list",
		Short: "Show all credentials",
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := openShop(state)
			if err != nil {
				return err
			}
			all := s.List()
			slices.SortFunc(all, func(a, b access.Credential) int {
				return cmp.Or(cmp.Compare(slices.Index(access.Roles, a.Role), slices.Index(access.Roles, b.Role)), cmp.Compare(a.Name, b.Name))
			})
			w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
			fmt.Fprintln(w, "NAME\tROLE\tDEVICES\tBY\tCREATED\tEXPIRES")
			for _, c := range all {
				by, expires := "token", "never"
				switch {
				case c.Cert:
					by = "certificate"
				case c.Role == access.Enrol:
					by = fmt.Sprintf("token, %d left", c.Uses)
				case c.Via != "":
					by = "token, by " + c.Via
				}
				if !c.Expires.IsZero() {
					expires = c.Expires.Local().Format("2006-01-02 15:04")
					if time.Now().After(c.Expires) {
						expires += " (over)"
					}
				}
				fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", c.Name, c.Role, cmp.Or(strings.Join(c.Devices, " "), "all"), by, c.Created.Local().Format("2006-01-02"), expires)
			}
			return w.Flush()
		},
	}
	stateFlag(cmd, &state)
	return cmd
}

func revokeCommand() *cobra.Command {
	var state string
	var all bool
	cmd := &cobra.Command{
		Use:   "revoke NAME",
		Short: "Take credentials back; sessions that they admitted end within a second",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return errUsage{errors.New("revoke needs the name of the credentials")}
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			s, err := openShop(state)
			if err != nil {
				return err
			}
			gone, err := s.Revoke(args[0], all)
			if err != nil {
				return err
			}
			fmt.Fprintf(cmd.OutOrStdout(), "Revoked: %s\n", strings.Join(gone, ", "))
			return nil
		},
	}
	stateFlag(cmd, &state)
	cmd.Flags().BoolVar(&all, "all", false, "for an enrolment token: also what devices got with it")
	return cmd
}
