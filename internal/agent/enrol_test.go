package agent

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/perchcam/perch/pkg/api"
	"github.com/perchcam/perch/pkg/peer"
	"github.com/perchcam/perch/pkg/session"
	"github.com/perchcam/perch/pkg/wire"
)

func tokenOf(t *testing.T, c *session.Conn) string {
	t.Helper()
	who, err := wire.ParseSetup(c.Setup().Metadata)
	if err != nil {
		t.Fatal(err)
	}
	return who.Auth.Secret
}

func TestEnrol(t *testing.T) {
	b := newBroker(t)
	asked := make(chan string, 8)
	answer := func(req peer.Payload) (peer.Payload, error) {
		target, err := wire.ParseRequest(req.Metadata)
		if err != nil || string(target.Route) != api.RouteEnrol {
			return peer.Payload{}, peer.Errorf(peer.CodeInvalid, "not known here")
		}
		asked <- string(req.Data)
		return peer.Payload{Data: []byte(`{"device":"nest","token":"my-own"}`)}, nil
	}
	b.response.Store(&answer)
	d := folder{t, t.TempDir()}
	cfg := config(t, b, "test=pattern")
	cfg.TokenFile = d.put("given", "for-many\n", 0o600)
	state := t.TempDir()
	t.Setenv("STATE_DIRECTORY", state)

	_, stop := start(t, Options{Config: cfg, Version: "1"})
	if got := tokenOf(t, within(t, b.sessions, "the first session")); got != "for-many" {
		t.Errorf("it comes with %q", got)
	}
	if got := within(t, asked, "the request"); got != `{"device":"nest"}` {
		t.Errorf("it asks %s", got)
	}
	if e, ok := errors.AsType[*session.Error](within(t, b.ended, "the end of the first session")); !ok || e.Text != "enrolled" {
		t.Errorf("it leaves with %v", e)
	}
	if got := tokenOf(t, within(t, b.sessions, "the second session")); got != "my-own" {
		t.Errorf("it comes again with %q", got)
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
	info, err := os.Stat(filepath.Join(state, "token"))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
	if entries, _ := os.ReadDir(state); len(entries) != 1 {
		t.Errorf("%d files are left", len(entries))
	}

	// After a restart the device has its own.
	_, stop = start(t, Options{Config: cfg, Version: "1"})
	if got := tokenOf(t, within(t, b.sessions, "the third session")); got != "my-own" {
		t.Errorf("after a restart it comes with %q", got)
	}
	_ = stop()

	// Another token in the file is meant.
	d.put("given", "another\n", 0o600)
	refuse := func(peer.Payload) (peer.Payload, error) {
		asked <- "refused"
		return peer.Payload{}, peer.Errorf(peer.CodeRejected, "only an enrolment token can be exchanged")
	}
	b.response.Store(&refuse)
	_, stop = start(t, Options{Config: cfg, Version: "1"})
	if got := tokenOf(t, within(t, b.sessions, "the fourth session")); got != "another" {
		t.Errorf("with another token it comes with %q", got)
	}
	within(t, asked, "the request")
	_ = stop()
	if len(asked) != 0 || len(b.sessions) != 0 {
		t.Error("it does not take no for an answer")
	}
}

func TestKeptTokens(t *testing.T) {
	f := files{state: t.TempDir()}
	if _, ok := f.exchanged("a"); ok {
		t.Error("nothing was exchanged yet")
	}
	if err := f.keep("a", own{Token: "b"}); err != nil {
		t.Fatal(err)
	}
	if got, ok := f.exchanged("a"); !ok || got != "b" {
		t.Errorf("%q, %v", got, ok)
	}
	if _, ok := f.exchanged("c"); ok {
		t.Error("another token was exchanged")
	}
	raw, err := os.ReadFile(filepath.Join(f.state, "token"))
	if err != nil || strings.Contains(string(raw), `"a"`) || !json.Valid(raw) {
		t.Errorf("%s, %v", raw, err)
	}
	if err := os.WriteFile(filepath.Join(f.state, "token"), []byte("garbage"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, ok := f.exchanged("a"); ok {
		t.Error("garbage is a token")
	}
	if err := (files{state: filepath.Join(f.state, "absent")}).keep("a", own{Token: "b"}); err == nil {
		t.Error("a token is kept nowhere")
	}
}
