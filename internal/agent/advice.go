package agent

import (
	"crypto/x509"
	"errors"
	"io/fs"
	"net"
	"strings"

	"github.com/perchcam/perch/pkg/link"
	"github.com/perchcam/perch/pkg/session"
)

// advice is what to do about a broker that is not reached or says no: for the log of the service, and for check. name is what the
// device calls itself.
func advice(c Config, name string, u link.URL, err error) string {
	if e, ok := errors.AsType[*session.Error](err); ok {
		switch {
		case link.RefusesResume(e):
			return "the broker cannot resume sessions: set PERCH_RESUME=auto"
		case e.Code != session.CodeRejectedSetup:
			return "ask whoever runs the broker"
		case c.TokenFile == "":
			return "perch-broker add device " + name + " prints a token: put it into a file, and the file's name into PERCH_TOKEN_FILE"
		}
		return "is the token in PERCH_TOKEN_FILE (" + c.TokenFile + ") this device's? perch-broker add device " + name + " prints a new one"
	}
	invalid, dated := errors.AsType[x509.CertificateInvalidError](err)
	_, stranger := errors.AsType[x509.UnknownAuthorityError](err)
	named, misnamed := errors.AsType[x509.HostnameError](err)
	switch {
	case errors.Is(err, link.ErrPin):
		return "compare PERCH_BROKER_PIN with what perch-broker prints; if both differ, somebody may be in between"
	case dated && invalid.Reason == x509.Expired:
		return "is this machine's clock right (timedatectl)? if it is, the broker needs a new certificate; with PERCH_BROKER_PIN its dates do not count"
	case misnamed:
		return "the broker's certificate is for " + namesOf(named.Certificate) + ": put that name into PERCH_BROKER, or set PERCH_BROKER_PIN to what perch-broker prints"
	case stranger, dated:
		return "set PERCH_BROKER_PIN to what perch-broker prints, or PERCH_TLS_CA to the file with who signed its certificate"
	case refused(err):
		return "the broker wants a certificate of this device that it knows: PERCH_TLS_CERT and PERCH_TLS_KEY; its log says more"
	case errors.Is(err, link.ErrProxy):
		return "is HTTPS_PROXY right, and may this machine go through it? NO_PROXY=" + u.Host + " goes past it"
	case errors.Is(err, fs.ErrPermission):
		return "the sandbox or a firewall of this machine forbids it: journalctl -k says more"
	case u.Secure():
		return "does a broker listen there, and with TLS? is a firewall or a proxy between?"
	}
	return "does a broker listen there, and not on its own loopback only? is a firewall between?"
}

// refused reports whether the other end of TLS broke it off: after its half of the handshake, of a certificate that it does not
// like, or misses.
func refused(err error) bool {
	e, ok := errors.AsType[*net.OpError](err)
	return ok && e.Op == "remote error"
}

// namesOf is what a certificate is for.
func namesOf(c *x509.Certificate) string {
	names := append([]string{}, c.DNSNames...)
	for _, ip := range c.IPAddresses {
		names = append(names, ip.String())
	}
	if len(names) == 0 {
		return "no name"
	}
	return strings.Join(names, ", ")
}
