package agent

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/perchcam/perch/pkg/api"
	"github.com/perchcam/perch/pkg/peer"
	"github.com/perchcam/perch/pkg/session"
	"github.com/perchcam/perch/pkg/wire"
)

// A freshly flashed card has an enrolment token, which many cards may share. It is exchanged for one of the device's own when the
// broker is there for the first time. That one is kept in the unit's state directory, together with the hash of what it was
// exchanged for: whoever puts another token into the file means that one.

// own is a token that was exchanged.
type own struct {
	For   string `json:"for"` // hash of what it was exchanged for
	Token string `json:"token"`
}

func hashOf(token string) string {
	sum := sha256.Sum256([]byte(token))
	return hex.EncodeToString(sum[:])
}

// exchanged returns the device's own token if token was exchanged for one.
func (f files) exchanged(token string) (string, bool) {
	if f.state == "" {
		return "", false
	}
	b, err := os.ReadFile(filepath.Join(f.state, "token"))
	if err != nil {
		return "", false
	}
	var o own
	if json.Unmarshal(b, &o) != nil || o.For != hashOf(token) || o.Token == "" {
		return "", false
	}
	return o.Token, true
}

// keep writes the device's own token, so that a power cut leaves the old file or the new one.
func (f files) keep(token string, o own) error {
	o.For = hashOf(token)
	b, err := json.Marshal(o)
	if err != nil {
		return err
	}
	tmp, err := os.CreateTemp(f.state, "token-*") // of mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name())
	_, errWrite := tmp.Write(append(b, '\n'))
	if err := errors.Join(errWrite, tmp.Sync(), tmp.Close()); err != nil {
		return err
	}
	return os.Rename(tmp.Name(), filepath.Join(f.state, "token"))
}

// enrol asks for a token of this device's own after the first link to a broker, if there is a place to keep it. A broker says
// no to a token that is no enrolment token; then it is not asked again.
func (a *Agent) enrol(ctx context.Context) {
	if a.files.state == "" || a.cfg.TokenFile == "" {
		return
	}
	asked := ""
	for {
		select {
		case <-ctx.Done():
			return
		case <-a.met:
		}
		token, err := a.files.token(a.cfg)
		conn := a.link.Conn()
		if err != nil || conn == nil || token == asked {
			continue
		}
		if _, done := a.files.exchanged(token); done {
			continue
		}
		switch o, err := a.exchange(ctx, conn); {
		case err == nil:
			if err := a.files.keep(token, o); err != nil {
				a.log.Error("the device's own token cannot be kept, and the enrolment token may have no uses left", "dir", a.files.state, "err", err)
				return
			}
			a.log.Info("enrolled", "device", a.device)
			conn.Close(session.CodeConnectionClose, "enrolled") // and again, with the new token
		case answered(err):
			asked = token
		}
	}
}

func answered(err error) bool {
	_, ok := errors.AsType[*peer.Error](err)
	return ok
}

func (a *Agent) exchange(ctx context.Context, conn *session.Conn) (own, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second) // a broker of another kind may wait for ever
	defer cancel()
	md, err := wire.Request{Route: api.RouteEnrol}.Append(nil, a.cfg.Dialect)
	if err != nil {
		return own{}, err
	}
	data, err := json.Marshal(api.EnrolRequest{Device: a.device})
	if err != nil {
		return own{}, err
	}
	v, err := a.peer.Requester(conn).RequestResponse(ctx, peer.Payload{Metadata: md, Data: data})
	if err != nil {
		return own{}, err
	}
	o, err := api.Decode[own](v.Data)
	if err == nil && !isToken(o.Token) {
		err = fmt.Errorf("the broker's answer holds no token: %w", fs.ErrInvalid)
	}
	return o, err
}
