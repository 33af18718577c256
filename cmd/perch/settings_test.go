package main

import (
	"os"
	"path/filepath"
	"testing"
)

// Which broker is asked, and with which token: a token goes to the broker it was saved for and to no other.
func TestSettings(t *testing.T) {
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte("from-file\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	saved := &profiles{Default: "farm", Profiles: map[string]profile{
		"farm": {Broker: "tls://farm:7878", Token: "of-farm"},
		"yard": {Broker: "tls://yard:7878", Token: "of-yard"},
	}}
	type want struct{ broker, token string }
	for name, tc := range map[string]struct {
		s    settings
		env  map[string]string
		want want
	}{
		"default profile":               {settings{}, nil, want{"tls://farm:7878", "of-farm"}},
		"named profile":                 {settings{profile: "yard"}, nil, want{"tls://yard:7878", "of-yard"}},
		"profile of the environment":    {settings{}, map[string]string{"PERCH_PROFILE": "yard"}, want{"tls://yard:7878", "of-yard"}},
		"flag before environment":       {settings{broker: "tls://a:1"}, map[string]string{"PERCH_BROKER": "tls://b:1"}, want{"tls://a:1", ""}},
		"another broker":                {settings{}, map[string]string{"PERCH_BROKER": "tls://b:1"}, want{"tls://b:1", ""}},
		"another broker with a profile": {settings{broker: "tls://b:1", profile: "yard"}, nil, want{"tls://b:1", ""}},
		"the profile's broker":          {settings{broker: "tls://yard:7878", profile: "yard"}, nil, want{"tls://yard:7878", "of-yard"}},
		"token of a file":               {settings{tokenFile: file}, nil, want{"tls://farm:7878", "from-file"}},
		"token of the environment":      {settings{broker: "tls://b:1"}, map[string]string{"PERCH_TOKEN_FILE": file}, want{"tls://b:1", "from-file"}},
	} {
		cfg, err := tc.s.config(func(v string) string { return tc.env[v] }, saved)
		if got := (want{cfg.Broker, cfg.Auth.Secret}); err != nil || got != tc.want {
			t.Errorf("%s: %v, %v", name, got, err)
		}
	}
	for name, tc := range map[string]struct {
		s   settings
		env map[string]string
	}{
		"unknown profile": {settings{profile: "barn"}, nil},
		"no token":        {settings{tokenFile: file + ".not"}, nil},
		"no certificates": {settings{ca: file}, nil},
		"bad pin":         {settings{pin: "sha1:x"}, nil},
		"insecure":        {settings{}, map[string]string{"PERCH_INSECURE": "perhaps"}},
		"dialect":         {settings{dialect: "esperanto"}, nil},
	} {
		cfg, err := tc.s.config(func(v string) string { return tc.env[v] }, saved)
		if code, _ := judge(err); err == nil || code != exitUsage {
			t.Errorf("%s: %+v, %v", name, cfg, err)
		}
	}
}
