package access

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/perchcam/perch/pkg/api"
)

// Credential is one entry of the file.
type Credential struct {
	Name    string    `json:"name"` // unique
	Role    Role      `json:"role"`
	Devices []string  `json:"devices,omitempty"`
	SHA256  string    `json:"sha256,omitempty"` // of the token, hexadecimal
	Cert    bool      `json:"cert,omitempty"`   // shown by a certificate whose name is Name, instead of a token
	Uses    int       `json:"uses,omitempty"`   // how many devices may yet enrol with it
	Created time.Time `json:"created"`
	Expires time.Time `json:"expires,omitzero"`
	Via     string    `json:"via,omitempty"` // the enrolment it came by
}

// grant is what c gives.
func (c *Credential) grant() Grant {
	return Grant{Credential: c.Name, Role: c.Role, Devices: c.Devices, key: c.SHA256}
}

// Errors of Admit and of changes. Compare with errors.Is.
var (
	ErrNone    = errors.New("credentials are needed, and none were given")
	ErrUnknown = errors.New("these credentials are not known here: they may have been revoked")
	ErrExpired = errors.New("these credentials have expired")
	ErrUsedUp  = errors.New("this enrolment token has been used")
	ErrExists  = errors.New("there is a credential of this name")
	ErrMissing = errors.New("there is no credential of this name")
)

const (
	fileName = "credentials.json"
	lockName = "credentials.lock"
	// a token is told from other secrets, by people and by scanners, by how it begins
	tokenPrefix = "perch_"
)

// newToken returns 256 random bits as text.
func newToken() string {
	return tokenPrefix + (rand.Text() + rand.Text())[:52] // 52 × 5 bit
}

func hash(token string) string {
	sum := sha256.Sum256([]byte(token))
	return hex.EncodeToString(sum[:])
}

// Store is the credentials in one directory.
type Store struct {
	dir string

	mu sync.RWMutex // guards the following
	list
	stamp   stamp
	spoiled stamp     // of a file that could not be used,
	wrong   error     // why,
	tried   time.Time // and when that was found
}

// stamp tells one version of the file from another. The zero value is no file.
type stamp struct{ info fs.FileInfo }

func (s stamp) equal(t stamp) bool {
	if s.info == nil || t.info == nil {
		return s.info == t.info
	}
	return os.SameFile(s.info, t.info) && s.info.ModTime().Equal(t.info.ModTime()) && s.info.Size() == t.info.Size()
}

// spoiledFor is how long a file that could not be used is not read again unless it has changed.
const spoiledFor = 500 * time.Millisecond

// Open reads the credentials in dir. A directory without any is a store without any.
func Open(dir string) (*Store, error) {
	s := &Store{dir: dir}
	_, err := s.Reload()
	return s, err
}

// Dir returns where the store is.
func (s *Store) Dir() string { return s.dir }

// Reload reads the file again if it has changed, and reports whether it had. It costs a stat(2) if not.
func (s *Store) Reload() (changed bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.reload()
}

func (s *Store) reload() (bool, error) {
	name := filepath.Join(s.dir, fileName)
	info, err := os.Stat(name)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false, fmt.Errorf("cannot read the credentials: %w", err)
	}
	now := stamp{info}
	switch {
	case s.byName != nil && now.equal(s.stamp):
		return false, nil
	case s.wrong != nil && now.equal(s.spoiled) && time.Since(s.tried) < spoiledFor:
		return false, s.wrong
	}
	l, err := read(name, info != nil)
	if err != nil {
		s.spoiled, s.wrong, s.tried = now, err, time.Now()
		return false, err
	}
	s.list, s.stamp, s.wrong = l, now, nil
	return true, nil
}

// read reads the file, if there is one.
func read(name string, there bool) (list, error) {
	var file struct {
		Credentials []Credential `json:"credentials"`
	}
	if there {
		data, err := os.ReadFile(name)
		if err == nil {
			err = json.Unmarshal(data, &file)
		}
		if err != nil {
			return list{}, fmt.Errorf("cannot read the credentials in %s: %w", name, err)
		}
	}
	l, err := index(file.Credentials)
	if err != nil {
		return list{}, fmt.Errorf("cannot use the credentials in %s: %w", name, err)
	}
	return l, nil
}

// list is credentials, and the ways to find one.
type list struct {
	all    []Credential
	byHash map[string]*Credential // into all
	byName map[string]*Credential
}

// index checks credentials.
func index(all []Credential) (list, error) {
	l := list{all, map[string]*Credential{}, map[string]*Credential{}}
	for i := range all {
		c := &all[i]
		switch {
		case l.byName[c.Name] != nil:
			return list{}, fmt.Errorf("%q is there twice", c.Name)
		case !slices.Contains(Roles, c.Role):
			return list{}, fmt.Errorf("%q has the unknown role %q", c.Name, c.Role)
		case !c.Cert && len(c.SHA256) != sha256.Size*2:
			return list{}, fmt.Errorf("%q has no valid hash", c.Name)
		}
		l.byName[c.Name] = c
		if !c.Cert {
			l.byHash[c.SHA256] = c
		}
	}
	return l, nil
}

