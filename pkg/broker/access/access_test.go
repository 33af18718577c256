package access

import (
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/perchcam/perch/pkg/api"
)

func TestRoles(t *testing.T) {
	may := func(roles ...Role) map[Role]bool {
		m := map[Role]bool{}
		for _, r := range roles {
			m[r] = true
		}
		return m
	}
	for route, want := range map[string]map[Role]bool{
		api.RouteSnapshot:     may(Viewer, Operator, Admin),
		api.RouteStream:       may(Viewer, Operator, Admin),
		api.RouteWatch:        may(Viewer, Operator, Admin),
		api.RouteInfo:         may(Viewer, Operator, Admin),
		api.RouteDevices:      may(Viewer, Operator, Admin),
		api.RouteDevicesWatch: may(Viewer, Operator, Admin),
		api.RouteControl:      may(Operator, Admin),
		api.RouteSet:          may(Operator, Admin),
		api.RouteOutputs:      may(Operator, Admin),
		api.RouteLogs:         may(Admin),
		api.RouteMetrics:      may(Admin),
		api.RouteHealth:       may(Admin),
		api.RouteBrokerInfo:   may(Viewer, Operator, Admin),
		"someone.elses":       may(Admin),
		api.RouteEnrol:        may(Admin, Enrol),
	} {
		for _, role := range Roles {
			if g := (&Grant{Role: role}); g.May(route) != want[role] {
				t.Errorf("%s, %s: %v", role, route, g.May(route))
			}
		}
	}
}

func TestCovers(t *testing.T) {
	g := &Grant{Devices: []string{"garden-*", "attic"}}
	for device, want := range map[string]bool{"garden-1": true, "garden-": true, "attic": true, "attic-2": false, "hall": false, "my-garden-1": false} {
		if g.Covers(device) != want {
			t.Errorf("%s: %v", device, g.Covers(device))
		}
	}
}

