package main

import (
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/spf13/pflag"

	"github.com/perchcam/perch/pkg/client"
	"github.com/perchcam/perch/pkg/wire"
)

// settings say which broker is asked, and as whom. A flag counts before the environment, and that before a profile.
type settings struct {
	profile   string
	broker    string
	tokenFile string
	pin       string
	ca        string
	insecure  bool
	dialect   string
}

func (s *settings) flags(f *pflag.FlagSet) {
	f.StringVar(&s.broker, "broker", "", "`URL` of the broker (default $PERCH_BROKER)")
	f.StringVar(&s.profile, "profile", "", "`NAME` that perch login has saved (default $PERCH_PROFILE)")
	f.StringVar(&s.tokenFile, "token-file", "", "`FILE` with the token for the broker (default $PERCH_TOKEN_FILE)")
	f.StringVar(&s.pin, "pin", "", "`PIN` of the broker's key, as perch-broker prints it (default $PERCH_BROKER_PIN)")
	f.StringVar(&s.ca, "ca", "", "`FILE` with the certificates that the broker's must be signed by (default $PERCH_TLS_CA)")
	f.BoolVar(&s.insecure, "insecure", false, "let the token travel unencrypted to other machines (default $PERCH_INSECURE)")
	f.StringVar(&s.dialect, "dialect", "", "`NAME` of what the broker speaks: rsocket-broker, which Perch's own does, alibaba or plain (default $PERCH_DIALECT)")
}

var errNoBroker = hinted(&usageError{errors.New("no broker is named")},
	"give --broker URL, or set PERCH_BROKER, such as tcp://127.0.0.1:7878; perch login saves it")

// config finds out what was set. A profile's token and pin are for its own broker: where another one is named, they stay out.
func (s *settings) config(getenv func(string) string, profiles *profiles) (client.Config, error) {
	or := func(flag, variable string) string {
		if flag != "" {
			return flag
		}
		return getenv(variable)
	}
	var cfg client.Config
	p := profile{Broker: or(s.broker, "PERCH_BROKER")}
	if name := or(s.profile, "PERCH_PROFILE"); name != "" || p.Broker == "" {
		saved, err := profiles.get(name)
		switch {
		case err != nil:
			return cfg, err
		case p.Broker == "" || p.Broker == saved.Broker:
			p = saved
		}
	}
	if p.Broker == "" {
		return cfg, errNoBroker
	}
	if file := or(s.tokenFile, "PERCH_TOKEN_FILE"); file != "" {
		token, err := readToken(file)
		if err != nil {
			return cfg, err
		}
		p.Token = token
	}
	p.Pin = cmp.Or(or(s.pin, "PERCH_BROKER_PIN"), p.Pin)
	p.CA = cmp.Or(or(s.ca, "PERCH_TLS_CA"), p.CA)
	p.Dialect = cmp.Or(or(s.dialect, "PERCH_DIALECT"), p.Dialect)
	insecure, err := s.mayBeInsecure(getenv)
	if err != nil {
		return cfg, err
	}
	return p.config(insecure)
}

func (s *settings) mayBeInsecure(getenv func(string) string) (bool, error) {
	text := getenv("PERCH_INSECURE")
	if text == "" || s.insecure {
		return s.insecure, nil
	}
	on, err := strconv.ParseBool(text)
	if err != nil {
		err = &usageError{errors.New("PERCH_INSECURE must be 1 or 0")}
	}
	return on, err
}

// config is how to connect.
func (p profile) config(insecure bool) (client.Config, error) {
	cfg := client.Config{Broker: p.Broker, Insecure: insecure}
	if p.Token != "" {
		cfg.Auth = wire.Auth{Scheme: wire.AuthBearer, Secret: p.Token}
	}
	if p.Dialect != "" {
		if err := cfg.Dialect.UnmarshalText([]byte(p.Dialect)); err != nil {
			return cfg, &usageError{err}
		}
	}
	var err error
	cfg.TLS, err = p.tls()
	return cfg, err
}

// tls is how the broker is known; nil is as any web server is.
func (p profile) tls() (*tls.Config, error) {
	switch {
	case p.Pin != "":
		return client.Pinned(p.Pin)
	case p.CA != "":
		pem, err := os.ReadFile(p.CA)
		if err != nil {
			return nil, &usageError{fmt.Errorf("cannot read the certificates: %w", err)}
		}
		pool := x509.NewCertPool()
		if !pool.AppendCertsFromPEM(pem) {
			return nil, &usageError{fmt.Errorf("there is no certificate in %s", p.CA)}
		}
		return &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: pool}, nil
	}
	return nil, nil
}

const maxToken = 4 << 10

// readToken reads a token, with or without a line end behind it.
func readToken(file string) (string, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return "", &usageError{fmt.Errorf("cannot read the token: %w", err)}
	}
	return checkToken(string(b), file)
}

func checkToken(text, from string) (string, error) {
	token := strings.TrimSpace(text)
	switch {
	case token == "":
		return "", &usageError{fmt.Errorf("there is no token in %s", from)}
	case len(token) > maxToken || strings.ContainsFunc(token, func(c rune) bool { return c <= ' ' || c > '~' }):
		return "", &usageError{fmt.Errorf("what is in %s is no token: it must be one word of ASCII", from)}
	}
	return token, nil
}
