package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"text/tabwriter"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/perchcam/perch/pkg/api"
	"github.com/perchcam/perch/pkg/client"
)

// profile is a broker and how to be admitted there.
type profile struct {
	Broker string `json:"broker"`
	Token  string `json:"token,omitempty"`
	Pin    string `json:"pin,omitempty"`
	CA     string `json:"ca,omitempty"` // a file

	Dialect string `json:"dialect,omitempty"` // "": rsocket-broker
}

// profiles are what perch login has saved, in a file that only its owner can read.
type profiles struct {
	path string // "": this user has no folder for it

	Default  string             `json:"default"`
	Profiles map[string]profile `json:"profiles"`
}

// loadProfiles reads them from the user's configuration folder. No file is no profiles.
func loadProfiles() (*profiles, error) {
	p := &profiles{}
	dir, err := os.UserConfigDir()
	if err != nil {
		return p, nil
	}
	p.path = filepath.Join(dir, "perch", "profiles.json")
	data, err := os.ReadFile(p.path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return p, nil
	case err != nil:
		return nil, fmt.Errorf("cannot read the profiles: %w", err)
	}
	if err := json.Unmarshal(data, p); err != nil {
		return nil, fmt.Errorf("cannot read the profiles in %s: %w", p.path, err)
	}
	return p, nil
}

// get returns the named profile, or for "" the default one, which may be none.
func (p *profiles) get(name string) (profile, error) {
	if name == "" {
		return p.Profiles[p.Default], nil
	}
	saved, ok := p.Profiles[name]
	if !ok {
		return profile{}, hinted(&usageError{fmt.Errorf("there is no profile %q", api.Text(name))}, "perch profiles lists them, perch login makes one")
	}
	return saved, nil
}

func (p *profiles) save() error {
	if p.path == "" {
		return errors.New("cannot save the profile: this user has no home folder")
	}
	data, err := json.MarshalIndent(p, "", "  ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(p.path), 0o700); err != nil {
		return fmt.Errorf("cannot save the profile: %w", err)
	}
	f, err := openFolder(filepath.Dir(p.path), true)
	if err != nil {
		return err
	}
	defer f.close()
	f.mode = 0o600
	return f.write(filepath.Base(p.path), append(data, '\n'))
}

func (a *app) login() *cobra.Command {
	var name string
	cmd := &cobra.Command{
		Use:   "login URL",
		Short: "Save a broker and a token, so that they need not be given again",
		Long: `Save a broker and a token for it under a name. The first one saved is used where none is named; --profile or PERCH_PROFILE names
another one.

The token is read from --token-file, from standard input, or asked for. It is tried before it is saved, in a file that only you
can read. A profile's token and pin are used with its own broker and no other.`,
		Args: func(_ *cobra.Command, args []string) error {
			switch len(args) {
			case 0:
				return hinted(errors.New("which broker?"), "perch-broker add prints the whole line, such as perch login tls://broker.example.org:7878 --pin sha256:…")
			case 1:
				return nil
			}
			return fmt.Errorf("one broker is enough; %q is an argument too many", args[1])
		},
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := api.CheckName("profile", name); err != nil {
				return &usageError{err}
			}
			saved, err := loadProfiles()
			if err != nil {
				return err
			}
			p := profile{Broker: args[0], Pin: cmp.Or(a.pin, a.getenv("PERCH_BROKER_PIN")), CA: cmp.Or(a.ca, a.getenv("PERCH_TLS_CA")), Dialect: cmp.Or(a.dialect, a.getenv("PERCH_DIALECT"))}
			if p.CA != "" {
				if p.CA, err = filepath.Abs(p.CA); err != nil {
					return err
				}
			}
			if _, err := p.config(true); err != nil { // before a person types a token in vain
				return err
			}
			if p.Token, err = a.askToken(cmd.Context(), p.Broker); err != nil {
				return err
			}
			n, err := a.try(cmd.Context(), p)
			if err != nil {
				return err
			}
			if saved.Profiles == nil {
				saved.Profiles = map[string]profile{}
			}
			saved.Profiles[name] = p
			if saved.Default == "" {
				saved.Default = name
			}
			if err := saved.save(); err != nil {
				return err
			}
			a.say("%s is saved as %s; %s can be seen there", p.Broker, name, count(n, "device"))
			return nil
		},
	}
	cmd.Flags().StringVar(&name, "name", "default", "`NAME` to save it under")
	return cmd
}