func open(t *testing.T) *Store {
	t.Helper()
	s, err := Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func add(t *testing.T, s *Store, c Credential) string {
	t.Helper()
	token, err := s.Add(c)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

func TestTokens(t *testing.T) {
	s := open(t)
	token := add(t, s, Credential{Name: "front", Role: Device})
	if !regexp.MustCompile(`^perch_[A-Z2-7]{52}$`).MatchString(token) {
		t.Errorf("the token is %q", token)
	}
	g, err := s.Admit(token, "")
	if err != nil || g.Credential != "front" || g.Role != Device || !g.Covers("front") || g.Covers("back") {
		t.Errorf("%+v, %v", g, err)
	}
	for _, c := range []struct {
		token, cert string
		want        error
	}{{"", "", ErrNone}, {"perch_X", "", ErrUnknown}, {"", "front", ErrUnknown}, {"", "nobody", ErrUnknown}, {"perch_X", "front", ErrUnknown}} {
		if _, err := s.Admit(c.token, c.cert); !errors.Is(err, c.want) {
			t.Errorf("token %q, certificate %q: %v", c.token, c.cert, err)
		}
	}

	// The file does not hold the token, and only its owner may read it.
	name := filepath.Join(s.Dir(), "credentials.json")
	data, err := os.ReadFile(name)
	if err != nil || strings.Contains(string(data), token) || strings.Contains(string(data), token[6:]) {
		t.Errorf("%s, %v", data, err)
	}
	if info, err := os.Stat(name); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}

	// Another process sees the same.
	other, err := Open(s.Dir())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := other.Admit(token, ""); err != nil {
		t.Error(err)
	}
	if gone, err := other.Revoke("front", false); err != nil || len(gone) != 1 {
		t.Fatal(gone, err)
	}
	if !s.Stands(g) {
		t.Error("the store looks at its file on its own")
	}
	if changed, err := s.Reload(); !changed || err != nil {
		t.Fatal(changed, err)
	}
	if _, err := s.Admit(token, ""); !errors.Is(err, ErrUnknown) || s.Stands(g) {
		t.Errorf("after it was revoked: %v", err)
	}
	if changed, err := s.Reload(); changed || err != nil {
		t.Error(changed, err)
	}
}

func TestCertificates(t *testing.T) {
	s := open(t)
	if token := add(t, s, Credential{Name: "front", Role: Device, Cert: true}); token != "" {
		t.Errorf("it has the token %q", token)
	}
	if g, err := s.Admit("", "front"); err != nil || g.Role != Device {
		t.Errorf("%+v, %v", g, err)
	}
}

func TestRefusedChanges(t *testing.T) {
	s := open(t)
	add(t, s, Credential{Name: "front", Role: Device})
	if _, err := s.Add(Credential{Name: "front", Role: Viewer}); !errors.Is(err, ErrExists) {
		t.Error(err)
	}
	if _, err := s.Add(Credential{Name: "Front Door", Role: Viewer}); err == nil {
		t.Error("a name with a blank was taken")
	}
	if _, err := s.Add(Credential{Name: "x", Role: Viewer, Devices: []string{"["}}); err == nil {
		t.Error("[ was taken for a pattern")
	}
	if _, err := s.Add(Credential{Name: "x", Role: "king"}); err == nil {
		t.Error("a king was made")
	}
	if _, err := s.Revoke("nobody", false); !errors.Is(err, ErrMissing) {
		t.Error(err)
	}
	if n := len(s.List()); n != 1 {
		t.Errorf("%d credentials", n)
	}
}

// Credentials that are made anew under a name are others: what the old token opened, and perhaps a thief holds, ends.
func TestMadeAnew(t *testing.T) {
	s := open(t)
	for _, c := range []Credential{{Name: "guest", Role: Viewer}, {Name: "may", Role: Enrol, Uses: 1}} {
		old, err := s.Admit(add(t, s, c), "")
		if err != nil || !s.Stands(old) {
			t.Fatal(err)
		}
		if _, err := s.Revoke(c.Name, false); err != nil {
			t.Fatal(err)
		}
		g, err := s.Admit(add(t, s, c), "")
		if err != nil || !s.Stands(g) || s.Stands(old) {
			t.Errorf("%s: the old one stands is %v, the new one %v: %v", c.Name, s.Stands(old), s.Stands(g), err)
		}
		if _, err := s.Enrol(old, "garden-1"); !errors.Is(err, ErrUnknown) {
			t.Errorf("%s: enrolment with the old one: %v", c.Name, err)
		}
	}
}

func TestExpiry(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		s, err := Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		token := add(t, s, Credential{Name: "guest", Role: Viewer, Expires: time.Now().Add(time.Hour)})
		g, err := s.Admit(token, "")
		if err != nil || !s.Stands(g) {
			t.Fatal(err)
		}
		time.Sleep(time.Hour + 1)
		if _, err := s.Admit(token, ""); !errors.Is(err, ErrExpired) || s.Stands(g) {
			t.Error(err)
		}
	})
}

func TestEnrolment(t *testing.T) {
	s := open(t)
	add(t, s, Credential{Name: "attic", Role: Device})
	token := add(t, s, Credential{Name: "garden", Role: Enrol, Devices: []string{"garden-*", "attic"}, Uses: 3})
	g, err := s.Admit(token, "")
	if err != nil || g.Role != Enrol {
		t.Fatal(g, err)
	}
	first, err := s.Enrol(g, "garden-1")
	if err != nil {
		t.Fatal(err)
	}
	if g, err := s.Admit(first, ""); err != nil || g.Role != Device || !g.Covers("garden-1") || g.Covers("garden-2") {
		t.Errorf("%+v, %v", g, err)
	}
	if _, err := s.Enrol(g, "hall"); err == nil || !strings.Contains(err.Error(), `not for device "hall"`) {
		t.Error(err)
	}
	if _, err := s.Enrol(g, "attic"); !errors.Is(err, ErrExists) {
		t.Errorf("a device that was there was taken over: %v", err)
	}
	again, err := s.Enrol(g, "garden-1")
	if err != nil || again == first {
		t.Errorf("a second time for the same device: %v", err)
	}
	if _, err := s.Admit(first, ""); !errors.Is(err, ErrUnknown) {
		t.Errorf("the card's old token: %v", err)
	}
	if _, err := s.Enrol(g, "garden-2"); err != nil {
		t.Error(err)
	}
	if _, err := s.Enrol(g, "garden-3"); !errors.Is(err, ErrUsedUp) {
		t.Errorf("a fourth time: %v", err)
	}
	if _, err := s.Admit(token, ""); !errors.Is(err, ErrUsedUp) {
		t.Error(err)
	}
	if gone, err := s.Revoke("garden", true); err != nil || len(gone) != 3 {
		t.Errorf("%q, %v", gone, err)
	}
}