// Admit returns what the holder of a token may do, or the one whose link has shown a certificate with a name.
// Of both the token counts.
func (s *Store) Admit(token, certificate string) (Grant, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	var c *Credential
	switch {
	case token != "":
		c = s.byHash[hash(token)]
	case certificate != "":
		if c = s.byName[certificate]; c != nil && !c.Cert {
			c = nil
		}
	default:
		return Grant{}, ErrNone
	}
	switch {
	case c == nil:
		return Grant{}, ErrUnknown
	case !c.Expires.IsZero() && time.Now().After(c.Expires):
		return Grant{}, ErrExpired
	case c.Role == Enrol && c.Uses == 0:
		return Grant{}, ErrUsedUp
	}
	return c.grant(), nil
}

// Stands reports whether a grant that was given is still what its credential gives.
func (s *Store) Stands(g Grant) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	c := s.byName[g.Credential]
	return c != nil && c.SHA256 == g.key && c.Role == g.Role && slices.Equal(c.Devices, g.Devices) && (c.Expires.IsZero() || time.Now().Before(c.Expires))
}

// List returns all credentials, as a copy.
func (s *Store) List() []Credential {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return slices.Clone(s.all)
}

// Add enters a credential and returns its token, which is kept nowhere: "" for one that is shown by certificate.
// Name and Role must be set; a device with no Devices is the one of its own name.
func (s *Store) Add(c Credential) (token string, err error) {
	if err := api.CheckName("name", c.Name); err != nil {
		return "", err
	}
	if c.Role == Device && len(c.Devices) == 0 {
		c.Devices = []string{c.Name}
	}
	for _, p := range c.Devices {
		if err := checkPattern(p); err != nil {
			return "", err
		}
	}
	if !c.Cert {
		token = newToken()
		c.SHA256 = hash(token)
	}
	c.Created = time.Now().UTC().Truncate(time.Second)
	err = s.change(func(all []Credential) ([]Credential, error) {
		if find(all, c.Name) >= 0 {
			return nil, fmt.Errorf("%w: %q", ErrExists, c.Name)
		}
		return append(all, c), nil
	})
	if err != nil {
		return "", err
	}
	return token, nil
}

// Revoke takes a credential out, and those that were enrolled with it if all is set. It returns their names.
func (s *Store) Revoke(name string, all bool) (gone []string, err error) {
	err = s.change(func(list []Credential) ([]Credential, error) {
		if find(list, name) < 0 {
			return nil, fmt.Errorf("%w: %q", ErrMissing, name)
		}
		return slices.DeleteFunc(list, func(c Credential) bool {
			if c.Name == name || all && c.Via == name {
				gone = append(gone, c.Name)
				return true
			}
			return false
		}), nil
	})
	return gone, err
}

// Enrol spends one use of an enrolment credential on a device's own, and returns its token. A device that
// has a credential by the same enrolment gets a new one in its place: a card that was flashed again.
func (s *Store) Enrol(by Grant, device string) (token string, err error) {
	if err := api.CheckName("device", device); err != nil {
		return "", err
	}
	token = newToken()
	err = s.change(func(all []Credential) ([]Credential, error) {
		i := find(all, by.Credential)
		switch {
		case i < 0 || all[i].Role != Enrol || all[i].SHA256 != by.key:
			return nil, ErrUnknown
		case all[i].Uses == 0:
			return nil, ErrUsedUp
		case len(all[i].Devices) > 0 && !Matches(all[i].Devices, device):
			return nil, fmt.Errorf("this enrolment token is not for device %q", device)
		}
		all[i].Uses--
		c := Credential{
			Name: device, Role: Device, Devices: []string{device}, SHA256: hash(token), Via: by.Credential,
			Created: time.Now().UTC().Truncate(time.Second),
		}
		if j := find(all, device); j >= 0 {
			if all[j].Via != by.Credential {
				return nil, fmt.Errorf("%w: %q", ErrExists, device)
			}
			all[j] = c
			return all, nil
		}
		return append(all, c), nil
	})
	if err != nil {
		return "", err
	}
	return token, nil
}

func find(all []Credential, name string) int {
	return slices.IndexFunc(all, func(c Credential) bool { return c.Name == name })
}

// change makes f's list of a copy of the present one, under the lock of the directory.
func (s *Store) change(f func([]Credential) ([]Credential, error)) error {
	unlock, err := lock(filepath.Join(s.dir, lockName))
	if err != nil {
		return fmt.Errorf("cannot lock the credentials: %w", err)
	}
	defer unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, err := s.reload(); err != nil {
		return err
	}
	all, err := f(slices.Clone(s.all))
	if err != nil {
		return err
	}
	l, err := index(all)
	if err != nil {
		return err
	}
	data, err := json.MarshalIndent(map[string]any{"credentials": all}, "", "  ")
	if err != nil {
		return err
	}
	name := filepath.Join(s.dir, fileName)
	if err := replace(name, append(data, '\n'), 0o600); err != nil {
		return fmt.Errorf("cannot write the credentials: %w", err)
	}
	s.list = l
	if info, err := os.Stat(name); err == nil {
		s.stamp = stamp{info}
	}
	return nil
}

// replace puts a file in place whole or not at all.
func replace(name string, data []byte, mode fs.FileMode) error {
	f, err := os.CreateTemp(filepath.Dir(name), strings.TrimSuffix(filepath.Base(name), filepath.Ext(name))+".*.tmp")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // it has another name by then, unless something failed
	_, err = f.Write(data)
	if err == nil {
		err = f.Chmod(mode)
	}
	if err == nil {
		err = f.Sync()
	}
	if e := f.Close(); err == nil {
		err = e
	}
	if err != nil {
		return err
	}
	return os.Rename(f.Name(), name)
}