// askToken gets the token for a broker. "" is none.
func (a *app) askToken(ctx context.Context, broker string) (string, error) {
	if file := cmp.Or(a.tokenFile, a.getenv("PERCH_TOKEN_FILE")); file != "" {
		return readToken(file)
	}
	if f, ok := a.stdin.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		fmt.Fprintf(a.stderr, "perch: token for %s, which is not shown (none: Enter): ", api.Text(broker))
		line, err := readSecret(ctx, f)
		fmt.Fprintln(a.stderr)
		if err != nil || len(line) == 0 {
			return "", err
		}
		return checkToken(string(line), "what was typed")
	}
	text, err := io.ReadAll(io.LimitReader(a.stdin, maxToken+2))
	if err != nil {
		return "", fmt.Errorf("cannot read the token: %w", err)
	}
	if len(text) == 0 {
		return "", nil
	}
	return checkToken(string(text), "standard input")
}

// readSecret reads a line that is not shown. Ctrl-C gives the terminal back as it was.
func readSecret(ctx context.Context, f *os.File) ([]byte, error) {
	before, err := term.GetState(int(f.Fd()))
	if err != nil {
		return nil, err
	}
	type result struct {
		line []byte
		err  error
	}
	done := make(chan result, 1)
	go func() {
		line, err := term.ReadPassword(int(f.Fd()))
		done <- result{line, err}
	}()
	select {
	case r := <-done:
		return r.line, r.err
	case <-ctx.Done():
		_ = term.Restore(int(f.Fd()), before)
		return nil, context.Cause(ctx)
	}
}

// try asks the profile's broker for its devices.
func (a *app) try(ctx context.Context, p profile) (devices int, err error) {
	insecure, err := a.mayBeInsecure(a.getenv)
	if err != nil {
		return 0, err
	}
	cfg, err := p.config(insecure)
	if err != nil {
		return 0, err
	}
	ctx, cancel := context.WithTimeout(ctx, a.timeout)
	defer cancel()
	c, err := client.Dial(ctx, cfg)
	if err != nil {
		return 0, err
	}
	defer c.Close()
	list, err := c.Devices(ctx)
	return len(list), err
}

func (a *app) profiles() *cobra.Command {
	return &cobra.Command{
		Use:   "profiles",
		Short: "List what perch login has saved",
		Args:  noArgs,
		RunE: func(*cobra.Command, []string) error {
			saved, err := loadProfiles()
			if err != nil {
				return err
			}
			if len(saved.Profiles) == 0 {
				a.say("no profile is saved")
				return nil
			}
			t := tabwriter.NewWriter(a.stdout, 0, 0, 3, ' ', 0)
			fmt.Fprintln(t, "PROFILE\tBROKER\tTOKEN\tDEFAULT")
			for _, name := range slices.Sorted(maps.Keys(saved.Profiles)) {
				p := saved.Profiles[name]
				fmt.Fprintf(t, "%s\t%s\t%s\t%s\n", api.Text(name), api.Text(p.Broker), yes(p.Token != ""), yes(name == saved.Default))
			}
			return t.Flush()
		},
	}
}

func yes(b bool) string {
	if b {
		return "yes"
	}
	return "-"
}

func (a *app) logout() *cobra.Command {
	return &cobra.Command{
		Use:   "logout [PROFILE]",
		Short: "Forget what perch login has saved",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 1 {
				return fmt.Errorf("one profile is enough; %q is an argument too many", args[1])
			}
			return nil
		},
		ValidArgsFunction: func(cmd *cobra.Command, args []string, prefix string) ([]string, cobra.ShellCompDirective) {
			if len(args) > 0 {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			return a.completeProfile(cmd, args, prefix)
		},
		RunE: func(_ *cobra.Command, args []string) error {
			saved, err := loadProfiles()
			if err != nil {
				return err
			}
			name := saved.Default
			if len(args) > 0 {
				name = args[0]
			}
			if _, ok := saved.Profiles[name]; !ok && name == "" {
				a.say("no profile is saved")
				return nil
			}
			if _, err := saved.get(name); err != nil {
				return err
			}
			delete(saved.Profiles, name)
			if saved.Default == name {
				saved.Default = ""
				for _, other := range slices.Sorted(maps.Keys(saved.Profiles)) {
					saved.Default = other
					break
				}
			}
			if err := saved.save(); err != nil {
				return err
			}
			a.say("%s is forgotten here; perch-broker revoke ends what its token may do", api.Text(name))
			return nil
		},
	}
}
