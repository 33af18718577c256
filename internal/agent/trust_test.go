package agent

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/perchcam/perch/pkg/wire"
)

// folder is a folder with files in it.
type folder struct {
	t   *testing.T
	dir string
}

func (f folder) put(name, text string, mode os.FileMode) string {
	f.t.Helper()
	path := filepath.Join(f.dir, name)
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		f.t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil { // whatever the umask is
		f.t.Fatal(err)
	}
	return path
}

func TestAuth(t *testing.T) {
	d := folder{t, t.TempDir()}
	cases := []struct{ path, says string }{
		{d.put("token", "abc.DEF-123\n", 0o640), ""},
		{d.put("open", "abc\n", 0o644), "everybody may read"},
		{d.put("empty", "\n", 0o600), "does not hold a token"},
		{d.put("two", "abc\ndef\n", 0o600), "does not hold a token"},
		{d.put("binary", "abc\x00", 0o600), "does not hold a token"},
		{d.put("huge", strings.Repeat("x", maxSecret+1), 0o600), "more than 65536 bytes"},
		{filepath.Join(d.dir, "absent"), "no such file"},
	}
	for _, c := range cases {
		got, err := files{}.auth(Config{TokenFile: c.path})
		if c.says == "" {
			if err != nil || got != (wire.Auth{Scheme: wire.AuthBearer, Secret: "abc.DEF-123"}) {
				t.Errorf("%s: %v, %v", c.path, got, err)
			}
			continue
		}
		if err == nil || !strings.HasPrefix(err.Error(), "PERCH_TOKEN_FILE: ") || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v, want %q", c.path, err, c.says)
		}
	}
	if got, err := (files{}).auth(Config{}); err != nil || got.Scheme != "" {
		t.Errorf("without a file: %v, %v", got, err)
	}
}

func TestCredentialsOfTheUnitComeFirst(t *testing.T) {
	d := folder{t, t.TempDir()}
	copied := d.put("perch_token", "x", 0o600)
	f := files{credentials: d.dir}
	for path, want := range map[string]string{
		"/etc/perch/token": copied, "/etc/perch/../perch/token": copied, "/etc/perch/other": "/etc/perch/other", "/srv/token": "/srv/token",
	} {
		if got := f.place(path); got != want {
			t.Errorf("%s is read from %s, want %s", path, got, want)
		}
	}
}

func TestTrust(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	other, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{SerialNumber: big.NewInt(1)}, &x509.Certificate{SerialNumber: big.NewInt(1)}, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	text := func(kind string, b []byte) string {
		return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: b}))
	}
	pkcs8 := func(k *ecdsa.PrivateKey) string {
		b, err := x509.MarshalPKCS8PrivateKey(k)
		if err != nil {
			t.Fatal(err)
		}
		return text("PRIVATE KEY", b)
	}
	d := folder{t, t.TempDir()}
	cert, good, open, stranger := d.put("cert", text("CERTIFICATE", der), 0o644), d.put("key", pkcs8(key), 0o600), d.put("open", pkcs8(key), 0o604), d.put("stranger", pkcs8(other), 0o600)

	cfg, err := files{}.trust(Config{TLSCa: cert, TLSCert: cert, TLSKey: good})
	if err != nil || len(cfg.Certificates) != 1 || cfg.RootCAs == nil || cfg.InsecureSkipVerify {
		t.Errorf("%+v, %v", cfg, err)
	}
	if cfg, err = (files{}).trust(Config{BrokerPin: "sha256:x"}); err != nil || cfg.VerifyConnection == nil {
		t.Errorf("a pin is not applied: %v", err)
	}
	for _, c := range []struct {
		Config
		says string
	}{
		{Config{TLSCa: good}, "PERCH_TLS_CA: " + good + " holds no certificate"},
		{Config{TLSCa: "/absent"}, "PERCH_TLS_CA: open /absent"},
		{Config{TLSCert: "/absent", TLSKey: good}, "PERCH_TLS_CERT: open /absent"},
		{Config{TLSCert: cert, TLSKey: open}, "PERCH_TLS_KEY: everybody may read"},
		{Config{TLSCert: cert, TLSKey: stranger}, "make no pair"},
	} {
		if _, err := (files{}).trust(c.Config); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%v, want %q", err, c.says)
		}
	}
}

func TestClockFloor(t *testing.T) {
	later := time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC)
	c := newClock(fstest.MapFS{clockFile: {ModTime: later}})
	if got := c.Floor(); !got.Equal(later) {
		t.Errorf("with a clock file the floor is %v", got)
	}
	if got := newClock(fstest.MapFS{clockFile: {ModTime: time.Unix(-1, 0)}}).Floor(); !got.Equal(buildTime()) {
		t.Errorf("with an old clock file the floor is %v, not the build's %v", got, buildTime())
	}
	if got := newClock(fstest.MapFS{}).Floor(); !got.Equal(buildTime()) {
		t.Errorf("without a clock file the floor is %v, not the build's %v", got, buildTime())
	}
}