// Many at once spend what there is and no more.
func TestEnrolmentAtOnce(t *testing.T) {
	s := open(t)
	token := add(t, s, Credential{Name: "all", Role: Enrol, Uses: 5})
	var work sync.WaitGroup
	var mu sync.Mutex
	won := 0
	for i := range 20 {
		work.Go(func() {
			other, err := Open(s.Dir()) // as another process
			if err != nil {
				t.Error(err)
				return
			}
			g, err := other.Admit(token, "")
			if err != nil {
				return
			}
			if _, err := other.Enrol(g, "cam-"+string(rune('a'+i))); err == nil {
				mu.Lock()
				won++
				mu.Unlock()
			} else if !errors.Is(err, ErrUsedUp) {
				t.Error(err)
			}
		})
	}
	work.Wait()
	if won != 5 {
		t.Errorf("%d of 5 were spent", won)
	}
	if _, err := s.Reload(); err != nil || len(s.List()) != 6 {
		t.Errorf("%d credentials, %v", len(s.List()), err)
	}
}

func TestBrokenFile(t *testing.T) {
	s := open(t)
	token := add(t, s, Credential{Name: "front", Role: Device})
	name := filepath.Join(s.Dir(), "credentials.json")
	for _, text := range []string{"{", `{"credentials":[{"name":"x","role":"king","sha256":""}]}`, `{"credentials":[{"name":"x","role":"viewer"}]}`} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Reload(); err == nil {
			t.Errorf("%s was taken", text)
		}
		if _, err := s.Admit(token, ""); err != nil {
			t.Errorf("after a broken file: %v", err)
		}
		if _, err := s.Add(Credential{Name: "y", Role: Viewer}); err == nil {
			t.Error("a broken file was written over")
		}
	}
}

func TestInit(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	home := Home{URL: "tls://broker.local:7878"}
	if err := Init(dir, home, []string{"broker.local", "192.0.2.1"}); err != nil {
		t.Fatal(err)
	}
	if got, err := ReadHome(dir); got != home || err != nil {
		t.Errorf("%+v, %v", got, err)
	}
	for name, mode := range map[string]fs.FileMode{KeyFile: 0o600, CertFile: 0o644} {
		if info, err := os.Stat(filepath.Join(dir, name)); err != nil || info.Mode().Perm() != mode {
			t.Errorf("%s: %v, %v", name, info.Mode(), err)
		}
	}
	data, _ := os.ReadFile(filepath.Join(dir, CertFile))
	block, _ := pem.Decode(data)
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil || cert.VerifyHostname("broker.local") != nil || cert.VerifyHostname("192.0.2.1") != nil {
		t.Errorf("%v", err)
	}
	pin, err := PinOf(filepath.Join(dir, CertFile))
	if err != nil || !regexp.MustCompile(`^sha256:[A-Za-z0-9_-]{43}$`).MatchString(pin) || pin != Pin(cert) {
		t.Errorf("%q, %v", pin, err)
	}
	if err := Init(dir, home, nil); !errors.Is(err, fs.ErrExist) {
		t.Errorf("a second time: %v", err)
	}
	if again, _ := PinOf(filepath.Join(dir, CertFile)); again != pin {
		t.Error("the key was replaced")
	}
}
